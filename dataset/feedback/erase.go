package feedback

import (
	"context"
	"fmt"
)

// Erase removes a rater's name and token from the store, and returns the name that the rater has
// from then on: "erased-" and a number. The judgements and the votes stay, under that name, and so
// do their reasons. Samples that came with a label of the rater's have the new name too. What was
// removed is overwritten on the disk. It stays in backups and exports that were made before. An
// unknown rater is an error that wraps ErrUnknown.
func (s *Store) Erase(ctx context.Context, rater string) (name string, err error) {
	err = s.write(ctx, func(w *work) error {
		id, err := w.raterID(ctx, rater)
		if err != nil {
			return err
		}
		name = fmt.Sprintf("%s%d", erasedName, id)
		err = w.exec(ctx, `
			UPDATE raters SET name = ?, token = NULL, erased = coalesce(erased, ?) WHERE id = ?`,
			name, s.now(), id)
		if err == nil {
			err = w.rename(ctx, rater, name)
		}
		if err == nil {
			err = w.exec(ctx, `UPDATE leases SET expires = 0 WHERE rater = ?`, id)
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return name, s.empty(ctx)
}

// rename gives a rater another name in the samples that came with labels of the rater's.
func (w *work) rename(ctx context.Context, from, to string) error {
	type labelled struct {
		id   int64
		line string
	}
	var all []labelled
	err := w.rows(ctx, func(row scanner) error {
		var l labelled
		err := row.Scan(&l.id, &l.line)
		all = append(all, l)
		return err
	}, `SELECT id, sample FROM pictures WHERE sample ->> '$.source.rater' = ?`, from)
	if err != nil {
		return err
	}
	for _, l := range all {
		sample, err := decode(l.line, "sample")
		if err != nil {
			return err
		}
		sample.Source.Rater = to
		text, err := encode(sample)
		if err == nil {
			err = w.exec(ctx, `UPDATE pictures SET sample = ? WHERE id = ?`, text, l.id)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// empty moves what is in the write-ahead log to where it belongs, and empties the log, which has
// what was overwritten. If someone is reading from the log it is emptied later, by Close at the
// latest.
func (s *Store) empty(ctx context.Context) error {
	<-s.turn
	defer func() { s.turn <- struct{}{} }()
	if s.writer.closed {
		return nil
	}
	_, err := s.writer.conn.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	if err != nil {
		return fmt.Errorf("feedback: %s: %w", s.config.Path, explain(err))
	}
	return nil
}
