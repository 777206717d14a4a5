package feedback

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
)

// through has a rater judge all that there is to judge, one by one, and returns the pictures' IDs.
func (s *testStore) through(rater string) (ids []string) {
	s.t.Helper()
	for {
		next := s.next(rater, 1)
		if len(next) == 0 {
			return ids
		}
		s.say("", rater, next[0], dataset.Good)
		ids = append(ids, next[0])
	}
}

// peek returns what a rater would be given, and gives nothing.
func (s *testStore) peek(rater string) (ids []string) {
	s.t.Helper()
	stop := errors.New("stop")
	err := s.write(s.t.Context(), func(w *work) error {
		id, err := w.raterID(s.t.Context(), rater)
		require.NoError(s.t, err)
		tasks, err := s.lease(s.t.Context(), w, pictureQueue, id, 1000)
		require.NoError(s.t, err)
		for _, t := range tasks {
			var name string
			require.NoError(s.t, w.row(s.t.Context(), `
				SELECT p.name FROM tasks t JOIN pictures p ON p.id = t.picture WHERE t.id = ?`, t).
				Scan(&name))
			ids = append(ids, name)
		}
		return stop
	})
	require.ErrorIs(s.t, err, stop)
	return ids
}

// overview is what Overview returns.
func (s *testStore) overview() Overview {
	s.t.Helper()
	o, err := s.Overview(s.t.Context())
	require.NoError(s.t, err)
	return o
}

// Pictures of a prompt come k at a time, in the order in which they were added.
func TestTogether(t *testing.T) {
	s := newStore(t)
	s.add(5, "a dog", "a cat") // dogs are p0, p2, …, p8, cats p1, p3, …, p9
	s.raters("anna", "ben", "cleo")
	require.Equal(t, 1, s.overview().Together)
	one := s.peek("ben")
	first, second := one[0], one[1] // p0 and p1, in the order of their prompts
	is := func(ranks string) (ids []string) {
		for _, c := range ranks { // a digit for the first prompt's, a letter for the second's
			var n int
			if c >= 'a' {
				fmt.Sscanf(second, "p%d", &n)
				n += 2 * int(c-'a')
			} else {
				fmt.Sscanf(first, "p%d", &n)
				n += 2 * int(c-'0')
			}
			ids = append(ids, fmt.Sprint("p", n))
		}
		return ids
	}
	require.Equal(t, is("0a1b2c3d4e"), one)
	require.Equal(t, is("0a1"), s.next("anna", 3))
	for _, id := range is("0a1") {
		s.say("", "anna", id, dataset.Bad)
	}

	require.NoError(t, s.SetTogether(t.Context(), 3))
	require.Equal(t, 3, s.overview().Together)
	require.NoError(t, s.Check(t.Context()))
	require.Equal(t, is("012abc34de"), s.peek("ben"))
	require.Equal(t, is("2bc34de"), s.peek("anna"), "what she has judged stays judged")
	samples := s.pictures(6, "a dog", "a cat")
	_, err := s.Add(t.Context(), dataset.FromSlice(samples), "")
	require.NoError(t, err)
	require.Equal(t, is("012abc345def"), s.peek("ben"), "new ones too")

	// Prompts whose places are the same by chance do not mix.
	require.NoError(t, s.write(t.Context(), func(w *work) error {
		return w.exec(t.Context(), `UPDATE tasks SET turn = (turn >> 32) << 32 | 7`)
	}))
	require.NoError(t, s.SetTogether(t.Context(), 2))
	if got := s.peek("ben"); got[0] == first {
		require.Equal(t, is("01ab23cd45ef"), got)
	} else {
		require.Equal(t, is("ab01cd23ef45"), got)
	}
	require.Equal(t, 12, len(s.through("ben")))
	require.Error(t, s.SetTogether(t.Context(), 0))
	require.NoError(t, s.SetTogether(t.Context(), 1))
	require.Len(t, s.through("anna"), 9)
	require.NoError(t, s.Check(t.Context()))
}

