package feedback

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/text"
)

// archiveVersion is the version of the format of Export.
const archiveVersion = 2

// A line is one of an archive. It has one field.
type line struct {
	Kudos     string         `json:"kudos,omitempty"` // the first: "feedback", and the version
	Version   int            `json:"version,omitempty"`
	Rater     *raterLine     `json:"rater,omitempty"`
	Picture   *pictureLine   `json:"picture,omitempty"`
	Pair      *pairLine      `json:"pair,omitempty"`
	Gold      *goldLine      `json:"gold,omitempty"`
	Wanted    *wantedLine    `json:"wanted,omitempty"`
	Judgement *judgementLine `json:"judgement,omitempty"`
	Vote      *voteLine      `json:"vote,omitempty"`
}

type raterLine struct {
	Name   string     `json:"name"`
	Token  string     `json:"token_sha256,omitempty"`
	Added  time.Time  `json:"added"`
	Erased *time.Time `json:"erased,omitempty"`
}

type pictureLine struct {
	Sample json.RawMessage `json:"sample"` // a line of a dataset.File
	SHA256 string          `json:"sha256,omitempty"`
	Size   int64           `json:"size,omitempty"`
	Added  time.Time       `json:"added"`
}

type pairLine struct {
	Study  string   `json:"study"`
	ID     string   `json:"id"`
	Prompt string   `json:"prompt"`
	ModelA string   `json:"model_a"`
	ModelB string   `json:"model_b"`
	A      []string `json:"a"`
	B      []string `json:"b"`
}

// A goldLine is a gold picture: see SetGold.
type goldLine struct {
	Picture string `json:"picture"`
	Label   string `json:"label"`
}

// A wantedLine says how many raters are wanted, and of pictures how many come together: see
// SetRaters and SetTogether.
type wantedLine struct {
	Study    string `json:"study"`
	Raters   int    `json:"raters"`
	Together int    `json:"together,omitempty"`
}

// said is what judgements and votes have in common.
type said struct {
	Answer     string    `json:"answer"`
	Rater      string    `json:"rater"`
	Reason     string    `json:"reason,omitempty"`
	Taken      int64     `json:"taken_ms,omitempty"`
	At         time.Time `json:"at"`
	Supersedes string    `json:"supersedes,omitempty"`
}

type judgementLine struct {
	Picture string `json:"picture"`
	Label   string `json:"label"` // "" takes back
	said
}

type voteLine struct {
	Study    string `json:"study"`
	Pair     string `json:"pair"`
	Question string `json:"question"`
	Choice   string `json:"choice"` // "" takes back
	said
}

// Export writes all that is in the store to w, as it is at one moment: JSONL, one object a line, in
// UTF-8. The first line is {"kudos":"feedback","version":2}. Each of the others has one field:
//
//	rater      name, token_sha256, added, erased
//	picture    sample (a line of a dataset.File), sha256, size in bytes, added
//	pair       study, id, prompt, model_a, model_b, and the IDs of the samples a and b
//	gold       picture and label, the answer that is known
//	wanted     study ("" for the pictures) and raters, how many are to judge each; of the pictures
//	           also together, how many of a prompt come one after another
//	judgement  answer, picture, rater, label, reason, taken_ms, at, supersedes
//	vote       answer, study, pair, question, rater, choice, reason, taken_ms, at, supersedes
//
// Times are in UTC, as RFC 3339 has them. A label or a choice that is "" takes back what it
// supersedes. Leases and the order of First are not in it, nor are the files of the pictures. What
// Import makes of it in an empty store exports to the same bytes.
func (s *Store) Export(ctx context.Context, w io.Writer) error {
	return s.export(ctx, w, nil)
}

// ExportRater writes all that the store has of a rater, as lines of Export: the rater, the samples
// that came with labels of the rater's, the judgements and the votes. An unknown rater is an error
// that wraps ErrUnknown.
func (s *Store) ExportRater(ctx context.Context, w io.Writer, rater string) error {
	return s.export(ctx, w, &rater)
}

