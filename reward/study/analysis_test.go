package study

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset/feedback"
)

// Of nine votes six are two thirds, and of three two.
func TestTwoThirds(t *testing.T) {
	for _, c := range []struct {
		a, b, neither int
		want          end
	}{
		{9, 0, 0, win}, {6, 3, 0, win}, {6, 0, 3, win}, {5, 4, 0, divided}, {5, 0, 4, divided},
		{0, 9, 0, lose}, {3, 6, 0, lose}, {4, 5, 0, divided}, {1, 2, 6, alike}, {2, 2, 5, divided},
		{3, 3, 3, divided}, {2, 1, 0, win}, {1, 1, 1, divided}, {1, 1, 0, divided}, {1, 0, 0, win},
		{0, 0, 1, alike}, {0, 0, 0, none}, {5, 2, 1, divided}, {6, 2, 1, win},
	} {
		assert.Equal(t, c.want, endOf(c.a, c.b, c.neither), "%+v", c)
	}
}

// words are the votes on pairs, a word for each, with a letter for each rater: a, b, t(ie) and
// x (both bad), and - for none. Pairs are of prompts by their number.
func words(q feedback.Question, all ...string) (pairs []feedback.Pair, votes []feedback.Vote) {
	for i, word := range all {
		p := feedback.Pair{
			Study: "s", ID: fmt.Sprintf("%026d", i), Prompt: fmt.Sprint("prompt ", i),
			ModelA: "tuned", ModelB: "base", A: []string{"1", "2"}, B: []string{"3", "4"},
		}
		pairs = append(pairs, p)
		for r, letter := range word {
			if choice := strings.IndexRune("-abtx", letter); choice > 0 {
				votes = append(votes, feedback.Vote{
					Study: "s", Pair: p.ID, Question: q, Rater: fmt.Sprint("r", r),
					Choice: feedback.Choice(choice),
				})
			}
		}
	}
	return pairs, votes
}

// Eleven pairs are complete: six won, two lost, and of three ties one is called so by two raters.
func TestAnalysis(t *testing.T) {
	lines := []string{
		"aaa", "aab", "axa", "aaa", "taa", "aaa", // won
		"bbb", "abb", // lost
		"ttx",        // alike
		"abt", "bax", // divided
		"aa-", // not complete
	}
	pairs, votes := words(feedback.Alignment, lines...)
	pairs[1].Prompt = pairs[0].Prompt
	a := Analysis{
		Study: "s", Seed: 1,
		Category: func(p string) string { return map[string]string{"prompt 0": "count"}[p] },
		Unseen:   func(p string) bool { return p == "prompt 6" || p == "prompt 11" },
	}
	r, err := a.of(pairs, votes, nil, 3)
	require.NoError(t, err)
	assert.Equal(t, []any{"tuned", "base", 12, 11, 2, 3, 3},
		[]any{r.ModelA, r.ModelB, r.Pairs, r.Prompts, r.Set, r.Wanted, r.Raters})
	o := r.Questions[0]
	assert.Equal(t, Votes{A: 20, B: 8, Tie: 4, BothBad: 3}, o.Votes)
	assert.Equal(t, 28, o.Sided)
	all := o.Groups[0]
	assert.Equal(t, []any{"all", 11, 10, 3}, []any{all.Name, all.Pairs, all.Prompts, all.Raters})
	for i, s := range []struct {
		share Share
		want  float64
	}{
		{all.Win, 6.0 / 11}, {all.Lose, 2.0 / 11}, {all.Tie, 3.0 / 11}, {all.Alike, 1.0 / 11},
		{all.Difference, 4.0 / 11},
	} {
		assert.InDelta(t, s.want, s.share.Value, 1e-12, i)
		assert.Less(t, s.share.Low, s.want, i)
		assert.Greater(t, s.share.High, s.want, i)
	}
	assert.Zero(t, all.Better(), "eleven pairs leave it open")
	var names []string
	pairsOf := map[string]int{}
	for _, g := range o.Groups {
		names, pairsOf[g.Name] = append(names, g.Name), g.Pairs
	}
	assert.Equal(t, []string{"all", "count", "seen", "unseen"}, names)
	assert.Equal(t, map[string]int{"all": 11, "count": 2, "seen": 10, "unseen": 1}, pairsOf)
	assert.Equal(t, 1.0, o.group("count").Win.Value)
	assert.Equal(t, 1.0, o.group("unseen").Lose.Value)
	assert.Nil(t, o.group("colour"))

	// 33 pairs of votes agree among the 11 × 3 + 1 of three votes and two: by hand, 3 in each of
	// the 4 unanimous pairs, 1 in each of the 5 of two and one, and the one of two votes.
	assert.InDelta(t, (4*3+5*1+1)/34.0, o.Agreement[0].Value, 1e-12)
	assert.Equal(t, 12, o.Agreement[0].Pairs)
	assert.Equal(t, 11, o.Agreement[1].Pairs, "Fleiss' kappa needs as many votes of all")

	// Nothing was said of the other question.
	f := r.Questions[1]
	assert.Zero(t, f.Votes.Total())
	assert.True(t, math.IsNaN(f.Groups[0].Win.Value) && math.IsNaN(f.Groups[0].Difference.Low))
	assert.NotEmpty(t, f.Agreement[2].Why)
	text, err := json.Marshal(r)
	require.NoError(t, err)
	assert.Contains(t, string(text), `"win":{"high":null,"low":null,"value":null}`)
	assert.Contains(t, r.Verdict(), "By fidelity, no pair has the 3 votes that are wanted yet.")

	pairs[0].ModelB = "another"
	_, err = a.of(pairs, votes, nil, 3)
	assert.ErrorContains(t, err, "another")
}