// What is put first comes first for everyone, also for who was past it, and goes back to its turn.
func TestFirst(t *testing.T) {
	s := newStore(t)
	s.add(2, "a dog", "a cat", "a wolf")
	text := dataset.Sample{ID: "text", Prompt: "a dog"}
	_, err := s.Add(t.Context(), dataset.FromSlice([]dataset.Sample{text}), "")
	require.NoError(t, err)
	s.raters("anna", "ben", "cleo")
	turns := s.peek("ben")
	is := func(digits string) (ids []string) {
		for _, d := range digits {
			ids = append(ids, turns[d-'0'])
		}
		return ids
	}
	first := func(digits string) {
		t.Helper()
		require.NoError(t, s.First(t.Context(), is(digits)))
		require.NoError(t, s.Check(t.Context()))
	}
	s.next("anna", 1)
	s.say("", "anna", turns[0], dataset.Good)
	s.next("anna", 2) // she has 1 and 2
	first("503")
	require.Equal(t, is("503124"), s.peek("ben"))
	require.Equal(t, is("12"), s.next("anna", 2), "what she has comes before all")
	require.Equal(t, is("12534"), s.peek("anna"))
	for _, unknown := range []string{"nothing", "text"} {
		err := s.First(t.Context(), []string{turns[4], unknown})
		require.ErrorIs(t, err, ErrUnknown)
		require.ErrorContains(t, err, unknown)
		require.Equal(t, is("503124"), s.peek("ben"), "nothing has changed")
	}
	// Whoever comes together does so apart from what was put first.
	require.NoError(t, s.SetTogether(t.Context(), 2))
	require.Equal(t, is("503"), s.peek("ben")[:3])
	require.NoError(t, s.SetTogether(t.Context(), 1))
	require.Equal(t, is("503124"), s.peek("ben"))

	require.Equal(t, is("503"), s.next("ben", 3))
	for _, id := range is("503") {
		s.say("", "ben", id, dataset.Bad)
	}
	require.Equal(t, is("124"), s.peek("ben"))
	first("404")
	require.Equal(t, is("412"), s.peek("ben"))
	require.Equal(t, is("401235"), s.peek("cleo"), "5 and 3 are back")
	first("")
	require.Equal(t, is("124"), s.peek("ben"))
	require.Equal(t, is("012345"), s.through("cleo"))
	require.NoError(t, s.First(t.Context(), []string{}))
	require.NoError(t, s.First(t.Context(), nil))
	require.Equal(t, is("124"), s.through("ben"))
	require.Equal(t, is("12345"), s.through("anna"))
	require.NoError(t, s.Check(t.Context()))
}

// Everybody is given the gold pictures, however many have judged them.
func TestAddGold(t *testing.T) {
	s := newStore(t)
	s.add(1, "a dog", "a cat", "a wolf")
	s.raters("anna")
	ids := s.peek("anna")
	samples := []dataset.Sample{
		{ID: ids[2], Label: dataset.Bad}, {ID: ids[0], Label: dataset.Good},
		{ID: ids[1], Label: dataset.Skip},
	}
	n, err := s.AddGold(t.Context(), dataset.FromSlice(append(samples,
		dataset.Sample{ID: "nowhere", Label: dataset.Good})))
	require.ErrorIs(t, err, ErrUnknown)
	require.Zero(t, n)
	require.Zero(t, s.overview().Gold, "all or none")
	n, err = s.AddGold(t.Context(), dataset.FromSlice(samples))
	require.NoError(t, err)
	require.Equal(t, 2, n)
	require.Equal(t, 2, s.overview().Gold)
	s.say("1", "anna", ids[2], dataset.Bad)
	require.Equal(t, 1, s.overview().Raters[0].Right)
	_, err = s.AddGold(t.Context(), dataset.FromSlice(samples[2:]))
	require.ErrorIs(t, err, dataset.ErrNoLabels)
}

