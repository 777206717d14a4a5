package feedback

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func (s *testStore) votes() (all []Vote) {
	s.t.Helper()
	for v, err := range s.Votes(s.t.Context()) {
		require.NoError(s.t, err)
		all = append(all, v)
	}
	return all
}

func TestPairs(t *testing.T) {
	s := newStore(t)
	s.add(4, "a dog", "a cat")
	s.raters("anna", "ben")
	pairs := []Pair{
		{"first", "1", "a dog", "base", "tuned", []string{"p0", "p2"}, []string{"p4", "p6"}},
		{"first", "2", "a cat", "base", "tuned", []string{"p1"}, []string{"p3"}},
	}
	require.NoError(t, s.AddPairs(t.Context(), pairs...))
	require.NoError(t, s.AddPairs(t.Context(), pairs...), "they are there")
	other := pairs[0]
	other.A = []string{"p2", "p0"}
	require.ErrorIs(t, s.AddPairs(t.Context(), other), ErrConflict)
	other.ID, other.A = "3", []string{"nothing"}
	require.ErrorIs(t, s.AddPairs(t.Context(), other), ErrUnknown)
	require.Error(t, s.AddPairs(t.Context(), Pair{}))
	require.Error(t, s.AddPairs(t.Context(), Pair{Study: "first", ID: "4", Prompt: "a dog"}))
	all, err := s.Pairs(t.Context(), "first")
	require.NoError(t, err)
	require.Equal(t, pairs, all)
	all, err = s.Pairs(t.Context(), "second")
	require.NoError(t, err)
	require.Empty(t, all)
	require.NoError(t, s.SetRaters(t.Context(), "first", 1))

	next, err := s.NextPairs(t.Context(), "anna", "first", Alignment, 2)
	require.NoError(t, err)
	require.Len(t, next, 2)
	slices.SortFunc(next, func(a, b PairAssignment) int {
		return strings.Compare(a.Pair.ID, b.Pair.ID)
	})
	for i, a := range next {
		require.Equal(t, pairs[i], a.Pair)
		require.Equal(t, Alignment, a.Question)
	}
	none, err := s.NextPairs(t.Context(), "ben", "first", Alignment, 1)
	require.NoError(t, err)
	require.Empty(t, none)
	same, err := s.NextPairs(t.Context(), "anna", "first", Fidelity, 2)
	require.NoError(t, err)
	require.Len(t, same, 2, "the other question is asked apart")
	for _, a := range same {
		i := slices.IndexFunc(next, func(b PairAssignment) bool { return b.Pair.ID == a.Pair.ID })
		require.Equal(t, next[i].Swapped, a.Swapped)
	}

	first, err := s.Vote(t.Context(), Vote{
		Answer: "v1", Study: "first", Pair: "1", Question: Alignment, Rater: "anna", Choice: B,
		Reason: "two dogs", Taken: 3 * time.Second,
	})
	require.NoError(t, err)
	again, err := s.Vote(t.Context(), first)
	require.NoError(t, err)
	require.Equal(t, first, again)
	second, err := s.Vote(t.Context(), Vote{
		Answer: "v2", Study: "first", Pair: "1", Question: Alignment, Rater: "anna", Choice: Tie,
	})
	require.NoError(t, err)
	require.Equal(t, "v1", second.Supersedes)
	third, err := s.Vote(t.Context(), Vote{
		Answer: "v3", Study: "first", Pair: "1", Question: Fidelity, Rater: "anna", Choice: BothBad,
	})
	require.NoError(t, err)
	require.Equal(t, []Vote{first, second, third}, s.votes())
	standing, err := s.StandingVotes(t.Context(), "first")
	require.NoError(t, err)
	require.Equal(t, []Vote{second, third}, standing)
	require.Empty(t, s.all(), "a vote is no judgement of a picture")
	require.NoError(t, s.Check(t.Context()))

	o, err := s.Overview(t.Context())
	require.NoError(t, err)
	require.Equal(t, []StudyCounts{
		{Study: "first", Question: Alignment, Pairs: 2, Wanted: 1, Complete: 1, Tie: 1},
		{Study: "first", Question: Fidelity, Pairs: 2, Wanted: 1, Complete: 1, BothBad: 1},
	}, o.Studies)
	require.Zero(t, o.Counts.Total())

	for _, wrong := range []Vote{
		{Study: "none", Pair: "1", Question: Alignment, Rater: "anna", Choice: A},
		{Study: "first", Pair: "9", Question: Alignment, Rater: "anna", Choice: A},
		{Study: "first", Pair: "1", Question: 3, Rater: "anna", Choice: A},
		{Study: "first", Pair: "1", Question: Alignment, Rater: "nobody", Choice: A},
	} {
		_, err := s.Vote(t.Context(), wrong)
		require.ErrorIs(t, err, ErrUnknown)
	}
	_, err = s.Vote(t.Context(), Vote{
		Study: "first", Pair: "1", Question: Alignment, Rater: "anna", Choice: 5,
	})
	require.ErrorContains(t, err, "Choice(5)")
}

// About half of the raters see B first, whatever the pair, and so it is with half of the pairs,
// whoever the rater.
func TestSwapped(t *testing.T) {
	for fixed := int64(1); fixed < 20; fixed++ {
		raters, pairs := 0, 0
		for i := int64(1); i <= 1000; i++ {
			if swapped(fixed, i) {
				raters++
			}
			if swapped(i, fixed) {
				pairs++
			}
		}
		require.InDelta(t, 500, raters, 60) // 3.8 standard deviations
		require.InDelta(t, 500, pairs, 60)
	}
}