// Where all pairs end alike nothing varies, and the intervals are Wilson's: of 12 of 12 from
// 12/(12+z²) = 0.7575 on, of none to z²/(12+z²) = 0.2425, of the difference from 1 − 0.2425·√2.
func TestAllWon(t *testing.T) {
	lines := make([]string, 12)
	for i := range lines {
		lines[i] = "aaa"
	}
	pairs, votes := words(feedback.Fidelity, lines...)
	r, err := Analysis{Study: "s"}.of(pairs, votes, nil, 3)
	require.NoError(t, err)
	g := r.Questions[1].Groups[0]
	assert.InDelta(t, 0.7575, g.Win.Low, 1e-4)
	assert.Equal(t, 1.0, g.Win.High)
	assert.InDelta(t, 0.2425, g.Lose.High, 1e-4)
	assert.InDelta(t, 1-0.2425*math.Sqrt2, g.Difference.Low, 1e-4)
	assert.Equal(t, 1.0, g.Difference.High)
	assert.Equal(t, 1, g.Better())
	assert.Contains(t, r.Verdict(), "By fidelity, tuned is better: of 12 pairs tuned wins 100 % "+
		"and loses 0 %, a difference of +100 % (+66 to +100).")

	// So few prompts, or one rater, prove nothing, though all were won.
	pairs, votes = words(feedback.Fidelity, lines[:9]...)
	r, err = Analysis{Study: "s"}.of(pairs, votes, nil, 3)
	require.NoError(t, err)
	assert.Zero(t, r.Questions[1].Groups[0].Better())
	assert.Contains(t, r.Verdict(), "It takes 10 prompts and 2 raters at least to say more.")
	for i := range lines {
		lines[i] = "b"
	}
	pairs, votes = words(feedback.Fidelity, lines...)
	r, err = Analysis{Study: "s"}.of(pairs, votes, nil, 1)
	require.NoError(t, err)
	assert.Zero(t, r.Questions[1].Groups[0].Better())
}

// A rater who always says left is seen to, and one who was erased does not count.
func TestLeft(t *testing.T) {
	var pairs []feedback.Pair
	var votes []feedback.Vote
	for i := range 20 {
		p := feedback.Pair{
			ID: fmt.Sprintf("%026d", i), Prompt: "p", A: []string{"1"}, B: []string{"2"},
		}
		pairs = append(pairs, p)
		s, err := newShape(p)
		require.NoError(t, err)
		for _, rater := range []string{"anna", "ben", "erased-3"} {
			word := map[string]string{"anna": "left", "ben": "tie", "erased-3": "right"}[rater]
			choice, err := s.choice(word, rater)
			require.NoError(t, err)
			votes = append(votes, feedback.Vote{
				Pair: p.ID, Question: feedback.Alignment, Rater: rater, Choice: choice,
			})
		}
	}
	r, err := Analysis{}.of(pairs, votes, map[string]bool{"erased-3": true}, 3)
	require.NoError(t, err)
	o := r.Questions[0]
	assert.Equal(t, 20, o.Sided)
	assert.Equal(t, 1.0, o.Left.Value)
	assert.Greater(t, o.Left.Low, 0.8)
	assert.NotZero(t, o.Votes.A*o.Votes.B, "sides are shuffled")
}

