package study

import (
	"maps"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A table is the votes on one question.
type table struct {
	pairs  []feedback.Pair
	raters int
	votes  [][]ballot // by pair
	total  Votes
	left   Share
	sided  int
}

// A ballot is one rater's vote on a pair.
type ballot struct {
	rater  int
	choice feedback.Choice
}

func newTable(
	pairs []feedback.Pair, votes []feedback.Vote, erased map[string]bool, q feedback.Question,
) *table {
	t := &table{pairs: pairs, votes: make([][]ballot, len(pairs))}
	index, raters := make(map[string]int), make(map[string]int)
	for i, p := range pairs {
		index[p.ID] = i
	}
	left := 0
	for _, v := range votes {
		i, known := index[v.Pair]
		if v.Question != q || !known {
			continue
		}
		rater, known := raters[v.Rater]
		if !known {
			rater = len(raters)
			raters[v.Rater] = rater
		}
		t.votes[i] = append(t.votes[i], ballot{rater, v.Choice})
		t.total.add(v.Choice)
		if v.Choice <= feedback.B && !erased[v.Rater] {
			t.sided++
			if (v.Choice == feedback.B) == swapped(v.Pair, v.Rater) {
				left++
			}
		}
	}
	rate := measure.NewRate(left, t.sided)
	t.raters, t.left = len(raters), Share{rate.Rate, rate.Low, rate.High}
	return t
}

// An end is how a pair ends.
type end int

// The ends. A pair that no vote counts of has none.
const (
	none end = iota
	win
	lose
	alike
	divided
	ends
)

// endOf is the two-thirds rule.
func endOf(a, b, neither int) end {
	switch n := a + b + neither; {
	case n == 0:
		return none
	case 3*a >= 2*n:
		return win
	case 3*b >= 2*n:
		return lose
	case 3*neither >= 2*n:
		return alike
	}
	return divided
}

// end is how pair i ends, if each vote counts as often as its rater. nil is once.
func (t *table) end(i int, times []int) end {
	var a, b, neither int
	for _, v := range t.votes[i] {
		n := 1
		if times != nil {
			n = times[v.rater]
		}
		switch v.choice {
		case feedback.A:
			a += n
		case feedback.B:
			b += n
		default:
			neither += n
		}
	}
	return endOf(a, b, neither)
}

// A tally is how many pairs of a group end how.
type tally [ends]float64

// statistics are the shares of a group, in this order: win, lose, tie, alike, win − lose.
func (t tally) statistics() [5]float64 {
	n := t[win] + t[lose] + t[alike] + t[divided]
	return [5]float64{
		t[win] / n, t[lose] / n, (t[alike] + t[divided]) / n, t[alike] / n, (t[win] - t[lose]) / n,
	}
}

// groups are the shares of pairs with as many votes as are wanted.
func (t *table) groups(a Analysis, wanted int) []Group {
	names, members := t.members(a)
	var complete, promptOf []int // pairs, and the prompt of each
	prompts := make(map[string]int)
	voted := make(map[int]bool) // raters
	within := make([]struct{ prompts, raters map[int]bool }, len(names))
	for g := range within {
		within[g].prompts, within[g].raters = map[int]bool{}, map[int]bool{}
	}
	groups, tallies := make([]Group, len(names)), make([]tally, len(names))
	for i, p := range t.pairs {
		if len(t.votes[i]) < max(wanted, 1) {
			continue
		}
		prompt, known := prompts[p.Prompt]
		if !known {
			prompt = len(prompts)
			prompts[p.Prompt] = prompt
		}
		complete, promptOf = append(complete, i), append(promptOf, prompt)
		for _, v := range t.votes[i] {
			voted[v.rater] = true
		}
		for _, g := range members[i] {
			tallies[g][t.end(i, nil)]++
			groups[g].Pairs++
			within[g].prompts[prompt] = true
			for _, v := range t.votes[i] {
				within[g].raters[v.rater] = true
			}
		}
	}
	raters := slices.Sorted(maps.Keys(voted))
	times := make([]int, t.raters)
	statistics := func(row, column []int) []float64 {
		drawn := make([]tally, len(names))
		for i, rater := range raters {
			times[rater] = column[i]
		}
		for k, i := range complete {
			n := row[promptOf[k]]
			if n == 0 {
				continue
			}
			e := t.end(i, times)
			for _, g := range members[i] {
				drawn[g][e] += float64(n)
			}
		}
		values := make([]float64, 0, 5*len(names))
		for _, d := range drawn {
			s := d.statistics()
			values = append(values, s[:]...)
		}
		return values
	}
	margins := measure.Pigeonhole(len(prompts), len(raters), a.Seed, statistics)
	for g := range groups {
		groups[g].Name = names[g]
		groups[g].Prompts, groups[g].Raters = len(within[g].prompts), len(within[g].raters)
		groups[g].fill(tallies[g], margins[5*g:5*g+5])
	}
	return groups
}

// members are the names of the groups, and for each pair the groups that it is in.
func (t *table) members(a Analysis) (names []string, of [][]int) {
	names, of = []string{AllPairs}, make([][]int, len(t.pairs))
	add := func(i int, name string) {
		g := slices.Index(names, name)
		if g < 0 {
			g = len(names)
			names = append(names, name)
		}
		of[i] = append(of[i], g)
	}
	for i := range t.pairs {
		of[i] = append(of[i], 0)
	}
	if a.Category != nil {
		for i, p := range t.pairs {
			if name := a.Category(p.Prompt); name != "" {
				add(i, name)
			}
		}
	}
	if a.Unseen != nil {
		for i, p := range t.pairs {
			add(i, map[bool]string{false: "seen", true: "unseen"}[a.Unseen(p.Prompt)])
		}
	}
	return names, of
}

// fill sets the shares of a group, with their intervals.
func (g *Group) fill(t tally, margins []float64) {
	value := t.statistics()
	n := g.Pairs
	rates := [4]measure.Rate{
		measure.NewRate(int(t[win]), n), measure.NewRate(int(t[lose]), n),
		measure.NewRate(int(t[alike]+t[divided]), n), measure.NewRate(int(t[alike]), n),
	}
	for i, s := range []*Share{&g.Win, &g.Lose, &g.Tie, &g.Alike} {
		*s = Share{
			value[i], min(rates[i].Low, max(0, value[i]-margins[i])),
			max(rates[i].High, min(1, value[i]+margins[i])),
		}
	}
	// Newcombe 1998, method 10: of the two rates' own ends.
	w, l := rates[0], rates[1]
	below, above := math.Hypot(w.Rate-w.Low, l.High-l.Rate), math.Hypot(w.High-w.Rate, l.Rate-l.Low)
	g.Difference = Share{
		value[4], max(-1, value[4]-max(margins[4], below)), min(1, value[4]+max(margins[4], above)),
	}
	if n == 0 {
		none := Share{math.NaN(), math.NaN(), math.NaN()}
		g.Win, g.Lose, g.Tie, g.Alike, g.Difference = none, none, none, none, none
	}
}

// agreement is how far raters agree. The intervals are those of a jackknife over pairs.
func (t *table) agreement() (all []Agreement) {
	var ratings [][]int
	most := 0
	for _, votes := range t.votes {
		if len(votes) < 2 {
			continue
		}
		row := slices.Repeat([]int{-1}, t.raters)
		for _, v := range votes {
			row[v.rater] = int(v.choice)
		}
		ratings = append(ratings, row)
		most = max(most, len(votes))
	}
	var alike [][]int // Fleiss' kappa is defined for as many ratings of everything
	for _, row := range ratings {
		if n := len(row) - count(row, -1); n == most {
			alike = append(alike, row)
		}
	}
	for _, m := range []struct {
		name string
		of   func([][]int) (float64, error)
		on   [][]int
	}{
		{"percent agreement", measure.Agreement, ratings},
		{"Fleiss' kappa", measure.FleissKappa, alike},
		{"Krippendorff's alpha", measure.KrippendorffAlpha, ratings},
	} {
		value, margin, err := measure.Jackknife(m.on, m.of)
		a := Agreement{Name: m.name, Pairs: len(m.on)}
		a.Share = Share{value, value - margin, min(1, value+margin)}
		if err != nil {
			a.Share, a.Why = Share{math.NaN(), math.NaN(), math.NaN()}, err.Error()
		}
		all = append(all, a)
	}
	return all
}

func count(row []int, x int) (n int) {
	for _, v := range row {
		if v == x {
			n++
		}
	}
	return n
}
