package feedback

import (
	"bytes"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// A reader is one of the functions that read other tools' files.
type reader = func(r io.Reader, name string, f Fields) iter.Seq2[Record, error]

// allReaders are all of them, by name.
var allReaders = map[string]reader{
	"Label Studio": ReadLabelStudio, "JSON_MIN": ReadLabelStudioMin, "LS CSV": ReadLabelStudioCSV,
	"Prodigy": ReadProdigy, "Argilla": ReadArgilla, "CSV": ReadCSV,
}

// readAll returns the records of a text, up to an error.
func readAll(read reader, text, name string, f Fields) (all []Record, err error) {
	for r, err := range read(strings.NewReader(text), name, f) {
		if err != nil {
			return all, err
		}
		all = append(all, r)
	}
	return all, nil
}

const (
	user1 = "6f1c2a3e-0000-4000-8000-000000000001"
	user2 = "6f1c2a3e-0000-4000-8000-000000000002"
)

// at is a time on the day of which the files in testdata are.
func at(hour, minute, second, millisecond int) time.Time {
	return time.Date(2026, 3, 1, hour, minute, second, millisecond*1e6, time.UTC)
}

// The files in testdata are written by hand, each from the documentation of its tool.
var imports = []struct {
	file   string
	read   reader
	fields Fields
	want   []Record // without the answers' IDs
}{
	{"labelstudio.json", ReadLabelStudio, Fields{}, []Record{
		{
			Picture: "/data/local-files/?d=images/0.png", Prompt: "a dog",
			Rater: "anna@example.com", Label: dataset.Good, Reason: "one dog\nand it is green",
			Taken: 4125 * time.Millisecond, At: at(10, 0, 5, 250),
		},
		{
			Picture: "/data/local-files/?d=images/0.png", Prompt: "a dog", Rater: "2",
			Label: dataset.Bad, Taken: 2500 * time.Millisecond, At: at(10, 0, 0, 0),
		},
		{
			Picture: "images/1.png", Prompt: "a cat", Rater: "2", Label: dataset.Skip,
			At: at(10, 2, 0, 0),
		},
	}},
	{
		"labelstudio_old.json", ReadLabelStudio,
		Fields{Good: []string{"4", "5"}, Bad: []string{"1", "2"}, Skip: []string{"3"}},
		[]Record{
			{
				Picture: "images/0.png", Prompt: "a dog", Rater: "1", Label: dataset.Good,
				Taken: 3 * time.Second,
			},
			{Picture: "images/0.png", Prompt: "a dog", Rater: "2", Label: dataset.Skip},
		},
	},
	{"labelstudio_min.json", ReadLabelStudioMin, Fields{Label: "quality"}, []Record{
		{
			Picture: "/data/local-files/?d=images%2F0.png", Prompt: "a dog", Rater: "1",
			Label: dataset.Good, Taken: 4125 * time.Millisecond, At: at(10, 0, 5, 250),
		},
		{
			Picture: "images/0.png", Prompt: "a dog", Rater: "ben@example.com", Label: dataset.Bad,
			Taken: 2500 * time.Millisecond, At: at(10, 1, 0, 0),
		},
		{
			Picture: "images/1.png", Prompt: "a cat", Rater: "1", Label: dataset.Good,
			Taken: time.Second, At: at(10, 2, 0, 0),
		},
	}},
	{"labelstudio.csv", ReadLabelStudioCSV, Fields{Label: "quality"}, []Record{
		{
			Picture: "/data/local-files/?d=images/0.png", Prompt: "a dog", Rater: "1",
			Label: dataset.Good, Taken: 4125 * time.Millisecond, At: at(10, 0, 5, 250),
		},
		{
			Picture: "images/0.png", Prompt: "a dog", Rater: "ben@example.com", Label: dataset.Bad,
			Taken: 2500 * time.Millisecond, At: at(10, 1, 0, 0),
		},
		{
			Picture: "images/1.png", Prompt: "a cat", Rater: "1", Label: dataset.Good,
			Taken: time.Second, At: at(10, 2, 0, 0),
		},
	}},
	{"prodigy.jsonl", ReadProdigy, Fields{Rater: "me"}, []Record{
		{
			Picture: "images/0.png", Prompt: "a dog", Rater: "labels-anna", Label: dataset.Good,
			At: at(10, 0, 5, 0),
		},
		{Picture: "images/0.png", Prompt: "a dog", Rater: "labels-ben", Label: dataset.Bad},
		{
			Picture: "images/1.png", Prompt: "a cat", Rater: "me", Label: dataset.Skip,
			At: at(10, 1, 40, 0),
		},
	}},
	{
		"prodigy_choice.jsonl", ReadProdigy,
		Fields{Label: "accept", Good: []string{"fine"}, Bad: []string{"off"}},
		[]Record{
			{Picture: "images/0.png", Prompt: "a dog", Rater: "anna", Label: dataset.Good},
			{Picture: "images/1.png", Prompt: "a cat", Rater: "anna", Label: dataset.Bad},
			{Picture: "images/2.png", Prompt: "a cat", Rater: "anna", Label: dataset.Skip},
		},
	},
	{"argilla.json", ReadArgilla, Fields{}, []Record{
		{Picture: "images/0.png", Prompt: "a dog", Rater: user1, Label: dataset.Good},
		{Picture: "images/0.png", Prompt: "a dog", Rater: user2, Label: dataset.Bad},
		{Picture: "images/1.png", Prompt: "a cat", Rater: user1, Label: dataset.Skip},
	}},
	{"argilla_flat.jsonl", ReadArgilla, Fields{}, []Record{
		{Picture: "images/0.png", Prompt: "a dog", Rater: user1, Label: dataset.Good},
		{Picture: "images/0.png", Prompt: "a dog", Rater: user2, Label: dataset.Bad},
		{Picture: "images/1.png", Prompt: "a cat", Rater: user1, Label: dataset.Skip},
	}},
	{
		"labels.csv", ReadCSV, Fields{Picture: "picture", Prompt: "caption", Label: "verdict"},
		[]Record{
			{
				Answer: "first", Picture: "images/0.png", Prompt: "a dog", Rater: "anna",
				Label: dataset.Good, Reason: `green, and "alone"`, Taken: 4125 * time.Millisecond,
				At: at(10, 0, 5, 250),
			},
			{Picture: "images/0.png", Prompt: "a dog", Rater: "ben", Label: dataset.Bad},
			{
				Picture: "images/1.png", Prompt: "a cat", Rater: "anna", Label: dataset.Skip,
				Taken: 2 * time.Second, At: at(10, 2, 0, 0),
			},
		},
	},
}

func TestImports(t *testing.T) {
	for _, c := range imports {
		t.Run(c.file, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", c.file))
			require.NoError(t, err)
			got, err := readAll(c.read, string(text), c.file, c.fields)
			require.NoError(t, err)
			again, err := readAll(c.read, string(text), c.file, c.fields)
			require.NoError(t, err)
			require.Equal(t, got, again, "IDs are the same each time")
			ids := map[string]bool{}
			for i := range got {
				require.NotEmpty(t, got[i].Answer)
				ids[got[i].Answer] = true
				if got[i].Answer != "first" {
					got[i].Answer = ""
				}
			}
			require.Len(t, ids, len(got))
			require.Equal(t, c.want, got)

			// Into a store, and again.
			s := newStore(t)
			s.pictures(4, "a dog")
			n, err := s.AddRecords(t.Context(),
				c.read(bytes.NewReader(text), c.file, c.fields), nil)
			require.NoError(t, err)
			require.Equal(t, len(c.want), n)
			n, err = s.AddRecords(t.Context(),
				c.read(bytes.NewReader(text), c.file, c.fields), nil)
			require.NoError(t, err)
			require.Zero(t, n)
			require.NoError(t, s.Check(t.Context()))
			require.NoError(t, s.Verify(t.Context()))
			all := s.all()
			require.Len(t, all, len(c.want))
			for i, j := range all {
				want := c.want[i]
				require.Equal(t, []any{want.Rater, want.Label, want.Reason, want.Taken},
					[]any{j.Rater, j.Label, j.Reason, j.Taken})
				if !want.At.IsZero() {
					require.Equal(t, want.At, j.At)
				}
				sample, err := s.Picture(t.Context(), j.Picture)
				require.NoError(t, err)
				require.Equal(t, want.Prompt, sample.Prompt)
				require.True(t, strings.HasSuffix(strings.ReplaceAll(want.Picture, "%2F", "/"),
					sample.File))
			}
		})
	}
}

