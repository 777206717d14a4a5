package feedback

import (
	"bytes"
	"context"
	"crypto/sha256"
	"database/sql"
	"errors"
	"fmt"
	"iter"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/kudos-ml/kudos/dataset"
)

// maxText is the longest ID or prompt of a sample, in bytes. Of a prompt CLIP reads 77
// tokens, some 400 bytes.
const maxText = 16 << 10

// batch is how many rows go into one transaction, or come out of one. Each commit waits for the
// disk: a thousand rows share the wait.
const batch = 1000

// Add puts the samples of d into the store and returns how many were new. folder is where d's files
// are: the File of a sample is relative to it. "" is the database's folder, and any other has to be
// inside that one. The store keeps each file's path, size and SHA-256, and of the sample all that a
// line of a dataset.File has. A sample without a file is kept too, but given to nobody to judge.
//
// A sample is left out if it has no ID, or if its ID or its prompt is no UTF-8 or longer than
// 16 KiB. So is one whose file is not there, is outside the folder by a link, is more than 256 MiB,
// or is no PNG, JPEG or WebP that can be decoded to its last pixel; dataset.Folder has the same
// limit of pixels. What comes after the end of a picture in its file stays there: the beginning
// decides the format. The others are kept, and in the end an error says how many were left out, and
// names the first ten.
//
// If the store has another sample, or another picture, under the ID, that is an error at once,
// which wraps ErrConflict. The same one again is passed over, and its file is not decoded again. So
// what an error has ended can be done again. Samples are kept a thousand at a time.
func (s *Store) Add(ctx context.Context, d dataset.Dataset, folder string) (added int, err error) {
	prefix, err := s.below(folder)
	if err != nil {
		return 0, fmt.Errorf("feedback: %s: %w", s.config.Path, err)
	}
	var out leftOut
	var pending []dataset.Sample
	flush := func() error {
		n, err := s.addBatch(ctx, pending, &out)
		added += n
		pending = pending[:0]
		return err
	}
	end := func(err error) (int, error) { return added, errors.Join(out.err(s.config.Path), err) }
	for sample, err := range dataset.All(ctx, d) {
		if err != nil {
			return end(err)
		}
		if sample.File != "" {
			sample.File = path.Join(prefix, sample.File)
		}
		if pending = append(pending, sample); len(pending) == batch {
			if err := flush(); err != nil {
				return end(err)
			}
		}
	}
	return end(flush())
}

// addBatch keeps samples, and returns how many were new. Those that cannot be kept are left out.
func (s *Store) addBatch(
	ctx context.Context, samples []dataset.Sample, out *leftOut,
) (added int, err error) {
	pictures, err := s.lookAll(ctx, samples, out)
	if err != nil {
		return 0, err
	}
	err = s.write(ctx, func(w *work) error {
		for _, p := range pictures {
			_, fresh, err := s.keep(ctx, w, p)
			if err != nil {
				return err
			}
			if fresh {
				added++
			}
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	return added, nil
}

// leftOut are samples that cannot be kept: how many, and what is wrong with the first ones.
type leftOut struct {
	n    int
	errs []error
}

func (l *leftOut) add(sample dataset.Sample, err error) {
	const named = 10
	if l.n++; l.n <= named {
		l.errs = append(l.errs,
			fmt.Errorf("sample %q (%q): %w", brief(sample.ID), brief(sample.Prompt), err))
	}
}

// err is the error that names them, or nil if there are none.
func (l *leftOut) err(store string) error {
	if l.n == 0 {
		return nil
	}
	errs := l.errs
	if more := l.n - len(errs); more > 0 {
		errs = append(errs, fmt.Errorf("and %d more", more))
	}
	return fmt.Errorf("feedback: %s: samples left out: %d\n%w", store, l.n, errors.Join(errs...))
}

// brief is the beginning of a text, for an error.
func brief(text string) string {
	const most = 100
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + "…"
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

// An entry is a row of the table of pictures.
type entry struct {
	sample dataset.Sample
	line   string // the sample as a line of JSONL, without its end
	sha256 []byte // nil without a file
	size   int64
	added  int64
}

// lookAll looks at the files of samples, as many at once as there are cores, and returns those
// samples that can be kept, in their order.
func (s *Store) lookAll(
	ctx context.Context, samples []dataset.Sample, out *leftOut,
) ([]entry, error) {
	kept, err := s.hashes(ctx, samples)
	if err != nil {
		return nil, err
	}
	looked, errs := make([]entry, len(samples)), make([]error, len(samples))
	var next atomic.Int64
	var wait sync.WaitGroup
	for range min(runtime.GOMAXPROCS(0), len(samples)) {
		wait.Go(func() {
			for ctx.Err() == nil {
				i := int(next.Add(1)) - 1
				if i >= len(samples) {
					return
				}
				looked[i], errs[i] = s.look(samples[i], kept[i])
			}
		})
	}
	wait.Wait()
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("feedback: %s: %w", s.config.Path, err)
	}
	good := looked[:0]
	for i, p := range looked {
		if errs[i] != nil {
			out.add(samples[i], errs[i])
		} else {
			good = append(good, p)
		}
	}
	return good, nil
}

// hashes returns the SHA-256 of the files that the store has under the IDs of samples, or nil.
func (s *Store) hashes(ctx context.Context, samples []dataset.Sample) (all [][]byte, err error) {
	err = s.read(ctx, func(tx *sql.Tx) error {
		query, err := tx.PrepareContext(ctx, `SELECT sha256 FROM pictures WHERE name = ?`)
		if err != nil {
			return err
		}
		defer query.Close()
		for _, sample := range samples {
			var hash []byte
			err := query.QueryRowContext(ctx, sample.ID).Scan(&hash)
			if err != nil && !errors.Is(err, sql.ErrNoRows) {
				return err
			}
			all = append(all, hash)
		}
		return nil
	})
	return all, err
}

// look returns what the store keeps of a sample, or an error if the sample cannot be kept. A file
// with the SHA-256 given was looked at before.
func (s *Store) look(sample dataset.Sample, before []byte) (p entry, err error) {
	if sample.ID == "" {
		return p, errors.New("it has no ID")
	}
	for _, text := range []struct{ what, text string }{
		{"ID", sample.ID}, {"prompt", sample.Prompt},
	} {
		if len(text.text) > maxText {
			return p, fmt.Errorf("the %s has %d bytes, more than %d", text.what, len(text.text),
				maxText)
		}
		if !utf8.ValidString(text.text) {
			return p, fmt.Errorf("the %s is not UTF-8", text.what)
		}
	}
	p = entry{sample: sample, added: s.now()}
	if p.line, err = encode(sample); err != nil || sample.File == "" {
		return p, err
	}
	data, err := s.readAny(sample.File)
	if err != nil {
		return p, err
	}
	hash := sha256.Sum256(data)
	p.size, p.sha256 = int64(len(data)), hash[:]
	if bytes.Equal(p.sha256, before) {
		return p, nil
	}
	return p, decodes(sample.File, data)
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
func (s *Store) keep(ctx context.Context, w *work, p entry) (id int64, fresh bool, err error) {
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
