package feedback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
)

// batch is how many rows go into one transaction, or come out of one. Each commit waits for the
// disk: a thousand rows share the wait.
const batch = 1000

// Add puts the samples of d into the store and returns how many were new. folder is where d's files
// are: the File of a sample is relative to it. "" is the database's folder, and any other has to be
// inside that one. The store keeps each file's path, size and SHA-256, and of the sample all that a
// line of a dataset.File has. A sample without a file is kept too, but given to nobody to judge.
//
// It is an error if a sample has no ID, or if its file is not there. If the store has another
// sample, or another picture, under the ID, the error wraps ErrConflict. The same one again is
// passed over. So what an error has ended can be done again. Samples are kept a thousand at a time.
func (s *Store) Add(ctx context.Context, d dataset.Dataset, folder string) (added int, err error) {
	prefix, err := s.below(folder)
	if err != nil {
		return 0, fmt.Errorf("feedback: %s: %w", s.config.Path, err)
	}
	var pending []picture
	flush := func() error {
		n := 0
		err := s.write(ctx, func(w *work) error {
			for _, p := range pending {
				_, fresh, err := s.keep(ctx, w, p)
				if err != nil {
					return err
				}
				if fresh {
					n++
				}
			}
			return nil
		})
		if err == nil {
			added += n
		}
		pending = pending[:0]
		return err
	}
	for sample, err := range d.All(ctx) {
		if err != nil {
			return added, err
		}
		if sample.File != "" {
			sample.File = path.Join(prefix, sample.File)
		}
		p, err := s.look(sample)
		if err != nil {
			return added, fmt.Errorf("feedback: sample %q (%s): %w", sample.ID, sample.Prompt, err)
		}
		if pending = append(pending, p); len(pending) == batch {
			if err := flush(); err != nil {
				return added, err
			}
		}
	}
	return added, flush()
}

// below returns the path of a folder from the database's, with forward slashes.
func (s *Store) below(folder string) (string, error) {
	if folder == "" {
		return "", nil
	}
	absolute, err := filepath.Abs(folder)
	if err != nil {
		return "", err
	}
	relative, err := filepath.Rel(s.folder, absolute)
	if err != nil || !filepath.IsLocal(relative) {
		return "", fmt.Errorf("the folder %s is not inside the database's", folder)
	}
	return filepath.ToSlash(relative), nil
}

// A picture is a row of the table of that name.
type picture struct {
	sample dataset.Sample
	line   string // the sample as a line of JSONL, without its end
	sha256 []byte // nil without a file
	size   int64
	added  int64
}

// look reads what the store keeps of a sample's file.
func (s *Store) look(sample dataset.Sample) (p picture, err error) {
	if sample.ID == "" {
		return p, errors.New("it has no ID")
	}
	p = picture{sample: sample, added: s.now()}
	if p.line, err = encode(sample); err != nil || sample.File == "" {
		return p, err
	}
	f, err := os.Open(filepath.Join(s.folder, filepath.FromSlash(sample.File)))
	if err != nil {
		return p, err
	}
	defer f.Close()
	hash := sha256.New()
	p.size, err = io.Copy(hash, f)
	p.sha256 = hash.Sum(nil)
	return p, err
}

// encode is a sample as a line of a dataset.File.
func encode(s dataset.Sample) (string, error) {
	var b bytes.Buffer
	err := dataset.Encode(&b, s)
	return strings.TrimSuffix(b.String(), "\n"), err
}

// decode is the sample of such a line.
func decode(line, name string) (dataset.Sample, error) {
	for s, err := range dataset.Read(strings.NewReader(line), name) {
		return s, err
	}
	return dataset.Sample{}, fmt.Errorf("%s: there is no sample", name)
}