// The forms in which Label Studio exports an annotation are one judgement.
func TestFormsOfLabelStudio(t *testing.T) {
	s := newStore(t)
	s.pictures(2, "a dog")
	for i, c := range []struct {
		file string
		read reader
		want int
	}{
		{"labelstudio.json", ReadLabelStudio, 3},
		{"labelstudio_min.json", ReadLabelStudioMin, 2},
		{"labelstudio.csv", ReadLabelStudioCSV, 0},
	} {
		text, err := os.ReadFile(filepath.Join("testdata", c.file))
		require.NoError(t, err)
		if i == 0 {
			text = bytes.Replace(text, []byte(`"anna@example.com"`), []byte(`"1"`), 1)
			// A reason is in one of the forms alone.
			text = bytes.Replace(text, []byte(`["one dog", "and it is green"]`), []byte(`[]`), 1)
		}
		n, err := s.AddRecords(t.Context(),
			c.read(bytes.NewReader(text), c.file, Fields{Label: "quality"}), nil)
		require.NoError(t, err)
		require.Equal(t, c.want, n, c.file)
	}
}

// A rater who was erased does not come back with a file that is read again.
func TestErasedRatersStayErased(t *testing.T) {
	s := newStore(t)
	s.pictures(2, "a dog")
	text, err := os.ReadFile("testdata/argilla.json")
	require.NoError(t, err)
	for i := range 2 {
		n, err := s.AddRecords(t.Context(), ReadArgilla(bytes.NewReader(text), "x", Fields{}), nil)
		require.NoError(t, err)
		require.Equal(t, 3*(1-i), n)
		if i == 0 {
			_, err = s.Erase(t.Context(), user1)
			require.NoError(t, err)
		}
	}
	require.NotContains(t, s.archive(), user1)
}