func TestGold(t *testing.T) {
	s := newStore(t)
	s.add(1, "a dog", "a cat", "a wolf")
	s.raters("anna", "ben", "cleo", "dan", "emil")
	require.NoError(t, s.SetRaters(t.Context(), "", 1))
	turns := s.peek("anna")
	gold := func(picture string, label dataset.Label) {
		t.Helper()
		require.NoError(t, s.SetGold(t.Context(), picture, label))
		require.NoError(t, s.Check(t.Context()))
	}
	counts := func(want ...int) { // gold and right of each rater
		t.Helper()
		var got []int
		for _, r := range s.overview().Raters {
			got = append(got, r.Gold, r.Right)
		}
		require.Equal(t, want, got)
	}
	gold(turns[1], dataset.Good)
	require.Equal(t, 1, s.overview().Gold)
	require.Equal(t, turns, s.through("anna"), "at its turn")
	require.Equal(t, []string{turns[1]}, s.next("ben", 2))
	require.Equal(t, []string{turns[1]}, s.next("cleo", 2), "though ben has it")
	s.say("b", "ben", turns[1], dataset.Bad)
	s.say("c", "cleo", turns[1], dataset.Skip)
	counts(1, 1, 1, 0, 0, 0, 0, 0, 0, 0)
	s.say("b2", "ben", turns[1], dataset.Good)
	counts(1, 1, 1, 1, 0, 0, 0, 0, 0, 0)
	_, err := s.Undo(t.Context(), "ben", "b3")
	require.NoError(t, err)
	counts(1, 1, 0, 0, 0, 0, 0, 0, 0, 0)
	require.Equal(t, []string{turns[1]}, s.through("ben"))
	gold(turns[1], dataset.Bad)
	counts(1, 0, 1, 0, 0, 0, 0, 0, 0, 0)

	// One that becomes gold when all are past it is given to all who have not judged it.
	require.Empty(t, s.next("cleo", 1))
	gold(turns[0], dataset.Good)
	require.Empty(t, s.next("anna", 1))
	require.Equal(t, []string{turns[0]}, s.through("ben"))
	require.Equal(t, []string{turns[0]}, s.next("cleo", 2))
	require.NoError(t, s.SetRaters(t.Context(), "", 2))
	require.NoError(t, s.SetRaters(t.Context(), "", 1))
	require.Equal(t, turns[:2], s.through("dan"), "still, after the number has changed")
	require.Equal(t, 2, s.overview().Gold)
	require.Equal(t, 3, s.overview().Complete)
	counts(2, 1, 2, 1, 0, 0, 2, 1, 0, 0)

	// One that is no longer gold is full.
	gold(turns[1], dataset.Unlabelled)
	require.Equal(t, []string{turns[0]}, s.next("emil", 2))
	require.Equal(t, 1, s.overview().Gold)
	gold(turns[0], dataset.Unlabelled)
	counts(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	s.say("e", "emil", turns[0], dataset.Good)
	require.NoError(t, s.Check(t.Context()))

	require.ErrorContains(t, s.SetGold(t.Context(), "p0", dataset.Skip), "is skip")
	require.ErrorContains(t, s.SetGold(t.Context(), "p0", 9), "is Label(9)")
	require.ErrorIs(t, s.SetGold(t.Context(), "nothing", dataset.Good), ErrUnknown)
}

func TestLast(t *testing.T) {
	s := newStore(t)
	s.add(3, "a dog")
	s.raters("anna", "ben")
	last := func(rater string, n int) []Judgement {
		t.Helper()
		all, err := s.Last(t.Context(), rater, n)
		require.NoError(t, err)
		return all
	}
	require.Empty(t, last("anna", 9))
	one := s.say("1", "anna", "p0", dataset.Good)
	two := s.say("2", "anna", "p1", dataset.Skip)
	other := s.say("3", "ben", "p0", dataset.Bad)
	three, err := s.Judge(t.Context(), Judgement{
		Answer: "4", Rater: "anna", Picture: "p2", Label: dataset.Bad, Reason: "it is a cat",
		Taken: 3 * time.Second,
	})
	require.NoError(t, err)
	require.Equal(t, []Judgement{three, two, one}, last("anna", 9))
	require.Equal(t, []Judgement{three, two}, last("anna", 2))
	require.Equal(t, []Judgement{other}, last("ben", 1))
	require.Empty(t, last("anna", 0))
	require.Empty(t, last("anna", -1))
	again := s.say("5", "anna", "p0", dataset.Bad)
	require.Equal(t, []Judgement{again, three, two}, last("anna", 9), "corrected")
	s.say("6", "anna", "p2", dataset.Unlabelled)
	require.Equal(t, []Judgement{again, two}, last("anna", 9), "taken back")
	require.NoError(t, s.AddPairs(t.Context(), Pair{
		"first", "1", "a dog", "base", "tuned", []string{"p0"}, []string{"p1"},
	}))
	_, err = s.Vote(t.Context(), Vote{
		Study: "first", Pair: "1", Question: Fidelity, Rater: "anna", Choice: Tie,
	})
	require.NoError(t, err)
	require.Equal(t, []Judgement{again}, last("anna", 1), "a vote is no judgement of a picture")
	_, err = s.Last(t.Context(), "nobody", 1)
	require.ErrorIs(t, err, ErrUnknown)
}

func TestReadPicture(t *testing.T) {
	s := newStore(t)
	s.add(1, "a dog", "a cat")
	text := dataset.Sample{ID: "text", Prompt: "a dog"}
	_, err := s.Add(t.Context(), dataset.FromSlice([]dataset.Sample{text}), "")
	require.NoError(t, err)
	path := filepath.Join(s.folder, "images", "0.png")
	was, err := os.ReadFile(path)
	require.NoError(t, err)
	data, err := s.ReadPicture(t.Context(), "p0")
	require.NoError(t, err)
	require.Equal(t, was, data)
	for _, id := range []string{"nothing", "text", "", "../labels.db", "images/0.png"} {
		_, err = s.ReadPicture(t.Context(), id)
		require.ErrorIs(t, err, ErrUnknown)
	}

	changed := func(want error, text string) {
		t.Helper()
		_, err := s.ReadPicture(t.Context(), "p0")
		require.ErrorIs(t, err, want)
		require.ErrorContains(t, err, "images/0.png"+text)
		require.ErrorIs(t, s.Verify(t.Context()), want)
	}
	other := append([]byte{}, was...)
	other[len(other)-1]++
	require.NoError(t, os.WriteFile(path, other, 0o644))
	changed(ErrChanged, " has the SHA-256 ")
	for _, data := range [][]byte{append(other, 0), was[:len(was)-1], nil} {
		require.NoError(t, os.WriteFile(path, data, 0o644))
		changed(ErrChanged, fmt.Sprintf(" has %d bytes, and had %d", len(data), len(was)))
	}
	require.NoError(t, os.Remove(path))
	changed(os.ErrNotExist, "")

	// The same bytes, where a link leads out of the folder.
	outside := filepath.Join(t.TempDir(), "outside.png")
	require.NoError(t, os.WriteFile(outside, was, 0o644))
	require.NoError(t, os.Symlink(outside, path))
	_, err = s.ReadPicture(t.Context(), "p0")
	require.ErrorContains(t, err, "escapes")
	require.ErrorContains(t, s.Verify(t.Context()), "escapes")
	require.NoError(t, os.Remove(path))
	require.NoError(t, os.Symlink("../inside.png", path))
	require.NoError(t, os.WriteFile(filepath.Join(s.folder, "inside.png"), was, 0o644))
	data, err = s.ReadPicture(t.Context(), "p0")
	require.NoError(t, err)
	require.Equal(t, was, data)
	require.NoError(t, s.Verify(t.Context()))

	// A path that should not be in the database leads nowhere either.
	for _, name := range []string{"../outside.png", "images", outside} {
		require.NoError(t, s.write(t.Context(), func(w *work) error {
			return w.exec(t.Context(), `UPDATE pictures SET file = ? WHERE name = 'p0'`, name)
		}))
		_, err = s.ReadPicture(t.Context(), "p0")
		require.Error(t, err, name)
		require.NotErrorIs(t, err, os.ErrNotExist, "it was not looked for")
	}
}