// export writes everything, or what there is of one rater.
func (s *Store) export(ctx context.Context, w io.Writer, rater *string) error {
	out := bufio.NewWriter(w)
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	put := func(l line) error { return encoder.Encode(l) }
	ours := func(name string) bool { return rater == nil || *rater == name }
	return s.read(ctx, func(tx *sql.Tx) error {
		err := put(line{Kudos: "feedback", Version: archiveVersion})
		if err != nil {
			return err
		}
		there := false
		err = exportRaters(ctx, tx, func(r *raterLine) error {
			if !ours(r.Name) {
				return nil
			}
			there = true
			return put(line{Rater: r})
		})
		if err == nil && rater != nil && !there {
			err = fmt.Errorf("rater %q: %w", *rater, ErrUnknown)
		}
		if err == nil {
			err = exportPictures(ctx, tx, func(p *pictureLine, by string) error {
				if !ours(by) {
					return nil
				}
				return put(line{Picture: p})
			})
		}
		if err == nil && rater == nil {
			err = exportPairs(ctx, tx, put)
		}
		if err == nil && rater == nil {
			err = exportSettings(ctx, tx, put)
		}
		if err == nil {
			err = exportAnswers(ctx, tx, func(l line, by string) error {
				if !ours(by) {
					return nil
				}
				return put(l)
			})
		}
		if err != nil {
			return err
		}
		return out.Flush()
	})
}

func exportRaters(ctx context.Context, tx *sql.Tx, put func(*raterLine) error) error {
	rows, err := tx.QueryContext(ctx, `SELECT name, token, added, erased FROM raters ORDER BY id`)
	return each(rows, err, func(row scanner) error {
		var r raterLine
		var token []byte
		var added int64
		var erased sql.NullInt64
		if err := row.Scan(&r.Name, &token, &added, &erased); err != nil {
			return err
		}
		r.Token, r.Added = hex.EncodeToString(token), moment(added)
		if erased.Valid {
			at := moment(erased.Int64)
			r.Erased = &at
		}
		return put(&r)
	})
}

// exportPictures puts the pictures, each with the rater whose label it came with, or "".
func exportPictures(
	ctx context.Context, tx *sql.Tx, put func(p *pictureLine, rater string) error,
) error {
	rows, err := tx.QueryContext(ctx, `
		SELECT sample, coalesce(sample ->> '$.source.rater', ''), sha256, size, added
		FROM pictures ORDER BY id`)
	return each(rows, err, func(row scanner) error {
		var p pictureLine
		var sample, rater string
		var hash []byte
		var added int64
		if err := row.Scan(&sample, &rater, &hash, &p.Size, &added); err != nil {
			return err
		}
		p.Sample, p.SHA256, p.Added = []byte(sample), hex.EncodeToString(hash), moment(added)
		return put(&p, rater)
	})
}

// exportPairs puts the pairs.
func exportPairs(ctx context.Context, tx *sql.Tx, put func(line) error) error {
	sides := map[int64]*[2][]string{}
	rows, err := tx.QueryContext(ctx, `
		SELECT pair, side, name FROM sides JOIN pictures ON pictures.id = picture
		ORDER BY pair, side, place`)
	err = each(rows, err, func(row scanner) error {
		var pair int64
		var side int
		var name string
		if err := row.Scan(&pair, &side, &name); err != nil {
			return err
		}
		if sides[pair] == nil {
			sides[pair] = new([2][]string)
		}
		sides[pair][side] = append(sides[pair][side], name)
		return nil
	})
	if err != nil {
		return err
	}
	rows, err = tx.QueryContext(ctx, `
		SELECT pairs.id, study, name, prompts.prompt, model_a, model_b
		FROM pairs JOIN prompts ON prompts.id = pairs.prompt ORDER BY pairs.id`)
	return each(rows, err, func(row scanner) error {
		var id int64
		var p pairLine
		err := row.Scan(&id, &p.Study, &p.ID, &p.Prompt, &p.ModelA, &p.ModelB)
		if err != nil {
			return err
		}
		p.A, p.B = sides[id][0], sides[id][1]
		return put(line{Pair: &p})
	})
}

// exportSettings puts the gold pictures, how many raters are wanted, and how many pictures come
// together.
func exportSettings(ctx context.Context, tx *sql.Tx, put func(line) error) error {
	rows, err := tx.QueryContext(ctx, `
		SELECT p.name, t.gold FROM tasks t JOIN pictures p ON p.id = t.picture
		WHERE t.queue = ? AND t.gold > 0 ORDER BY t.id`, pictureQueue)
	err = each(rows, err, func(row scanner) error {
		var l goldLine
		var label dataset.Label
		if err := row.Scan(&l.Picture, &label); err != nil {
			return err
		}
		l.Label = label.String()
		return put(line{Gold: &l})
	})
	if err != nil {
		return err
	}
	rows, err = tx.QueryContext(ctx, `
		SELECT study, max(raters), max(CASE study WHEN '' THEN together ELSE 0 END)
		FROM queues GROUP BY study ORDER BY min(id)`)
	return each(rows, err, func(row scanner) error {
		var l wantedLine
		err := row.Scan(&l.Study, &l.Raters, &l.Together)
		if err != nil {
			return err
		}
		return put(line{Wanted: &l})
	})
}

