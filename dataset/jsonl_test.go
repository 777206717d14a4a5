package dataset

import (
	"bytes"
	"context"
	"errors"
	"image"
	"iter"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/stretchr/testify/require"
)

func reward(r float64) *float64 { return &r }

var some = []Sample{
	{
		ID:     "a",
		Prompt: `two <green> dogs & "a" cat`,
		File:   "images/a.png",
		Label:  Good,
		Reward: reward(0.25),
	},
	{
		ID:     "b",
		Prompt: "ein Hund für Ünal",
		Label:  Bad,
		Reward: reward(0),
		Source: Source{
			Model:    "tiny",
			Sampler:  "ddim",
			Steps:    15,
			Guidance: 2.5,
			Seed:     math.MaxUint64,
			Index:    3,
			Rater:    "judge",
		},
	},
	{Prompt: "nobody judged me"},
	{ID: "d", Prompt: "unclear", Label: Skip, Group: "d or e", Judgements: 4, Good: 0.5},
}

func TestWriteReadsBack(t *testing.T) {
	ctx, path := t.Context(), filepath.Join(t.TempDir(), "samples.jsonl")
	n, err := Write(ctx, path, FromSlice(some))
	require.NoError(t, err)
	require.Equal(t, 4, n)
	f, want := File{Path: path}, slices.Clone(some)
	want[2].ID = "samples.jsonl:3"
	for range 2 { // ranging again starts again
		got, err := Collect(ctx, f)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, `{"id":"a","prompt":"two <green> dogs & \"a\" cat",`+
		`"file":"images/a.png","label":"good","reward":0.25}`,
		strings.Split(string(text), "\n")[0])
}

func TestBadLinesNameFileAndLine(t *testing.T) {
	const (
		first    = `{"id":"first","prompt":"fine","label":"good"}` + "\n\n"
		together = `judgements, above 0, and good go together`
	)
	for _, c := range []struct{ line, want string }{
		{`{"prompt":"x","label":"great"}`, `label "great" is none of good (1, true), bad`},
		{`{"prompt":"x","label":""}`, `label "" is none of`},
		{`{"prompt":"x","label":2}`, `label "2" is none of`},
		{`{"prompt":"x","label":-1}`, `label "-1" is none of`},
		{`{"prompt":"x","label":["good"]}`, `is none of`},
		{`{"prompt":"x","lable":"good"}`, `there is no field "lable"; there are id, prompt, file`},
		{`{"prompt":"x","source":{"step":1}}`, `no field "step"; there are`},
		{`{"prompt":"x","source":{"step":1}}`, `reward, source (model, sampler, steps, guidance`},
		{`{"prompt":"x","label":"good","Label":"bad"}`, `the field "Label" is there twice`},
		{`[{"prompt":"x","label":"good"}]`, `JSON array: there must be one object a line`},
		{`[`, `JSON array: there must be one object a line`},
		{`{"prompt":"x","label":"good"},`, `ends with a comma: there must be one object a line`},
		{`prompt,file,label`, `the line is no JSON object, such as {"prompt":`},
		{`"a dog"`, `the line is no JSON object`},
		{`{"prompt":"x"`, `ends inside`},
		{`{"prompt":"x"} {"prompt":"y"}`, `more than one JSON object on the line`},
		{`prompt: x`, `the line is no JSON object`},
		{`{'prompt': 'x'}`, `bad JSON`},
		{`{"id":"1"}`, `prompt is missing`},
		{`{"prompt":"x","reward":"1"}`, `reward is string, not a number`},
		{`{"prompt":"x","judgements":1.5}`, `judgements is number 1.5, not a whole number`},
		{`{"prompt":"x","reward":1e400}`, `reward is number 1e400, which is too large`},
		{`{"prompt":"x","reward":NaN}`, `bad JSON, which has no NaN: leave the field out`},
		{`{"prompt":"x","good": -Infinity}`, `bad JSON, which has no Infinity: leave`},
		{`{"prompt":"x","alternatives":"y"}`, `alternatives is string, not an array of strings`},
		{`{"prompt":"x","source":{"seed":1,"seed":2}}`, `the field "source.seed" is there twice`},
		{`{"prompt":["x"]}`, `prompt is array, not a string`},
		{`{"prompt":"x","source":"me"}`, `source is string, not an object`},
		{`{"prompt":"x","file":"/etc/x"}`, `"/etc/x" is not a path inside`},
		{`{"prompt":"x","file":"../x.png"}`, `"../x.png" is not a path inside`},
		{`{"prompt":"x","file":"a\\b.png"}`, `has backslashes: paths have forward slashes`},
		{`{"prompt":"x","judgements":3}`, together},
		{`{"prompt":"x","good":0.5}`, together},
		{`{"prompt":"x","judgements":0,"good":0}`, together},
		{`{"prompt":"x","judgements":-3,"good":0.5}`, `there are -3 judgements`},
		{`{"prompt":"x","judgements":3,"good":1.5}`, `good judgements is 1.5, not in [0,1]`},
		{
			`{"prompt":"x","judgements":4,"good":0.25,"label":"good"}`,
			`the label is good, and the share of good judgements 0.25`,
		},
		{
			`{"prompt":"x","judgements":4,"good":0.75,"label":"bad"}`,
			`the label is bad, and the share of good judgements 0.75`,
		},
		{`{"id":"first","prompt":"x"}`, `line 1 has the id "first" too`},
	} {
		line, want := c.line, c.want
		path := filepath.Join(t.TempDir(), "labels.jsonl")
		text := first + line + "\n" + `{"prompt":"fine"}` + "\n"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		got, err := Collect(t.Context(), File{Path: path})
		require.ErrorContains(t, err, want, line)
		require.ErrorContains(t, err, path+":3:", line)
		require.Len(t, got, 1, "nothing after an error")
	}
	for _, err := range Read(strings.NewReader(`{"prompt":"x","id":"a:2"}`+"\n"+
		`{"prompt":"x"}`), "a") {
		if err != nil {
			require.ErrorContains(t, err, `a:2: line 1 has the id "a:2", which this line without`)
		}
	}
	path := filepath.Join(t.TempDir(), "checked.jsonl")
	text := `{"prompt":"fine"}` + "\n\n" + `{"prompt":"odd"}` + "\n"
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	_, err := Collect(t.Context(), File{Path: path, Check: func(s Sample) error {
		if s.Prompt == "odd" {
			return errors.New("an odd prompt")
		}
		return nil
	}})
	require.ErrorContains(t, err, path+":3: an odd prompt")
	_, err = Collect(t.Context(), File{Path: "no/such.jsonl"})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "no/such.jsonl")
	long := strings.NewReader(`{"prompt":"` + strings.Repeat("x", maxLine) + `"}`)
	for _, err := range Read(long, "long.jsonl") {
		require.ErrorContains(t, err, "long.jsonl:1: ")
	}
}

