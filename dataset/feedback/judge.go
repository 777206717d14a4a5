package feedback

import (
	"context"
	"database/sql"
	"fmt"
	"iter"
	"time"

	"github.com/kudos-ml/kudos/dataset"
)

// A Judgement is what a rater says of a picture.
type Judgement struct {
	// Answer is an ID that whoever asks the rater makes, and no other answer in the store has. A
	// judgement that arrives twice under one ID, as when a request is repeated, is one judgement.
	// "" is an ID that the store makes, for callers that never repeat one.
	Answer  string
	Picture string // the ID of the sample
	Rater   string // the rater's name
	// Label is Good or Bad, or Skip where the rater could not say. Unlabelled takes the rater's
	// judgement of the picture back, and gives the picture to the rater again.
	Label  dataset.Label
	Reason string        // in the rater's words; may be ""
	Taken  time.Duration // from seeing the picture to the answer, in whole milliseconds; 0: unknown
	At     time.Time     // in whole milliseconds, UTC; zero is now
	// Supersedes is the answer of the same rater that this one takes the place of, or "". The
	// store sets it.
	Supersedes string
}

// Judge keeps a judgement, and returns it as it is kept. It is on the disk when Judge returns. If
// the rater has judged the picture before, the new judgement takes the place of the old one, which
// stays in the store and is no longer counted.
//
// A picture or a rater that is not there, or a judgement taken back where there is none, is an
// error that wraps ErrUnknown. An Answer that is the ID of another judgement is one that wraps
// ErrConflict.
func (s *Store) Judge(ctx context.Context, j Judgement) (Judgement, error) {
	err := s.write(ctx, func(w *work) (err error) {
		j, err = s.judge(ctx, w, j)
		return err
	})
	return j, err
}

func (s *Store) judge(ctx context.Context, w *work, j Judgement) (Judgement, error) {
	if j.Label > dataset.Skip {
		return j, fmt.Errorf("a judgement says %v", j.Label)
	}
	rater, err := w.raterID(ctx, j.Rater)
	if err != nil {
		return j, err
	}
	task, err := w.pictureTask(ctx, j.Picture)
	if err != nil {
		return j, err
	}
	a := answer{
		name: j.Answer, task: task, rater: rater, choice: uint8(j.Label), reason: j.Reason,
		taken: j.Taken,
	}
	if !j.At.IsZero() {
		a.at = j.At.UnixMilli()
	}
	if a, err = s.record(ctx, w, a); err != nil {
		return j, err
	}
	j.Answer, j.Reason, j.Taken, j.At = a.name, a.reason, a.taken, moment(a.at)
	j.Supersedes, err = w.answerName(ctx, a.supersedes)
	return j, err
}

// answerName returns the name of an answer, "" of none.
func (w *work) answerName(ctx context.Context, id sql.NullInt64) (name string, err error) {
	if !id.Valid {
		return "", nil
	}
	err = w.row(ctx, `SELECT name FROM answers WHERE id = ?`, id.Int64).Scan(&name)
	return name, err
}

// Judgements yields all judgements in the order in which they were kept, those that others have
// taken the place of too.
func (s *Store) Judgements(ctx context.Context) iter.Seq2[Judgement, error] {
	return paged(ctx, s, judgements, scanJudgement)
}

// Last returns the last n judgements of pictures by a rater that stand, the newest first. Those
// that the rater has corrected or taken back are not among them. An unknown rater is an error that
// wraps ErrUnknown.
func (s *Store) Last(ctx context.Context, rater string, n int) (last []Judgement, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		var id int64
		err := tx.QueryRowContext(ctx, `SELECT id FROM raters WHERE name = ?`, rater).Scan(&id)
		if err != nil {
			return known(err, "rater", rater)
		}
		// The index by rater has the answers of each in their order.
		rows, err := tx.QueryContext(ctx, judgementColumns+`
			CROSS JOIN standing s ON s.task = a.task AND s.rater = a.rater AND s.answer = a.id
			WHERE a.rater = ? AND a.choice > 0 ORDER BY a.id DESC LIMIT ?`, id, max(n, 0))
		return each(rows, err, func(row scanner) error {
			j, _, err := scanJudgement(row)
			last = append(last, j)
			return err
		})
	})
	return last, err
}

// judgements is the query for all judgements.
const judgements = judgementColumns + `
	WHERE a.id > ? ORDER BY a.id LIMIT ?`

// judgementColumns is the beginning of queries for what scanJudgement takes. A CROSS JOIN is one
// whose order SQLite keeps.
const judgementColumns = `
	SELECT a.id, a.name, p.name, r.name, a.choice, a.reason, a.taken, a.at, coalesce(b.name, '')
	FROM answers a
	CROSS JOIN tasks t ON t.id = a.task
	CROSS JOIN pictures p ON p.id = t.picture
	CROSS JOIN raters r ON r.id = a.rater
	LEFT JOIN answers b ON b.id = a.supersedes`

func scanJudgement(row scanner) (j Judgement, id int64, err error) {
	var taken, at int64
	err = row.Scan(&id, &j.Answer, &j.Picture, &j.Rater, &j.Label, &j.Reason, &taken, &at,
		&j.Supersedes)
	j.Taken, j.At = time.Duration(taken)*time.Millisecond, moment(at)
	return j, id, err
}