// What is wrong in a file is an error that says where.
func TestImportsThatAreWrong(t *testing.T) {
	for _, c := range []struct {
		read   reader
		text   string
		fields Fields
		want   string
	}{
		{ReadLabelStudio, `[{"id":1,"data":{"image":"a.png"},"annotations":[{"id":2,"result":[` +
			`{"from_name":"q","type":"choices","value":{"choices":["great"]}}]}]}]`, Fields{},
			`x: record 1: annotation 1 of task 1: "great" is none of good (good, yes,`},
		{ReadLabelStudio, `[{"id":1,"data":{},"annotations":[{"id":2,"was_cancelled":true,` +
			`"completed_by":1}]}]`, Fields{}, `there is no "image", the picture`},
		{ReadLabelStudio, `[{"id":1,"data":{"image":"a"},"annotations":[{"was_cancelled":true}]}]`,
			Fields{}, `does not say who labelled it`},
		{ReadLabelStudio, `[{"data":{"image":{}},"annotations":[]}]`, Fields{}, `not a text`},
		{ReadLabelStudio, `[{"id":1,"data":{"image":"a.png"},"annotations":[{"result":[` +
			`{"from_name":"q","type":"choices","value":{"choices":["good","bad"]}}]}]}]`, Fields{},
			`"q" has 2 values, not one`},
		{ReadLabelStudio, `[{"id":1,"data":{"image":"a.png"},"annotations":[{"result":[` +
			`{"from_name":"q","type":"choices","value":{"choices":["good"]}},` +
			`{"from_name":"p","type":"choices","value":{"choices":["good"]}}]}]}]`, Fields{},
			`say which is the label`},
		{ReadLabelStudio, `[{"id":1,"data":{"image":"a.png"},"annotations":[{"result":[` +
			`{"from_name":"q","type":"choices","value":{"choices":["good"]}}]}]}]`,
			Fields{Label: "p"}, `there is no control "p"`},
		{ReadLabelStudio, `[{"id":1,"data":{"image":"a.png"},"annotations":[{"result":[` +
			`{"from_name":"q","type":"pairwise","value":{"selected":"left"}}]}]}]`, Fields{},
			`"q" has the type "pairwise"`},
		{ReadLabelStudio, `[{"id":1}`, Fields{}, `x: record 1: bad JSON`},
		{ReadLabelStudio, `[] []`, Fields{}, `more after the end`},
		{ReadLabelStudio, `[{"id":1,"annotations":{}}]`, Fields{}, `bad JSON`},
		{ReadLabelStudioMin, `[{"image":"a.png","quality":"good"}]`, Fields{}, `which control`},
		{ReadLabelStudioMin, `[{"image":"a.png","q":["a","b"]}]`, Fields{Label: "q"}, `2 values`},
		{ReadLabelStudioMin, `[{"image":"a.png","q":{"x":1}}]`, Fields{Label: "q"}, `neither`},
		{ReadLabelStudioMin, `[{"image":"a.png","q":"good","annotator":1,"updated_at":"soon"}]`,
			Fields{Label: "q"}, `"soon" is not a time`},
		{ReadLabelStudioCSV, "image,annotator\na.png,1\n", Fields{Label: "q"},
			`x:1: no column is named "q"; there are ["image" "annotator"]`},
		{ReadLabelStudioCSV, "image,q,annotator\na.png,great,1\n", Fields{Label: "q"},
			`x:2: "great" is none of`},
		{ReadProdigy, `{"image":"a.png","answer":"maybe"}`, Fields{Rater: "me"}, `"maybe" is none`},
		{ReadProdigy, `{"image":"a.png"}`, Fields{Rater: "me"}, `"" is none`},
		{ReadProdigy, `{"image":"a.png","answer":"accept","accept":["a","b"]}`,
			Fields{Label: "accept"}, `2 values`},
		{ReadProdigy, `{"image":"a.png","answer":"accept","_timestamp":"x"}`, Fields{},
			`_timestamp`},
		{ReadArgilla, `{"fields":{"image":"a.png"},"responses":{"a":[],"b":[]}}`, Fields{},
			`there are 2 questions`},
		{ReadArgilla, `{"image":"a.png","q.responses":["good"],"q.responses.users":[]}`, Fields{},
			`1 responses of 0 users`},
		{ReadCSV, "image,label,rater\na.png,good,anna\nb.png,great,anna\n", Fields{},
			`x:3: "great" is none of`},
		{ReadCSV, "image,label,label\n", Fields{}, `two columns are named "label"`},
		{ReadCSV, "image,label,rater,seconds\na.png,good,anna,x\n", Fields{}, `x:2: seconds`},
		{ReadCSV, "image,label,rater\na.png,good\n", Fields{}, `x:2: wrong number of fields`},
		{ReadCSV, "", Fields{}, `x:1: EOF`},
	} {
		_, err := readAll(c.read, c.text, "x", c.fields)
		require.ErrorContains(t, err, c.want, c.text)
	}
	for name, read := range allReaders {
		if !strings.Contains(name, "CSV") {
			all, err := readAll(read, "", "x", Fields{})
			require.NoError(t, err, name)
			require.Empty(t, all)
		}
	}
}

