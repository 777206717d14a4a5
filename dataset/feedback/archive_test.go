package feedback

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// archive is what Export writes.
func (s *testStore) archive() string {
	s.t.Helper()
	var b bytes.Buffer
	require.NoError(s.t, s.Export(s.t.Context(), &b))
	return b.String()
}

// fill adds pictures, raters, judgements, a study and votes.
func (s *testStore) fill() {
	s.t.Helper()
	samples := s.pictures(2, `a "green" <dog>`, "ein Hund für Ünal")
	samples[1].Source.Rater, samples[1].Label = "anna", dataset.Good
	_, err := s.Add(s.t.Context(), dataset.FromSlice(samples), "")
	require.NoError(s.t, err)
	s.raters("anna", "ben")
	_, err = s.NewToken(s.t.Context(), "anna")
	require.NoError(s.t, err)
	require.NoError(s.t, s.SetRaters(s.t.Context(), "", 2))
	require.NoError(s.t, s.SetTogether(s.t.Context(), 3))
	require.NoError(s.t, s.SetGold(s.t.Context(), "p3", dataset.Bad))
	_, err = s.Judge(s.t.Context(), Judgement{
		Answer: "1", Rater: "anna", Picture: "p0", Label: dataset.Good, Taken: 1500e6,
		Reason: "it's green\nand a dog",
	})
	require.NoError(s.t, err)
	s.advance(time.Second)
	s.say("2", "anna", "p0", dataset.Bad)
	s.say("3", "ben", "p1", dataset.Skip)
	s.say("4", "ben", "p1", dataset.Unlabelled)
	require.NoError(s.t, s.AddPairs(s.t.Context(), Pair{
		"first", "1", `a "green" <dog>`, "base", "tuned", []string{"p0"}, []string{"p2"},
	}))
	for i, c := range []Choice{B, BothBad} {
		_, err := s.Vote(s.t.Context(), Vote{
			Answer: fmt.Sprint("v", i), Study: "first", Pair: "1", Question: Fidelity,
			Rater: "ben", Choice: c,
		})
		require.NoError(s.t, err)
	}
}

func TestArchive(t *testing.T) {
	s := newStore(t)
	s.fill()
	text := s.archive()
	t.Log("\n" + text)
	for _, want := range []string{
		`{"kudos":"feedback","version":2}` + "\n",
		`{"rater":{"name":"ben","added":"2026-01-02T02:04:05.678Z"}}` + "\n",
		`{"judgement":{"picture":"p0","label":"good","answer":"1","rater":"anna","reason":` +
			`"it's green\nand a dog","taken_ms":1500,"at":"2026-01-02T02:04:05.678Z"}}` + "\n",
		`{"judgement":{"picture":"p1","label":"","answer":"4","rater":"ben",` +
			`"at":"2026-01-02T02:04:06.678Z","supersedes":"3"}}` + "\n",
		`"choice":"both bad","answer":"v1","rater":"ben"`,
		`{"gold":{"picture":"p3","label":"bad"}}` + "\n",
		`{"wanted":{"study":"","raters":2,"together":3}}` + "\n",
		`{"wanted":{"study":"first","raters":3}}` + "\n",
	} {
		require.Contains(t, text, want)
	}

	copied := newStore(t)
	require.NoError(t, copied.Import(t.Context(), strings.NewReader(text), "all.jsonl"))
	require.Equal(t, text, copied.archive())
	require.NoError(t, copied.Check(t.Context()))
	require.Equal(t, s.all(), copied.all())
	require.Equal(t, s.votes(), copied.votes())
	require.Equal(t, 3, copied.overview().Together)
	require.Equal(t, 1, copied.overview().Gold)
	require.Equal(t, s.collect(s), copied.collect(copied))
	require.Equal(t, s.collect(s.Raw()), copied.collect(copied.Raw()))
	require.ErrorIs(t, copied.Verify(t.Context()), fs.ErrNotExist, "the pictures stayed behind")
	require.NoError(t, s.Verify(t.Context()))

	require.NoError(t, copied.Import(t.Context(), strings.NewReader(text), "all.jsonl"), "again")
	require.Equal(t, text, copied.archive())

	lines := strings.SplitAfter(text, "\n")
	for _, c := range []struct{ line, want string }{
		{"{", "bad JSON"},
		{"{} {}", "more than one value"},
		{"{}", "0 fields"},
		{`{"rater":{"name":"x"},"wanted":{}}`, "2 fields"},
		{`{"rater":{"name":" "}}`, "no name"},
		{`{"rater":{"nom":"x"}}`, "unknown field"},
		{`{"wanted":{"study":"","raters":0}}`, "0 raters"},
		{`{"wanted":{"study":"x","raters":1}}`, "not in the store"},
		{`{"wanted":{"study":"first","raters":1,"together":2}}`, `2 of study "first" together`},
		{`{"wanted":{"study":"","raters":1,"together":-2}}`, "-2 of study"},
		{`{"gold":{"picture":"p3","label":"good"}}`, "stands for something else"},
		{`{"gold":{"picture":"p9","label":"good"}}`, "not in the store"},
		{`{"gold":{"picture":"p0","label":"skip"}}`, "is skip"},
		{`{"gold":{"picture":"p0","label":"fine"}}`, `label "fine"`},
		{`{"judgement":{"picture":"p0","label":"fine","rater":"ben"}}`, `label "fine"`},
		{`{"judgement":{"picture":"p0","label":"good","rater":"ben"}}`, "no ID or no time"},
		{
			`{"judgement":{"picture":"p0","label":"good","rater":"ben","answer":"9",` +
				`"at":"2026-01-02T02:04:06.678Z","supersedes":"3"}}`,
			"stands for something else",
		},
		{`{"vote":{"study":"first","pair":"1","question":"beauty"}}`, `question "beauty"`},
		{
			`{"vote":{"study":"first","pair":"1","question":"fidelity","choice":"c"}}`,
			`choice "c"`,
		},
		{`{"picture":{"sample":{"id":"p0","prompt":"another"}}}`, "something else"},
		{`{"picture":{"sample":{"id":"p0"}}}`, "prompt is missing"},
	} {
		broken := strings.Join(lines, "") + c.line + "\n"
		before := copied.archive()
		err := copied.Import(t.Context(), strings.NewReader(broken), "all.jsonl")
		require.ErrorContains(t, err, c.want, c.line)
		var at *dataset.LineError
		require.ErrorAs(t, err, &at)
		require.Equal(t, len(lines), at.Line)
		require.Equal(t, before, copied.archive(), "all or nothing")
	}
	err := copied.Import(t.Context(), strings.NewReader(lines[1]), "all.jsonl")
	require.ErrorContains(t, err, "first line")
	require.Error(t, copied.Import(t.Context(), strings.NewReader(""), "all.jsonl"))
}