// A label that nobody wrote is what most said; one that is there may be Skip, and at a tie
// anything.
func TestJudgements(t *testing.T) {
	for line, want := range map[string]Sample{
		`"judgements":3,"good":0.75`:               {Label: Good, Judgements: 3, Good: 0.75},
		`"judgements":3,"good":0`:                  {Label: Bad, Judgements: 3},
		`"judgements":3.0,"good":1.0`:              {Label: Good, Judgements: 3, Good: 1},
		`"judgements":2,"good":0.5`:                {Label: Skip, Judgements: 2, Good: 0.5},
		`"judgements":2,"good":0.5,"label":"good"`: {Label: Good, Judgements: 2, Good: 0.5},
		`"judgements":2,"good":0.5,"label":"bad"`:  {Label: Bad, Judgements: 2, Good: 0.5},
		`"judgements":9,"good":0.6,"label":"skip"`: {Label: Skip, Judgements: 9, Good: 0.6},
		`"judgements":9,"good":1,"group":"2 and 3"`: {
			Label: Good, Judgements: 9, Good: 1, Group: "2 and 3",
		},
		`"label":"good"`: {Label: Good}, `"label":"GOOD"`: {Label: Good},
		`"label":1`:   {Label: Good},
		`"label":1.0`: {Label: Good}, `"label":true`: {Label: Good}, `"label":"Yes"`: {Label: Good},
		`"label":"Bad "`: {Label: Bad}, `"label":0`: {Label: Bad}, `"label":false`: {Label: Bad},
		`"label":"0"`: {Label: Bad}, `"label":"Skip"`: {Label: Skip}, `"label":null`: {},
	} {
		want.ID, want.Prompt = "a", "x"
		for got, err := range Read(strings.NewReader(`{"id":"a","prompt":"x",`+line+"}"), "x") {
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	}
	for share, want := range map[float64]Label{
		0: Bad, 0.49: Bad, 0.5: Skip, 0.51: Good, 1: Good, -0.1: Skip, 1.1: Skip, math.NaN(): Skip,
	} {
		require.Equal(t, want, Majority(share), share)
	}
}

// Lines that have no id get one, by which they are told apart.
func TestLinesAreNamed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.jsonl")
	write := func(lines ...string) {
		require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644))
	}
	named := func() (all []string) {
		samples, err := Collect(t.Context(), File{Path: path})
		require.NoError(t, err)
		for _, s := range samples {
			all = append(all, s.ID)
		}
		return all
	}
	a, b := `{"prompt":"x","file":"a.png","label":"good"}`, `{"prompt":"x","file":"b.png"}`
	write(a, b, "", a, `{"prompt":"x"}`, `{"prompt":"x","id":"7"}`)
	require.Equal(t, []string{"a.png", "b.png", "old.jsonl:4", "old.jsonl:5", "7"}, named())
	write(b, a)
	require.Equal(t, []string{"b.png", "a.png"}, named(), "a picture's name is not its place")

	write(b, a, `{"prompt":"y","id":"b.png"}`)
	_, err := Collect(t.Context(), File{Path: path})
	require.EqualError(t, err, "dataset: "+path+`:3: line 1 has the id "b.png" too`)
	_, err = Write(t.Context(), path, letters("aba"))
	require.ErrorContains(t, err, `samples 0 and 2 have the same ID "a"`)
	_, err = Write(t.Context(), path, FromSlice([]Sample{{Prompt: "x"}, {Prompt: "x"}}))
	require.NoError(t, err)
	require.Equal(t, []string{"old.jsonl:1", "old.jsonl:2"}, named())
}

func TestPicturesComeFromBesideTheFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "images"), 0o755))
	img := image.NewRGBA(image.Rect(0, 0, 3, 2))
	require.NoError(t, picture.WritePNG(filepath.Join(dir, "images", "a.png"), img))
	path := filepath.Join(dir, "samples.jsonl")
	gone := Sample{Prompt: "gone", File: "images/gone.png"}
	_, err := Write(t.Context(), path, FromSlice([]Sample{some[0], gone}))
	require.NoError(t, err)
	got, err := Collect(t.Context(), File{Path: path, Images: true})
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, path+":2:")
	require.Len(t, got, 1)
	require.Equal(t, 3, got[0].Image.Bounds().Dx())

	got, err = Collect(t.Context(), WithImages(File{Path: path}, dir))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, `dataset: sample "images/gone.png": `)
	require.Len(t, got, 1)
	require.Equal(t, 3, got[0].Image.Bounds().Dx())
	got, err = Collect(t.Context(), WithImages(letters("a"), dir))
	require.NoError(t, err)
	require.Nil(t, got[0].Image)
}

type full struct{ left int }

func (f *full) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, errors.New("no space left on device")
	}
	return len(p), nil
}

func TestEncodeRefuses(t *testing.T) {
	require.ErrorContains(t, Encode(&full{10}, some[0]), `sample "a": no space left`)
	_, err := encodeAll(t.Context(), &full{10}, FromSlice(some))
	require.ErrorContains(t, err, "no space left")
	for _, s := range []Sample{
		{},
		{Prompt: "x", Reward: reward(math.NaN())},
		{Prompt: "x", File: "/x"},
		{Prompt: "x", Label: 9},
		{Prompt: "x", Judgements: -1},
		{Prompt: "x", Good: 1},
		{Prompt: "x", Judgements: 2, Good: math.NaN()},
		{Prompt: "x", Judgements: 2, Good: 1.1},
		{Prompt: "x", Judgements: 2, Good: -0.1},
		{Prompt: "x", Judgements: 2, Good: 0.4, Label: Good},
		{Prompt: "x", Judgements: 2, Good: 0.6, Label: Bad},
	} {
		var b bytes.Buffer
		require.Error(t, Encode(&b, s))
		require.Zero(t, b.Len())
	}
}

// A dataset that fails half-way, a folder that is not there: what was there before stays, and
// nothing else.
func TestWriteIsWholeOrNothing(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "samples.jsonl")
	_, err := Write(t.Context(), path, FromSlice(some[:1]))
	require.NoError(t, err)
	before, err := os.ReadFile(path)
	require.NoError(t, err)

	broken := errors.New("broken")
	atB := func(_ context.Context, s Sample) (Sample, error) {
		if s.ID == "b" {
			return s, broken
		}
		return s, nil
	}
	_, err = Write(t.Context(), path, Map(FromSlice(some), atB))
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, path)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after)
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)

	_, err = Write(t.Context(), filepath.Join(dir, "none", "x.jsonl"), FromSlice(some))
	require.ErrorContains(t, err, filepath.Join("none", "x.jsonl"))
}

