package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"math"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/text"
)

// File is the dataset of a JSONL file: one JSON object a line, in UTF-8, or in UTF-16 with a byte
// order mark. Two lines may read
//
//	{"id":"7","prompt":"two green dogs","file":"images/7.png","label":"good"}
//	{"prompt":"a dog","judgements":10,"good":0.9,"reward":0.8,"source":{"seed":1,"index":8}}
//
// A line has these fields:
//
//	prompt      string, required and not empty
//	id          string: the sample's ID; no two lines have the same
//	file        string: the path of the picture, a PNG, JPEG or WebP; with forward slashes,
//	            relative to the folder of the JSONL file, and inside that folder
//	group       string: the same for samples that were judged together
//	label       "good", "bad" or "skip", or what else ParseLabel takes for one, as 1 and true;
//	            absent where nobody judged, or where it follows from good
//	judgements  number: how many people judged, above 0
//	good        number: the share of them that said good, 0 to 1; there if judgements is
//	reward      number
//	source      object: where the sample comes from; its fields are those of Source
//	alternatives  array of strings: other prompts that describe the picture as well
//
// A line without an id gets the path of its picture as the sample's ID. If that is absent, or is
// the ID of another line, the sample is named by the file's name and the number of the line: such
// an ID lasts only as long as the line keeps its place. Blank lines are skipped.
//
// Any other field is an error: a field that is misspelt would otherwise be a label that is not
// there, and nobody would see it. A field that is there twice is one too. What is wrong in a line
// is a *LineError, which names the file and the line.
type File struct {
	Path string
	// Images says that the pictures are to be decoded into Image. A line whose picture cannot be
	// read is then an error.
	Images bool
	// Check, unless nil, is called for every sample. Its error is that of the sample's line.
	Check func(Sample) error
}

// All reads the file from its beginning.
func (f File) All(ctx context.Context) iter.Seq2[Sample, error] { return f.each(ctx, new(int)) }

// each is All, and keeps the number of the line in *line.
func (f File) each(ctx context.Context, line *int) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		file, err := text.Open(f.Path)
		if err != nil {
			yield(Sample{}, fmt.Errorf("dataset: %w", err))
			return
		}
		defer file.Close()
		*line = 0
		for s, err := range lines(file, f.Path, line) {
			if err == nil {
				err = ctx.Err()
			}
			if err == nil {
				if wrong := f.complete(&s); wrong != nil {
					err = &LineError{f.Path, *line, wrong}
				}
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// complete reads a sample's picture and checks the sample, as far as f asks for that.
func (f File) complete(s *Sample) error {
	if f.Images {
		if err := s.readImage(filepath.Dir(f.Path)); err != nil {
			return err
		}
	}
	if f.Check != nil {
		return f.Check(*s)
	}
	return nil
}

// readImage decodes a sample's picture, if it has one. Its path is relative to the folder.
func (s *Sample) readImage(folder string) (err error) {
	if s.File != "" {
		s.Image, err = picture.Read(filepath.Join(folder, filepath.FromSlash(s.File)))
	}
	return err
}

// WithImages is the dataset of d's samples with their pictures. The File of a sample is the path of
// its picture, relative to the folder. A picture is decoded when its sample's turn comes. One that
// cannot be read is an error that names the sample. A sample without a File stays as it is.
func WithImages(d Dataset, folder string) Dataset {
	return Map(d, func(_ context.Context, s Sample) (Sample, error) {
		if err := s.readImage(folder); err != nil {
			return s, fmt.Errorf("dataset: sample %q: %w", s.ID, err)
		}
		return s, nil
	})
}

// Picture returns the path of the picture of one of f's samples.
func (f File) Picture(s Sample) string {
	return filepath.Join(filepath.Dir(f.Path), filepath.FromSlash(s.File))
}

// Decode returns one of f's samples with its picture in Image. It is a function for Map, by which
// samples that were read without pictures get them when their turn comes. It is an error if the
// sample has no File.
func (f File) Decode(_ context.Context, s Sample) (_ Sample, err error) {
	if s.File == "" {
		return s, fmt.Errorf("dataset: %s: sample %q (%s) names no file", f.Path, s.ID, s.Prompt)
	}
	if s.Image, err = picture.Read(f.Picture(s)); err != nil {
		return s, fmt.Errorf("dataset: %s: sample %q (%s): %w", f.Path, s.ID, s.Prompt, err)
	}
	return s, nil
}

// Read yields the samples of a JSONL text in the format of File. Errors call the text by the name
// given. After an error it ends.
func Read(r io.Reader, name string) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		var line int
		for s, err := range lines(r, name, &line) {
			if !yield(s, err) {
				return
			}
		}
	}
}