// If the margin is twice the difference, it takes four times as many pairs.
func TestPairsToSettle(t *testing.T) {
	g := Group{Pairs: 100, Prompts: 100, Raters: 9, Difference: Share{0.1, -0.1, 0.25}}
	for _, d := range []Share{{0.1, -0.1, 0.25}, {-0.1, -0.25, 0.1}} {
		g.Difference = d
		n, ok := g.PairsToSettle()
		assert.True(t, ok)
		assert.Equal(t, 400, n)
	}
	r := &Result{ModelA: "tuned", ModelB: "base", Wanted: 9}
	assert.Equal(t, "If the difference stays what it is, about 300 more pairs with 9 votes each, "+
		"of prompts like these, would settle it.", r.settle(g))
	for _, g := range []Group{
		{Pairs: 100, Prompts: 100, Raters: 9, Difference: Share{0, -0.1, 0.1}},
		{Pairs: 100, Prompts: 100, Raters: 1, Difference: Share{0.1, -0.1, 0.3}},
		{Pairs: 100, Prompts: 100, Raters: 9, Difference: Share{1e-9, -0.1, 0.1}},
	} {
		_, ok := g.PairsToSettle()
		assert.False(t, ok, "%+v", g)
	}
}

// A crowd is people and prompts. A rater's liking of a pair is normally distributed: a mean, what
// the prompt adds, what the rater adds, and chance. Who likes it by less than 0.3 calls a tie.
type crowd struct{ mean, prompt, rater, chance float64 }

func (c crowd) vote(prompts, raters int, r *rand.Rand) *table {
	t := &table{raters: raters}
	byRater := make([]float64, raters)
	for i := range byRater {
		byRater[i] = c.rater * r.NormFloat64()
	}
	for i := range prompts {
		t.pairs = append(t.pairs, feedback.Pair{Prompt: fmt.Sprint(i)})
		byPrompt := c.mean + c.prompt*r.NormFloat64()
		var votes []ballot
		for k := range raters {
			liked := byPrompt + byRater[k] + c.chance*r.NormFloat64()
			choice := feedback.Tie
			switch {
			case liked > 0.3:
				choice = feedback.A
			case liked < -0.3:
				choice = feedback.B
			}
			votes = append(votes, ballot{k, choice})
		}
		t.votes = append(t.votes, votes)
	}
	return t
}

// Of crowds of all kinds, the intervals hold what raters and prompts without end would give: wins,
// losses and their difference. Of models that are alike, one is said to be better in seven of 100
// studies at most. In 1,000 studies of each crowd they held it in 974 or more, and where raters
// differ most, in 935: the bounds are three standard deviations of 100 below that.
func TestIntervalsCover(t *testing.T) {
	const studies, prompts, raters = 100, 30, 9
	for _, c := range []struct {
		crowd
		least int
	}{
		{crowd{0, 0, 0, 1}, 93}, {crowd{0, 1, 0.5, 1}, 93}, {crowd{0.5, 1, 0.5, 1}, 93},
		{crowd{0.5, 0.5, 1, 1}, 86}, {crowd{1, 1, 0.3, 1}, 93},
	} {
		r := rand.New(rand.NewPCG(5, 0))
		var true3 [3]float64
		const many = 1000
		for range many {
			table := c.vote(100, raters, r)
			var t tally
			for i := range table.pairs {
				t[table.end(i, nil)]++
			}
			s := t.statistics()
			for i, v := range []float64{s[0], s[1], s[4]} {
				true3[i] += v / many
			}
		}
		var held [3]int
		claimed := 0
		for range studies {
			g := c.vote(prompts, raters, r).groups(Analysis{Seed: 1}, raters)[0]
			for i, s := range []Share{g.Win, g.Lose, g.Difference} {
				if s.Low <= true3[i] && true3[i] <= s.High {
					held[i]++
				}
			}
			if g.Better() != 0 {
				claimed++
			}
		}
		t.Logf("%+v: win, lose, difference %.3f, held in %v, one is better in %d", c, true3, held,
			claimed)
		for i, n := range held {
			assert.GreaterOrEqual(t, n, c.least, "%+v: %d", c, i)
		}
		if c.mean == 0 {
			assert.LessOrEqual(t, claimed, 7, "%+v", c)
		}
	}
}