// Whatever was said in whatever order, an archive of it is the same store again.
func TestArchiveLosesNothing(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		s, copied := newStore(t), newStore(t)
		defer s.Close()
		defer copied.Close()
		s.hasty()
		copied.hasty()
		text := rapid.StringN(0, 8, -1)
		raters := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-zÄ"<]{1,4}`), 1, 3,
			func(s string) string { return s }).Draw(r, "raters")
		s.raters(raters...)
		samples := s.pictures(2, "a dog", `<a> "cat"`)
		for i := range samples {
			samples[i].Group = strings.ToValidUTF8(text.Draw(r, "group"), "?")
			samples[i].Label = dataset.Label(rapid.IntRange(0, 3).Draw(r, "own label"))
		}
		_, err := s.Add(t.Context(), dataset.FromSlice(samples), "")
		require.NoError(r, err)
		require.NoError(r, s.AddPairs(t.Context(), Pair{
			"s", "1", "a dog", "", "x", []string{"p0"}, []string{"p2", "p0"},
		}))
		require.NoError(r, s.SetTogether(t.Context(), rapid.IntRange(1, 3).Draw(r, "together")))
		for _, sample := range samples {
			gold := dataset.Label(rapid.IntRange(0, 2).Draw(r, "gold"))
			require.NoError(r, s.SetGold(t.Context(), sample.ID, gold))
		}
		for i := range rapid.IntRange(0, 20).Draw(r, "answers") {
			s.advance(time.Duration(rapid.Int64Range(0, 1e12).Draw(r, "passes")))
			rater := rapid.SampledFrom(raters).Draw(r, "rater")
			reason := strings.ToValidUTF8(text.Draw(r, "reason"), "?")
			taken := time.Duration(rapid.Int64Range(0, 1e12).Draw(r, "taken"))
			var err error
			if rapid.Bool().Draw(r, "picture") {
				_, err = s.Judge(t.Context(), Judgement{
					Answer: fmt.Sprint(i), Rater: rater, Reason: reason, Taken: taken,
					Picture: rapid.SampledFrom(samples).Draw(r, "picture").ID,
					Label:   dataset.Label(rapid.IntRange(0, 3).Draw(r, "label")),
				})
			} else {
				_, err = s.Vote(t.Context(), Vote{
					Answer: fmt.Sprint(i), Rater: rater, Reason: reason, Taken: taken,
					Study: "s", Pair: "1",
					Question: rapid.SampledFrom(questions).Draw(r, "question"),
					Choice:   Choice(rapid.IntRange(0, 4).Draw(r, "choice")),
				})
			}
			if err != nil {
				require.ErrorIs(r, err, ErrUnknown, "there was nothing to take back")
			}
		}
		archive := s.archive()
		require.NoError(r, copied.Import(t.Context(), strings.NewReader(archive), "all.jsonl"))
		require.Equal(r, archive, copied.archive())
		require.NoError(r, copied.Check(t.Context()))
		require.Equal(r, s.collect(s), copied.collect(copied))
		one, two := s.overview(), copied.overview()
		one.Leased, two.Leased = 0, 0 // what was taken back lately, and when it was imported
		require.Equal(r, one, two)
	})
}