// exportAnswers puts the judgements and the votes, each with its rater.
func exportAnswers(
	ctx context.Context, tx *sql.Tx, put func(l line, rater string) error,
) error {
	rows, err := tx.QueryContext(ctx, judgements, 0, -1)
	err = each(rows, err, func(row scanner) error {
		j, _, err := scanJudgement(row)
		if err != nil {
			return err
		}
		return put(line{Judgement: &judgementLine{j.Picture, j.Label.String(), said{
			j.Answer, j.Rater, j.Reason, j.Taken.Milliseconds(), j.At, j.Supersedes,
		}}}, j.Rater)
	})
	if err != nil {
		return err
	}
	rows, err = tx.QueryContext(ctx, votes, 0, -1)
	return each(rows, err, func(row scanner) error {
		v, _, err := scanVote(row)
		if err != nil {
			return err
		}
		return put(line{Vote: &voteLine{
			v.Study, v.Pair, v.Question.String(), v.Choice.String(), said{
				v.Answer, v.Rater, v.Reason, v.Taken.Milliseconds(), v.At, v.Supersedes,
			},
		}}, v.Rater)
	})
}

// maxLine is the longest line of an archive that is read, in bytes. A line of a dataset.File has at
// most 1 MiB.
const maxLine = 1 << 22

// Import adds what Export wrote to the store, all of it or nothing. What is there already is passed
// over, so stores can be brought together. What contradicts what is there is an error that wraps
// ErrConflict. How many raters are wanted, and how many pictures come together, is as the archive
// says, if it does. A line that is wrong is a *dataset.LineError with the name given. The files of
// the pictures are not looked at: see Verify. Archives of earlier versions can be imported.
func (s *Store) Import(ctx context.Context, r io.Reader, name string) error {
	return s.write(ctx, func(w *work) error {
		n := 0
		for read, err := range text.Lines(r, maxLine) {
			n++
			var l line
			if err == nil {
				l, err = decodeLine(read, n == 1)
			}
			if err == nil {
				err = s.importLine(ctx, w, l)
			}
			if err != nil {
				return &dataset.LineError{File: name, Line: n, Err: err}
			}
		}
		if n == 0 {
			return fmt.Errorf("%s is empty", name)
		}
		return nil
	})
}

// decodeLine decodes a line of an archive.
func decodeLine(text []byte, first bool) (l line, err error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return l, fmt.Errorf("bad JSON: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return l, errors.New("bad JSON: more than one value on the line")
	}
	fields := 0
	for _, there := range []bool{
		l.Kudos != "" || l.Version != 0, l.Rater != nil, l.Picture != nil, l.Pair != nil,
		l.Gold != nil, l.Wanted != nil, l.Judgement != nil, l.Vote != nil,
	} {
		if there {
			fields++
		}
	}
	switch {
	case first && (l.Kudos != "feedback" || l.Version < 1 || fields != 1):
		return l, fmt.Errorf(`the first line is not {"kudos":"feedback","version":%d}`,
			archiveVersion)
	case first && l.Version > archiveVersion:
		return l, fmt.Errorf("the archive's version is %d, and the last that is known is %d",
			l.Version, archiveVersion)
	case fields != 1:
		return l, fmt.Errorf("the line has %d fields", fields)
	}
	return l, nil
}

func (s *Store) importLine(ctx context.Context, w *work, l line) error {
	switch {
	case l.Rater != nil:
		return w.importRater(ctx, *l.Rater)
	case l.Picture != nil:
		return s.importPicture(ctx, w, *l.Picture)
	case l.Pair != nil:
		p := l.Pair
		return w.addPair(ctx, Pair{p.Study, p.ID, p.Prompt, p.ModelA, p.ModelB, p.A, p.B})
	case l.Gold != nil:
		return w.importGold(ctx, *l.Gold)
	case l.Wanted != nil:
		return w.importWanted(ctx, *l.Wanted)
	case l.Judgement != nil:
		return s.importJudgement(ctx, w, *l.Judgement)
	case l.Vote != nil:
		return s.importVote(ctx, w, *l.Vote)
	}
	return nil // the first line
}