// maxLine is the longest line that is read, in bytes. That is a hundred times what a prompt needs.
const maxLine = 1 << 20

// lines yields one sample a line, and keeps the number of the line in *line.
func lines(r io.Reader, name string, line *int) iter.Seq2[Sample, error] {
	return func(yield func(Sample, error) bool) {
		named := names{}
		for row, err := range text.Lines(r, maxLine) {
			*line++
			row = bytes.TrimSpace(row)
			if len(row) == 0 && err == nil {
				continue
			}
			var s Sample
			if err == nil {
				s, err = decode(row)
			}
			if err == nil {
				err = named.add(&s, name, *line)
			}
			if err != nil {
				err = &LineError{name, *line, err}
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// names are the numbers of a file's lines by the IDs of their samples.
type names map[string]int

// add gives the sample of a line an ID if it has none. It is an error if another line has the same.
func (n names) add(s *Sample, file string, line int) error {
	if other, taken := n[s.ID]; taken && s.ID != "" {
		return fmt.Errorf("line %d has the id %q too", other, s.ID)
	}
	if s.ID == "" {
		s.ID = s.File
	}
	if _, taken := n[s.ID]; taken || s.ID == "" {
		s.ID = fmt.Sprintf("%s:%d", filepath.Base(file), line)
		if other, taken := n[s.ID]; taken {
			return fmt.Errorf("line %d has the id %q, which this line without an id would have",
				other, s.ID)
		}
	}
	n[s.ID] = line
	return nil
}

// A record is a line of a JSONL file.
type record struct {
	ID         string   `json:"id,omitempty"`
	Prompt     string   `json:"prompt"`
	File       string   `json:"file,omitempty"`
	Group      string   `json:"group,omitempty"`
	Label      *word    `json:"label,omitempty"`
	Judgements *whole   `json:"judgements,omitempty"`
	Good       *float64 `json:"good,omitempty"`
	Reward     *float64 `json:"reward,omitempty"`
	Source     *Source  `json:"source,omitempty"`

	Alternatives []string `json:"alternatives,omitempty"`
}

func decode(row []byte) (Sample, error) {
	var r record
	if err := decodeObject(row, &r); err != nil {
		return Sample{}, err
	}
	if blank(r.Prompt) {
		return Sample{}, errors.New("the prompt is missing")
	}
	if err := errors.Join(checkFile(r.File), checkHalves(row)); err != nil {
		return Sample{}, err
	}
	s := Sample{ID: r.ID, Prompt: r.Prompt, File: r.File, Group: r.Group, Reward: r.Reward}
	for _, prompt := range r.Alternatives {
		if blank(prompt) {
			return Sample{}, errEmpty
		}
		s.Alternatives = append(s.Alternatives, Alternative{Prompt: prompt})
	}
	if r.Source != nil {
		s.Source = *r.Source
	}
	if r.Label != nil {
		var err error
		if s.Label, err = ParseLabel(string(*r.Label)); err != nil {
			return Sample{}, err
		}
	}
	if r.Judgements == nil && r.Good == nil {
		return s, nil
	}
	if r.Judgements == nil || r.Good == nil || *r.Judgements == 0 {
		return Sample{}, errors.New("judgements, above 0, and good go together")
	}
	if s.Judgements, s.Good = int(*r.Judgements), *r.Good; r.Label == nil {
		s.Label = Majority(s.Good)
	}
	return s, s.checkJudgements()
}

// checkFile refuses a path that is not relative, leads out of its folder or has backslashes. It
// accepts "".
func checkFile(file string) error {
	switch {
	case strings.Contains(file, `\`):
		return fmt.Errorf("file %q has backslashes: paths have forward slashes here", file)
	case file != "" && !filepath.IsLocal(filepath.FromSlash(file)):
		return fmt.Errorf("file %q is not a path inside the folder", file)
	}
	return nil
}

var errEmpty = errors.New("an alternative is empty")

// half is an escape of JSON for one half of a character of two, and pair for both of them.
var (
	pair = regexp.MustCompile(`\\u[dD][89abAB][[:xdigit:]]{2}\\u[dD][c-fC-F][[:xdigit:]]{2}`)
	half = regexp.MustCompile(`\\u[dD][89a-fA-F][[:xdigit:]]{2}`)
)

// checkHalves refuses JSON with half a character, which is no text.
func checkHalves(row []byte) error {
	if !bytes.Contains(row, []byte(`\u`)) {
		return nil
	}
	row = bytes.ReplaceAll(row, []byte(`\\`), nil)
	if found := half.Find(pair.ReplaceAll(row, nil)); found != nil {
		return fmt.Errorf("%s is half a character: it was lost where the line was written", found)
	}
	return nil
}

// ParseLabel returns the label that is named good, bad or skip. The number 1, true and yes are
// good, and 0, false and no are bad. Upper and lower case are the same. Any other name is an error.
func ParseLabel(name string) (Label, error) {
	plain := strings.ToLower(strings.TrimSpace(name))
	if number, err := strconv.ParseFloat(plain, 64); err == nil {
		plain = strconv.FormatFloat(number+0, 'g', -1, 64) // 1.0 is 1, and -0 is 0
	}
	switch plain {
	case "good", "1", "true", "yes":
		return Good, nil
	case "bad", "0", "false", "no":
		return Bad, nil
	case "skip":
		return Skip, nil
	}
	return Unlabelled, fmt.Errorf("label %q is none of good (1, true), bad (0, false) and skip",
		name)
}

// String returns "good", "bad", "skip", or "" for Unlabelled.
func (l Label) String() string {
	switch l {
	case Unlabelled:
		return ""
	case Good:
		return "good"
	case Bad:
		return "bad"
	case Skip:
		return "skip"
	}
	return fmt.Sprintf("Label(%d)", uint8(l))
}

// Encode writes one sample as a line in the format of File. Pictures, latents and conditions are
// not part of the format. A sample that has judgements and no label has the label of Majority when
// it is read again. A sample that could not be read again is an error, and nothing of it is
// written.
func Encode(w io.Writer, s Sample) error {
	fail := func(err error) error { return fmt.Errorf("dataset: sample %q: %w", s.ID, err) }
	if blank(s.Prompt) {
		return fail(errors.New("the prompt is missing"))
	}
	if err := checkFile(s.File); err != nil {
		return fail(err)
	}
	if s.Reward != nil && (math.IsNaN(*s.Reward) || math.IsInf(*s.Reward, 0)) {
		return fail(fmt.Errorf("the reward is %v", *s.Reward))
	}
	if err := s.checkJudgements(); err != nil {
		return fail(err)
	}
	r := record{ID: s.ID, Prompt: s.Prompt, File: s.File, Group: s.Group, Reward: s.Reward}
	for _, a := range s.Alternatives {
		if blank(a.Prompt) {
			return fail(errEmpty)
		}
		r.Alternatives = append(r.Alternatives, a.Prompt)
	}
	if s.Judgements > 0 {
		r.Judgements, r.Good = new(whole(s.Judgements)), &s.Good
	}
	if s.Source != (Source{}) {
		r.Source = &s.Source
	}
	if s.Label != Unlabelled {
		name := s.Label.String()
		if _, err := ParseLabel(name); err != nil {
			return fail(err)
		}
		r.Label = new(word(name))
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return fail(err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fail(err)
	}
	return nil
}

// Write writes all samples of d to a file in the format of File and returns their number. Two
// samples with the same ID are an error. Samples without an ID get one when the file is read. After
// an error the file is as it was before.
func Write(ctx context.Context, path string, d Dataset) (n int, err error) {
	err = file.Write(path, func(w io.Writer) (err error) {
		n, err = encodeAll(ctx, w, d)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("dataset: %w", err)
	}
	return n, nil
}

func encodeAll(ctx context.Context, w io.Writer, d Dataset) (n int, err error) {
	named := map[string]int{}
	for s, err := range All(ctx, d) {
		if err != nil {
			return n, err
		}
		if other, taken := named[s.ID]; taken && s.ID != "" {
			return n, fmt.Errorf("samples %d and %d have the same ID %q", other, n, s.ID)
		}
		named[s.ID] = n
		if err := Encode(w, s); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}
