package feedback

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/kudos-ml/kudos/dataset"
)

// A Record is a label as the file of another tool has it.
type Record struct {
	Answer  string        // an ID, the same when the file is read again
	Picture string        // a path or an address, as the file has it
	Prompt  string        // "" where the file has none
	Rater   string        // a name, an address or a number
	Label   dataset.Label // Good, Bad or Skip
	Reason  string
	Taken   time.Duration // 0 where the file does not say it
	At      time.Time     // zero where the file does not say it
}

// Fields says how the records of another tool's file are to be read. The zero value is what the
// tool calls things, as far as it decides that, and otherwise what is said here. What is not asked
// for here a file may leave out.
type Fields struct {
	// Picture and Prompt are the fields of what was labelled. "" is "image" and "prompt".
	Picture string
	Prompt  string
	// Label is what has the label: the control of Label Studio, the question of Argilla, the column
	// of a CSV file. "" is the only one there is, and in a CSV file "label". In JSON_MIN and CSV
	// files of Label Studio controls look like fields: there it has to be said.
	Label string
	// Rater is the name of the rater where a file says none. "" makes that an error.
	Rater string
	// Good, Bad and Skip are the values that mean it, in whatever case. A number is written as
	// "4". nil is good, yes, true, accept and 1; bad, no, false, reject and 0; skip, unsure and
	// ignore. Any other value is an error.
	Good []string
	Bad  []string
	Skip []string
}

// complete returns f with what its zero values stand for.
func (f Fields) complete() Fields {
	if f.Picture == "" {
		f.Picture = "image"
	}
	if f.Prompt == "" {
		f.Prompt = "prompt"
	}
	if f.Good == nil {
		f.Good = []string{"good", "yes", "true", "accept", "1"}
	}
	if f.Bad == nil {
		f.Bad = []string{"bad", "no", "false", "reject", "0"}
	}
	if f.Skip == nil {
		f.Skip = []string{"skip", "unsure", "ignore"}
	}
	return f
}

// label returns what a value means.
func (f Fields) label(value string) (dataset.Label, error) {
	is := func(s string) bool { return strings.EqualFold(s, strings.TrimSpace(value)) }
	switch {
	case slices.ContainsFunc(f.Good, is):
		return dataset.Good, nil
	case slices.ContainsFunc(f.Bad, is):
		return dataset.Bad, nil
	case slices.ContainsFunc(f.Skip, is):
		return dataset.Skip, nil
	}
	return 0, fmt.Errorf("%q is none of good (%s), bad (%s) and skip (%s)", value,
		strings.Join(f.Good, ", "), strings.Join(f.Bad, ", "), strings.Join(f.Skip, ", "))
}

// finish completes a record and returns an error if it lacks what each one needs.
func (f Fields) finish(r Record, tool string, of ...string) (Record, error) {
	if r.Rater == "" {
		r.Rater = f.Rater
	}
	switch {
	case r.Picture == "":
		return r, fmt.Errorf("there is no %q, the picture", f.Picture)
	case r.Rater == "":
		return r, errors.New("it does not say who labelled it")
	case r.Taken < 0:
		return r, fmt.Errorf("it took %v", r.Taken)
	}
	r.Answer = answerOf(tool, of...)
	return r, nil
}

// answerOf makes an ID for an answer of what tells it from others.
func answerOf(tool string, of ...string) string {
	hash := sha256.Sum256([]byte(strings.Join(of, "\x00")))
	return tool + "-" + hex.EncodeToString(hash[:16])
}

// seconds is so many seconds, in whole milliseconds. It is 0 for what nobody can have taken.
func seconds(s float64) time.Duration {
	if !(s > 0 && s < 1e9) {
		return 0
	}
	return time.Duration(s*1000) * time.Millisecond
}

// when reads a time as tools write it, and returns the zero time for "".
func when(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{
		time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05Z07:00", time.DateTime,
		time.DateOnly,
	} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time", text)
}