// keep puts a picture into the store, unless it is there. It returns the ID of its row.
func (s *Store) keep(ctx context.Context, w *work, p picture) (id int64, fresh bool, err error) {
	var line string
	var hash []byte
	err = w.row(ctx, `SELECT id, sample, sha256 FROM pictures WHERE name = ?`, p.sample.ID).
		Scan(&id, &line, &hash)
	switch {
	case err == nil && line == p.line && bytes.Equal(hash, p.sha256):
		return id, false, nil
	case err == nil:
		return 0, false, fmt.Errorf("picture %q: %w", p.sample.ID, ErrConflict)
	case !errors.Is(err, sql.ErrNoRows):
		return 0, false, err
	}
	prompt, rank, err := w.prompt(ctx, p.sample.Prompt)
	if err != nil {
		return 0, false, err
	}
	id, err = w.insert(ctx, `
		INSERT INTO pictures (name, prompt, file, sha256, size, sample, added)
		VALUES (?, ?, ?, ?, ?, ?, ?)`,
		p.sample.ID, prompt, p.sample.File, p.sha256, p.size, p.line, p.added)
	if err == nil {
		err = w.exec(ctx, `UPDATE prompts SET pictures = pictures + 1 WHERE id = ?`, prompt)
	}
	if err == nil && p.sample.File != "" {
		err = w.addTask(ctx, task{queue: pictureQueue, prompt: prompt, picture: &id, rank: rank})
	}
	return id, true, err
}

// prompt returns the ID of a prompt, and how many pictures it has.
func (w *work) prompt(ctx context.Context, prompt string) (id, pictures int64, err error) {
	err = w.row(ctx, `SELECT id, pictures FROM prompts WHERE prompt = ?`, prompt).
		Scan(&id, &pictures)
	if errors.Is(err, sql.ErrNoRows) {
		id, err = w.insert(ctx, `INSERT INTO prompts (prompt) VALUES (?)`, prompt)
	}
	return id, pictures, err
}

// pictureID returns the ID of the row of a sample.
func (w *work) pictureID(ctx context.Context, name string) (id int64, err error) {
	err = w.row(ctx, `SELECT id FROM pictures WHERE name = ?`, name).Scan(&id)
	return id, known(err, "picture", name)
}

// Picture returns the sample with an ID, as it was added. Its File is relative to the database's
// folder. An ID that is not there is an error that wraps ErrUnknown.
func (s *Store) Picture(ctx context.Context, id string) (sample dataset.Sample, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		var line string
		err := tx.QueryRowContext(ctx, `SELECT sample FROM pictures WHERE name = ?`, id).Scan(&line)
		if err != nil {
			return known(err, "picture", id)
		}
		sample, err = decode(line, "picture "+id)
		return err
	})
	return sample, err
}

// Pictures is the dataset of the samples as they were added, in that order. A label of theirs is
// the one that they came with. Nobody's judgement in the store is in it.
func (s *Store) Pictures() dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			for r, err := range s.rows(ctx, noLimit) {
				if !yield(r.sample, err) || err != nil {
					return
				}
			}
		}
	})
}

// A row is a sample with the ID of its row, and its file as it was added. Later samples have larger
// IDs.
type row struct {
	id     int64
	sample dataset.Sample
	size   int64
	sha256 []byte
}

// noLimit is above the ID of any row.
const noLimit = 1<<63 - 1

// rows yields the samples up to the ID of a row. It reads a batch at a time, so that nothing in the
// database waits for whoever ranges. Samples are never changed while they are read, except that a
// rater's name may go.
func (s *Store) rows(ctx context.Context, last int64) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		for after := int64(0); ; {
			page, err := s.page(ctx, after, last)
			if err != nil {
				yield(row{}, err)
				return
			}
			for _, r := range page {
				if err := ctx.Err(); err != nil {
					yield(row{}, err)
					return
				}
				if !yield(r, nil) {
					return
				}
				after = r.id
			}
			if len(page) < batch {
				return
			}
		}
	}
}

// page reads a batch of samples that come after a row.
func (s *Store) page(ctx context.Context, after, last int64) (page []row, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		rows, err := tx.QueryContext(ctx, `
			SELECT id, name, sample, size, sha256 FROM pictures
			WHERE id > ? AND id <= ? ORDER BY id LIMIT ?`,
			after, last, batch)
		return each(rows, err, func(from scanner) error {
			var r row
			var name, line string
			if err := from.Scan(&r.id, &name, &line, &r.size, &r.sha256); err != nil {
				return err
			}
			r.sample, err = decode(line, "picture "+name)
			page = append(page, r)
			return err
		})
	})
	return page, err
}