// Records find their pictures, or add them; what cannot be found leaves nothing behind.
func TestAddRecords(t *testing.T) {
	s := newStore(t)
	samples := s.add(1, "a dog", "a cat", "a wolf")
	same := dataset.Sample{ID: "same file", Prompt: "an owl", File: samples[2].File}
	_, err := s.Add(t.Context(), dataset.FromSlice([]dataset.Sample{same}), "")
	require.NoError(t, err)
	add := func(records ...Record) (int, error) {
		return s.AddRecords(t.Context(), func(yield func(Record, error) bool) {
			for i, r := range records {
				r.Answer = fmt.Sprint(r.Picture, r.Prompt, i)
				r.Rater, r.Label = "anna", dataset.Good
				if !yield(r, nil) {
					return
				}
			}
		}, nil)
	}
	inside := filepath.ToSlash(filepath.Join(s.folder, "images", "1.png"))
	n, err := add(
		Record{Picture: "images/0.png"}, Record{Picture: "images/../images/0.png", Prompt: "a dog"},
		Record{Picture: inside}, Record{Picture: "images/2.png", Prompt: "an owl"},
		Record{Picture: "images/0.png", Prompt: "a mouse"},
		Record{Picture: "images/1.png", Prompt: "a mouse"},
	)
	require.NoError(t, err)
	require.Equal(t, 6, n)
	var names []string
	for _, j := range s.all() {
		names = append(names, j.Picture)
	}
	require.Equal(t, []string{"p0", "p0", "p1", "same file", "images/0.png", "images/1.png"}, names)
	for _, c := range []struct {
		record Record
		want   string
	}{
		{Record{Picture: "images/2.png"}, "2 pictures have the file"},
		{Record{Picture: "images/9.png"}, "no prompt"},
		{Record{Picture: "images/9.png", Prompt: "a dog"}, "not in the store"},
		{Record{Picture: "../0.png"}, "not inside"},
		{Record{Picture: "https://example.com/0.png"}, "is an address"},
		{Record{Picture: "/data/local-files/?d=%zz"}, "invalid URL escape"},
	} {
		before := s.archive()
		_, err := add(Record{Picture: "images/0.png", Prompt: "a new one"}, c.record)
		require.ErrorContains(t, err, c.want)
		require.Equal(t, before, s.archive())
	}
	elsewhere := func(r Record) (string, error) {
		return strings.Replace(r.Picture, "https://example.com", "images", 1), nil
	}
	one := Record{
		Answer: "x", Picture: "https://example.com/0.png", Prompt: "a dog", Rater: "b", Label: 1,
	}
	n, err = s.AddRecords(t.Context(), func(yield func(Record, error) bool) { yield(one, nil) },
		elsewhere)
	require.NoError(t, err)
	require.Equal(t, 1, n)
}

