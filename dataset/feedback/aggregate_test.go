package feedback

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// tableOf is a table of rows as a person would write it: a row a picture, a letter a rater, G for
// good, B for bad, S for skip, and a dot for none.
func tableOf(rows ...string) (t Table) {
	for range rows[0] {
		t.Raters = append(t.Raters, fmt.Sprint("rater ", len(t.Raters)))
	}
	for i, row := range rows {
		t.Pictures = append(t.Pictures, fmt.Sprint("p", i))
		for r, letter := range row {
			if label := strings.IndexRune(".GBS", letter); label > 0 {
				t.Opinions = append(t.Opinions, Opinion{i, r, dataset.Label(label)})
			}
		}
	}
	return t
}

func TestMajorityAndMean(t *testing.T) {
	table := tableOf("GGB", "GB.", "BSS", "SS.", "...")
	majority, err := Majority{}.Aggregate(t.Context(), table)
	require.NoError(t, err)
	require.Equal(t, []Verdict{
		{Label: dataset.Good, Good: 2. / 3}, {Label: dataset.Skip, Good: 0.5},
		{Label: dataset.Bad}, {}, {},
	}, majority)
	mean, err := Mean{}.Aggregate(t.Context(), table)
	require.NoError(t, err)
	for i, m := range mean {
		require.Equal(t, majority[i].Good, *m.Reward)
		require.Equal(t, majority[i].Label, m.Label)
	}
	require.Equal(t, [][]int{{1, 1, 0}, {1, 0, -1}, {0, -1, -1}, {-1, -1, -1}, {-1, -1, -1}},
		table.Ratings())
}

// By hand. At first q = (2/3, 0). So p = 1/3; raters 0 and 1 have s = 1, t = 1/(4/3) = 3/4; rater 2
// has s = 0, t = 1. Picture 0 is good by 1/3·1·1·1 = 1/3 and bad by 2/3·1/4·1/4·1 = 1/24: q = 8/9.
// Picture 1 is good by 0 and bad by 2/3·3/4·3/4·1 = 3/8.
func TestDawidSkeneByHand(t *testing.T) {
	fit, err := DawidSkene{Rounds: 1}.Fit(t.Context(), tableOf("GGB", "BBB", "..."))
	require.NoError(t, err)
	require.InDelta(t, 1./3, fit.Share, 1e-15)
	require.InDelta(t, 8./9, fit.Good[0], 1e-15)
	require.InDelta(t, 0, fit.Good[1], 1e-15)
	require.True(t, math.IsNaN(fit.Good[2]))
	require.Len(t, fit.Objective, 1)
	require.InDelta(t, 2*math.Log(3./8), fit.Objective[0], 1e-14)
	for r, want := range []Reliability{{1, 0.75, 2}, {1, 0.75, 2}, {0, 1, 2}} {
		require.InDelta(t, want.OfGood, fit.Raters[r].OfGood, 1e-15)
		require.InDelta(t, want.OfBad, fit.Raters[r].OfBad, 1e-15)
		require.Equal(t, want.N, fit.Raters[r].N)
	}

	// With α = 1 and one judgement: p = s = 2/3, t = 1/2, and q = (4/9)/(4/9 + 1/6) = 8/11. The
	// objective is log(11/18) + log(2/9) for p and for s, and log(1/4) for t.
	fit, err = DawidSkene{Smoothing: 1, Rounds: 1}.Fit(t.Context(), tableOf("G"))
	require.NoError(t, err)
	require.InDelta(t, 8./11, fit.Good[0], 1e-15)
	want := math.Log(11./18) + 2*math.Log(2./9) + math.Log(1./4)
	require.InDelta(t, want, fit.Objective[0], 1e-14)

	for _, wrong := range []float64{-1, math.NaN(), math.Inf(1)} {
		_, err := DawidSkene{Smoothing: wrong}.Aggregate(t.Context(), tableOf("G"))
		require.ErrorContains(t, err, "smoothing")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = DawidSkene{}.Aggregate(ctx, tableOf("G"))
	require.ErrorIs(t, err, context.Canceled)
}

// simulated is a table of pictures of which raters judge some, and what the pictures are. Each
// rater says good of a good picture, and of a bad one, with the probabilities given.
func simulated(seed uint64, pictures, each int, raters [][2]float64) (t Table, truth []bool) {
	r := rand.New(rand.NewPCG(seed, 0))
	for i := range raters {
		t.Raters = append(t.Raters, fmt.Sprint("rater ", i))
	}
	for i := range pictures {
		t.Pictures = append(t.Pictures, fmt.Sprint("p", i))
		truth = append(truth, r.Float64() < 0.4)
		who := r.Perm(len(raters))[:each]
		slices.Sort(who)
		for _, k := range who {
			says := raters[k][1]
			if truth[i] {
				says = raters[k][0]
			}
			o := Opinion{i, k, dataset.Bad}
			if r.Float64() < says {
				o.Label = dataset.Good
			}
			t.Opinions = append(t.Opinions, o)
		}
	}
	return t, truth
}

// right is the share of pictures whose label is the true one.
func right(t *testing.T, by Aggregator, table Table, truth []bool) float64 {
	verdicts, err := by.Aggregate(t.Context(), table)
	require.NoError(t, err)
	n := 0
	for i, v := range verdicts {
		if v.Label == dataset.Good && truth[i] || v.Label == dataset.Bad && !truth[i] {
			n++
		}
	}
	return float64(n) / float64(len(truth))
}

// Raters who err in 5, 15 and 30 of 100, one who guesses, and one who says good of everything.
var crowd = [][2]float64{{0.95, 0.05}, {0.85, 0.15}, {0.7, 0.3}, {0.5, 0.5}, {1, 1}}

func TestDawidSkeneBeatsMajority(t *testing.T) {
	for _, each := range []int{5, 3} {
		for seed := range uint64(10) {
			table, truth := simulated(seed, 400, each, crowd)
			majority := right(t, Majority{}, table, truth)
			for _, smoothing := range []float64{0, 1} {
				d := DawidSkene{Smoothing: smoothing}
				found := right(t, d, table, truth)
				fit, err := d.Fit(t.Context(), table)
				require.NoError(t, err)
				t.Logf("%d raters a picture, seed %d, smoothing %v: majority %.3f, Dawid-Skene "+
					"%.3f in %d rounds", each, seed, smoothing, majority, found, len(fit.Objective))
				require.Greater(t, found, majority+0.05)
				if each == 5 {
					for k, r := range crowd {
						require.InDelta(t, r[0], fit.Raters[k].OfGood, 0.12, "rater %d", k)
						require.InDelta(t, 1-r[1], fit.Raters[k].OfBad, 0.12, "rater %d", k)
					}
				}
			}
		}
	}
}

func TestDawidSkeneNeverFalls(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		raters := rapid.IntRange(1, 6).Draw(r, "raters")
		row := rapid.StringOfN(rapid.SampledFrom([]rune("GGBBS.")), raters, raters, -1)
		table := tableOf(rapid.SliceOfN(row, 1, 12).Draw(r, "rows")...)
		d := DawidSkene{Smoothing: rapid.SampledFrom([]float64{0, 0.1, 1, 5}).Draw(r, "smoothing")}
		fit, err := d.Fit(t.Context(), table)
		require.NoError(r, err)
		for i := 1; i < len(fit.Objective); i++ {
			require.GreaterOrEqual(r, fit.Objective[i], fit.Objective[i-1]-1e-12)
		}
		for i, q := range fit.Good {
			none := !slices.ContainsFunc(table.Opinions, func(o Opinion) bool {
				return o.Picture == i && o.Label != dataset.Skip
			})
			require.Equal(r, none, math.IsNaN(q))
			require.True(r, none || q >= 0 && q <= 1)
		}
	})
}