func (w *work) importRater(ctx context.Context, r raterLine) error {
	if strings.TrimSpace(r.Name) == "" {
		return errors.New("a rater has no name")
	}
	token, err := hex.DecodeString(r.Token)
	if err != nil {
		return err
	}
	if len(token) == 0 {
		token = nil
	}
	var erased sql.NullInt64
	if r.Erased != nil {
		erased = sql.NullInt64{Int64: r.Erased.UnixMilli(), Valid: true}
	}
	var kept sql.NullInt64
	err = w.row(ctx, `SELECT erased FROM raters WHERE name = ?`, r.Name).Scan(&kept)
	switch {
	case err == nil && kept != erased:
		return fmt.Errorf("rater %q: %w", r.Name, ErrConflict)
	case err == nil:
		return nil
	case !errors.Is(err, sql.ErrNoRows):
		return err
	}
	return w.exec(ctx, `INSERT INTO raters (name, token, added, erased) VALUES (?, ?, ?, ?)`,
		r.Name, token, r.Added.UnixMilli(), erased)
}

func (s *Store) importPicture(ctx context.Context, w *work, l pictureLine) error {
	sample, err := decode(string(l.Sample), "sample")
	if err != nil {
		return err
	}
	p := entry{sample: sample, size: l.Size, added: l.Added.UnixMilli()}
	if p.line, err = encode(sample); err != nil {
		return err
	}
	if p.sha256, err = hex.DecodeString(l.SHA256); err != nil {
		return err
	}
	if len(p.sha256) == 0 {
		p.sha256 = nil
	}
	_, _, err = s.keep(ctx, w, p)
	return err
}

func (w *work) importGold(ctx context.Context, l goldLine) error {
	label, err := dataset.ParseLabel(l.Label)
	if err != nil {
		return err
	}
	var kept dataset.Label
	err = w.row(ctx, `
		SELECT t.gold FROM tasks t JOIN pictures p ON p.id = t.picture
		WHERE t.queue = ? AND p.name = ?`, pictureQueue, l.Picture).Scan(&kept)
	switch {
	case err == nil && kept != dataset.Unlabelled && kept != label:
		return fmt.Errorf("the answer of gold picture %q: %w", l.Picture, ErrConflict)
	case err != nil:
		return known(err, "picture", l.Picture)
	}
	return w.setGold(ctx, l.Picture, label)
}

func (w *work) importWanted(ctx context.Context, l wantedLine) error {
	switch {
	case l.Raters < 1:
		return fmt.Errorf("%d raters", l.Raters)
	case l.Together < 0 || l.Together > 0 && l.Study != "":
		return fmt.Errorf("%d of study %q together", l.Together, l.Study)
	}
	err := w.setRaters(ctx, l.Study, l.Raters)
	if err == nil && l.Together > 0 {
		err = w.setTogether(ctx, l.Together)
	}
	return err
}

func (s *Store) importJudgement(ctx context.Context, w *work, l judgementLine) error {
	j := Judgement{
		Answer: l.Answer, Picture: l.Picture, Rater: l.Rater, Reason: l.Reason,
		Taken: time.Duration(l.Taken) * time.Millisecond, At: l.At,
	}
	var err error
	if l.Label != "" {
		if j.Label, err = dataset.ParseLabel(l.Label); err != nil {
			return err
		}
	}
	j, err = s.judge(ctx, w, j)
	if err != nil {
		return err
	}
	return l.check(j.Supersedes)
}

func (s *Store) importVote(ctx context.Context, w *work, l voteLine) error {
	v := Vote{
		Answer: l.Answer, Study: l.Study, Pair: l.Pair, Rater: l.Rater, Reason: l.Reason,
		Taken: time.Duration(l.Taken) * time.Millisecond, At: l.At,
	}
	var err error
	if v.Question, err = ParseQuestion(l.Question); err != nil {
		return err
	}
	if v.Choice, err = ParseChoice(l.Choice); err != nil {
		return err
	}
	if v, err = s.vote(ctx, w, v); err != nil {
		return err
	}
	return l.check(v.Supersedes)
}

// check returns an error if an answer has taken the place of another than its line says.
func (l said) check(supersedes string) error {
	switch {
	case l.Answer == "" || l.At.IsZero():
		return errors.New("an answer has no ID or no time")
	case l.Supersedes != supersedes:
		return fmt.Errorf("answer %q takes the place of %q, and here of %q: %w",
			l.Answer, l.Supersedes, supersedes, ErrConflict)
	}
	return nil
}