// FuzzImports gives readers what was not written for them. They return records that are whole, or
// an error.
func FuzzImports(f *testing.F) {
	for _, c := range imports {
		text, err := os.ReadFile(filepath.Join("testdata", c.file))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text), c.fields.Label)
	}
	f.Fuzz(func(t *testing.T, text, label string) {
		for name, read := range allReaders {
			all, _ := readAll(read, text, "x", Fields{Label: label, Rater: "me"})
			for _, r := range all {
				if r.Answer == "" || r.Picture == "" || r.Rater == "" || r.Taken < 0 ||
					r.Label == dataset.Unlabelled || r.Label > dataset.Skip {
					t.Errorf("%s: %+v", name, r)
				}
			}
		}
	})
}

// Lines of an archive that are missing, doubled, elsewhere or damaged are an error, or a store that
// is right.
func TestDamagedArchives(t *testing.T) {
	s := newStore(t)
	s.fill()
	lines := strings.SplitAfter(s.archive(), "\n")
	rapid.Check(t, func(r *rapid.T) {
		damaged := slices.Clone(lines)
		for range rapid.IntRange(1, 3).Draw(r, "times") {
			i := rapid.IntRange(0, len(damaged)-1).Draw(r, "line")
			j := rapid.IntRange(0, len(damaged)-1).Draw(r, "other")
			switch rapid.IntRange(0, 3).Draw(r, "how") {
			case 0:
				damaged = slices.Delete(damaged, i, i+1)
			case 1:
				damaged = slices.Insert(damaged, i, damaged[j])
			case 2:
				damaged[i], damaged[j] = damaged[j], damaged[i]
			case 3:
				line := []byte(damaged[i])
				if len(line) > 0 {
					at := rapid.IntRange(0, len(line)-1).Draw(r, "byte")
					line[at] = rapid.Byte().Draw(r, "new")
				}
				damaged[i] = string(line)
			}
		}
		imported(t, r, strings.Join(damaged, ""))
	})
}

// imported holds what comes of a text that may be an archive: nothing, or a store that is right and
// whose own archive is as good as it.
func imported(t testing.TB, r require.TestingT, text string) {
	one, two := newStore(t), newStore(t)
	defer one.Close()
	defer two.Close()
	one.hasty()
	two.hasty()
	empty := one.archive()
	if err := one.Import(t.Context(), strings.NewReader(text), "x"); err != nil {
		require.Equal(r, empty, one.archive())
	}
	require.NoError(r, one.Check(t.Context()))
	archive := one.archive()
	require.NoError(r, two.Import(t.Context(), strings.NewReader(archive), "x"))
	require.Equal(r, archive, two.archive())
}

// FuzzArchive reads archives that nobody has written.
func FuzzArchive(f *testing.F) {
	s := newStore(f)
	s.fill()
	f.Add(s.archive())
	f.Add(newStore(f).archive())
	f.Fuzz(func(t *testing.T, text string) { imported(t, t, text) })
}