// Aggregations in a store, one of a user's own among them.
func TestLabels(t *testing.T) {
	s := newStore(t)
	samples := s.add(2, "a dog", "a cat")
	s.raters("anna", "ben", "cleo", "dan")
	for picture, says := range []string{"GGBS", "SS..", "...."} {
		for i, letter := range says {
			if label := strings.IndexRune(".GBS", letter); label > 0 {
				rater := []string{"anna", "ben", "cleo", "dan"}[i]
				s.say("", rater, samples[picture].ID, dataset.Label(label))
			}
		}
	}
	table, err := s.Table(t.Context())
	require.NoError(t, err)
	want := tableOf("GGBS", "SS..", "....", "....")
	want.Raters = []string{"anna", "ben", "cleo", "dan"}
	require.Equal(t, want, table)

	got := s.collect(s.Labels(Mean{}))
	require.Equal(t, dataset.Good, got[0].Label)
	require.Equal(t, 3, got[0].Judgements)
	require.InDelta(t, 2./3, *got[0].Reward, 1e-15)
	require.Equal(t, dataset.Skip, got[1].Label)
	require.Nil(t, got[1].Reward)
	require.Equal(t, samples[2:], got[2:])

	skilled := s.collect(s.Labels(DawidSkene{Smoothing: 1}))
	require.Equal(t, dataset.Good, skilled[0].Label)
	require.Greater(t, skilled[0].Good, 0.5)

	strict := AggregatorFunc(func(_ context.Context, t Table) ([]Verdict, error) {
		return slices.Repeat([]Verdict{{Label: dataset.Bad}}, len(t.Pictures)), nil
	})
	require.Equal(t, dataset.Bad, s.collect(s.Labels(strict))[0].Label)
	broken := errors.New("broken")
	for name, by := range map[string]AggregatorFunc{
		"broken":          func(context.Context, Table) ([]Verdict, error) { return nil, broken },
		"0 verdicts on 4": func(context.Context, Table) ([]Verdict, error) { return nil, nil },
		"\"p0\" is good by NaN": func(_ context.Context, t Table) ([]Verdict, error) {
			return slices.Repeat([]Verdict{{Good: math.NaN()}}, len(t.Pictures)), nil
		},
	} {
		_, err := dataset.Collect(t.Context(), s.Labels(by))
		require.ErrorContains(t, err, name)
	}
}