func TestErase(t *testing.T) {
	s := newStore(t)
	s.fill()
	s.raters("Wilhelmine Müller")
	token, err := s.NewToken(t.Context(), "Wilhelmine Müller")
	require.NoError(t, err)
	own := dataset.Sample{
		ID: "own", Prompt: "a dog", Label: dataset.Bad,
		Source: dataset.Source{Rater: "Wilhelmine Müller", Seed: 1<<64 - 1},
	}
	_, err = s.Add(t.Context(), dataset.FromSlice([]dataset.Sample{own}), "")
	require.NoError(t, err)
	s.say("w", "Wilhelmine Müller", "p3", dataset.Good)
	s.next("Wilhelmine Müller", 1)

	var b bytes.Buffer
	require.NoError(t, s.ExportRater(t.Context(), &b, "Wilhelmine Müller"))
	require.Equal(t, 4, strings.Count(b.String(), "\n"), b.String())
	require.Contains(t, b.String(), `"answer":"w"`)
	require.Contains(t, b.String(), `"id":"own"`)
	require.NotContains(t, b.String(), "anna")
	require.ErrorIs(t, s.ExportRater(t.Context(), &b, "nobody"), ErrUnknown)

	name, err := s.Erase(t.Context(), "Wilhelmine Müller")
	require.NoError(t, err)
	require.Equal(t, "erased-3", name)
	_, err = s.RaterOf(t.Context(), token)
	require.ErrorIs(t, err, ErrUnknown)
	all := s.all()
	require.Equal(t, "erased-3", all[len(all)-1].Rater)
	require.Equal(t, 1, s.collect(s)[3].Judgements, "the judgement stays")
	got, err := s.Picture(t.Context(), "own")
	require.NoError(t, err)
	own.Source.Rater = "erased-3"
	require.Equal(t, own, got)
	_, err = s.Erase(t.Context(), "Wilhelmine Müller")
	require.ErrorIs(t, err, ErrUnknown)
	require.NoError(t, s.Check(t.Context()))
	noName := func() {
		t.Helper()
		files, err := os.ReadDir(s.folder)
		require.NoError(t, err)
		for _, f := range files {
			if f.Type().IsRegular() {
				text, err := os.ReadFile(filepath.Join(s.folder, f.Name()))
				require.NoError(t, err)
				require.NotContains(t, string(text), "Wilhelmine", f.Name())
			}
		}
	}
	noName()
	require.NoError(t, s.Close())
	noName()
	s.open()

	copied := newStore(t)
	require.NoError(t, copied.Import(t.Context(), strings.NewReader(s.archive()), "all.jsonl"))
	require.Equal(t, s.archive(), copied.archive())
}

// A backup is whole, has all that was acknowledged before it, and disturbs nobody.
func TestBackup(t *testing.T) {
	s := newStore(t)
	s.add(10, "a dog", "a cat")
	s.raters("anna")
	for i := range 10 {
		s.say(fmt.Sprint(i), "anna", fmt.Sprint("p", i), dataset.Good)
	}
	ctx, stop := context.WithCancel(t.Context())
	var wait sync.WaitGroup
	judged := 10
	wait.Go(func() {
		for ; ctx.Err() == nil; judged++ {
			_, err := s.Judge(t.Context(), Judgement{
				Answer: fmt.Sprint(judged), Rater: "anna", Picture: fmt.Sprint("p", judged%20),
				Label: dataset.Bad,
			})
			s.noError(err)
		}
	})
	path := filepath.Join(s.folder, "backup.db")
	require.NoError(t, s.Backup(t.Context(), path))
	stop()
	wait.Wait()
	require.Len(t, s.all(), judged)
	require.ErrorIs(t, s.Backup(t.Context(), path), fs.ErrExist)
	require.ErrorIs(t, s.Backup(t.Context(), filepath.Join(s.folder, "none", "x")), fs.ErrNotExist)
	names, err := filepath.Glob(filepath.Join(s.folder, ".backup*"))
	require.NoError(t, err)
	require.Empty(t, names)

	backup := &testStore{clock: s.clock, t: t, folder: s.folder}
	backup.Store, err = Open(t.Context(), Config{Path: path, Now: s.tell})
	require.NoError(t, err)
	defer backup.Close()
	require.NoError(t, backup.Check(t.Context()))
	require.NoError(t, backup.Verify(t.Context()))
	all := backup.all()
	require.GreaterOrEqual(t, len(all), 10)
	require.Equal(t, s.all()[:len(all)], all)

	require.NoError(t, os.WriteFile(filepath.Join(s.folder, "images/3.png"), []byte("no"), 0o644))
	require.ErrorContains(t, s.Verify(t.Context()), `picture "p3"`)
}