// AddRecords judges as records say, all of them or none, and returns how many were new. Raters who
// are not there are added. A record that is there already is passed over, so a file can be read
// again after more was labelled. The judgements of a rater who was erased since do not bring the
// name back. Where a rater has judged a picture twice, the record that comes last counts.
//
// find returns the path of a record's picture, relative to the database's folder. nil is LocalPath.
// The picture is the one with that path and the record's prompt, or the one with that path if the
// record has no prompt. If there is none, and the file is there, it is added, with its path as ID.
// A picture that cannot be found is an error that wraps ErrUnknown.
func (s *Store) AddRecords(
	ctx context.Context, records iter.Seq2[Record, error], find func(Record) (string, error),
) (added int, err error) {
	if records == nil {
		return 0, errors.New("feedback: there are no records to add: they are nil")
	}
	if find == nil {
		find = s.LocalPath
	}
	err = s.write(ctx, func(w *work) error {
		for r, err := range records {
			if err != nil {
				return err
			}
			fresh, err := s.addRecord(ctx, w, r, find)
			if err != nil {
				return fmt.Errorf("the label of %s by %s: %w", r.Picture, r.Rater, err)
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

func (s *Store) addRecord(
	ctx context.Context, w *work, r Record, find func(Record) (string, error),
) (fresh bool, err error) {
	if r.Label == dataset.Unlabelled || r.Answer == "" {
		return false, errors.New("it has no label or no ID")
	}
	file, err := find(r)
	if err != nil {
		return false, err
	}
	name, err := s.pictureAt(ctx, w, file, r.Prompt)
	if err != nil {
		return false, err
	}
	if erased, err := w.erased(ctx, r.Answer); err != nil || erased {
		return false, err
	}
	if _, err := w.rater(ctx, r.Rater, s.now()); err != nil {
		return false, err
	}
	var before, after int64
	if err := w.row(ctx, `SELECT coalesce(max(id), 0) FROM answers`).Scan(&before); err != nil {
		return false, err
	}
	_, err = s.judge(ctx, w, Judgement{
		Answer: r.Answer, Picture: name, Rater: r.Rater, Label: r.Label, Reason: r.Reason,
		Taken: r.Taken, At: r.At,
	})
	if err != nil {
		return false, err
	}
	err = w.row(ctx, `SELECT coalesce(max(id), 0) FROM answers`).Scan(&after)
	return after > before, err
}

// erased reports whether an answer is there of a rater who was erased since.
func (w *work) erased(ctx context.Context, answer string) (erased bool, err error) {
	err = w.row(ctx, `
		SELECT EXISTS (SELECT 1 FROM answers a JOIN raters r ON r.id = a.rater
			WHERE a.name = ? AND r.erased IS NOT NULL)`, answer).Scan(&erased)
	return erased, err
}

// pictureAt returns the name of the picture of a file and a prompt, which is added if need be.
func (s *Store) pictureAt(
	ctx context.Context, w *work, file, prompt string,
) (name string, err error) {
	var names []string
	err = w.rows(ctx, func(row scanner) error {
		var name string
		err := row.Scan(&name)
		names = append(names, name)
		return err
	}, `SELECT p.name FROM pictures p JOIN prompts ON prompts.id = p.prompt
		WHERE p.file = ?1 AND (?2 = '' OR prompts.prompt = ?2)`, file, prompt)
	switch {
	case err != nil:
		return "", err
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", fmt.Errorf("%d pictures have the file %s: %w", len(names), file, ErrConflict)
	case prompt == "":
		return "", fmt.Errorf("picture %q: %w, and there is no prompt", file, ErrUnknown)
	}
	sample := dataset.Sample{ID: file, Prompt: prompt, File: file}
	if _, err := w.pictureID(ctx, file); err == nil {
		sample.ID = file + " " + prompt // another prompt has the name
	}
	p, err := s.look(sample, nil)
	if err != nil {
		return "", fmt.Errorf("picture %q: %w (%w)", file, ErrUnknown, err)
	}
	_, _, err = s.keep(ctx, w, p)
	return sample.ID, err
}

// LocalPath returns the path of a record's picture from the database's folder, if the record names
// a file inside it: by a path, by a file address, or by the local-files address of Label Studio. Of
// any other address it is an error, since only whoever made the file knows where the picture is.
func (s *Store) LocalPath(r Record) (string, error) {
	name := r.Picture
	if _, local, ok := strings.Cut(name, "/data/local-files/?d="); ok {
		unescaped, err := url.QueryUnescape(local)
		if err != nil {
			return "", err
		}
		name = unescaped
	} else if u, err := url.Parse(name); err == nil && u.Scheme == "file" {
		name = u.Path
	} else if err == nil && len(u.Scheme) > 1 { // a letter is a Windows drive
		return "", fmt.Errorf("%q is an address, not a file", r.Picture)
	}
	if filepath.IsAbs(filepath.FromSlash(name)) {
		relative, err := filepath.Rel(s.folder, filepath.FromSlash(name))
		if err != nil {
			return "", err
		}
		name = filepath.ToSlash(relative)
	}
	name = path.Clean(name)
	if !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", fmt.Errorf("%q is not inside the database's folder", r.Picture)
	}
	return name, nil
}