func ids(t *testing.T, d Dataset) (s string) {
	t.Helper()
	samples, err := Collect(t.Context(), d)
	require.NoError(t, err)
	for _, x := range samples {
		s += x.ID
	}
	return s
}

func letters(s string) Dataset {
	var samples []Sample
	for _, c := range s {
		samples = append(samples, Sample{ID: string(c), Prompt: "x"})
	}
	return FromSlice(samples)
}

func TestStreams(t *testing.T) {
	d := letters("abcdefgh")
	require.Equal(t, "abc", ids(t, Take(d, 3)))
	require.Equal(t, "", ids(t, Take(d, 0)))
	require.Equal(t, "abcdefgh", ids(t, Take(d, 100)))
	bOrD := func(s Sample) bool { return s.ID == "b" || s.ID == "d" }
	require.Equal(t, "bd", ids(t, Filter(d, bOrD)))
	require.Equal(t, "abcdefghxy", ids(t, Join(d, letters("xy"))))

	first := ids(t, Shuffle(d, 1, 0))
	require.NotEqual(t, "abcdefgh", first)
	require.ElementsMatch(t, []byte("abcdefgh"), []byte(first))
	require.Equal(t, first, ids(t, Shuffle(d, 1, 0)))
	require.NotEqual(t, first, ids(t, Shuffle(d, 1, 1)))
	require.NotEqual(t, first, ids(t, Shuffle(d, 2, 0)))

	cycle := Cycle(func(e uint64) Dataset { return Shuffle(d, 1, e) })
	second, third := ids(t, Shuffle(d, 1, 1)), ids(t, Shuffle(d, 1, 2))
	require.Equal(t, first+second+third[:3], ids(t, Take(cycle, 19)))
	_, err := Collect(t.Context(), Cycle(func(uint64) Dataset { return letters("") }))
	require.ErrorContains(t, err, "no samples")
}

// An error ends every stream, is passed on as it is, and comes once.
func TestStreamsPassErrorsOn(t *testing.T) {
	broken := errors.New("broken")
	bad := Func(func(context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			if yield(Sample{ID: "a"}, nil) {
				yield(Sample{}, broken)
			}
		}
	})
	same := func(_ context.Context, s Sample) (Sample, error) { return s, nil }
	for name, d := range map[string]Dataset{
		"filter":  Filter(bad, func(Sample) bool { return true }),
		"map":     Map(bad, same),
		"join":    Join(bad, letters("z")),
		"take":    Take(bad, 9),
		"shuffle": Shuffle(bad, 1, 1),
		"cycle":   Cycle(func(uint64) Dataset { return bad }),
	} {
		errs := 0
		for s, err := range d.All(t.Context()) {
			if err != nil {
				require.ErrorIs(t, err, broken, name)
				errs++
			} else {
				require.Equal(t, "a", s.ID, name)
			}
		}
		require.Equal(t, 1, errs, name)
		for range d.All(t.Context()) {
			break // stopping early must not panic
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Collect(ctx, letters("ab"))
	require.ErrorIs(t, err, context.Canceled)
}

func TestCollectLabelled(t *testing.T) {
	got, err := CollectLabelled(t.Context(), FromSlice(some))
	require.NoError(t, err)
	require.Equal(t, some[:2], got)
	path := filepath.Join(t.TempDir(), "empty.jsonl")
	_, err = Write(t.Context(), path, FromSlice(some[2:]))
	require.NoError(t, err)
	_, err = CollectLabelled(t.Context(), File{Path: path})
	require.ErrorIs(t, err, ErrNoLabels)
	require.ErrorContains(t, err, "of 2 samples in "+path)
}

func FuzzRead(f *testing.F) {
	f.Add([]byte(`{"prompt":"x","label":"good","reward":1e3,"source":{"seed":1}}`))
	f.Add([]byte(`{"prompt":"x","group":"g","judgements":3,"good":0.9}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		for s, err := range Read(bytes.NewReader(text), "x") {
			if err != nil {
				return
			}
			var b bytes.Buffer
			require.NoError(t, Encode(&b, s))
			for back, err := range Read(&b, "y") {
				require.NoError(t, err)
				require.Equal(t, s, back)
			}
		}
	})
}
