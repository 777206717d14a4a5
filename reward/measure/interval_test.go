package measure

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// Of pictures that are made anew, 95 of 100 intervals hold what the distance is on average; copies
// within a cluster tell nothing new.
func TestFrechetIntervalCovers(t *testing.T) {
	const n, trials = 120, 200
	r := rand.New(rand.NewPCG(5, 0))
	normal := func(mean, sigma float64) (out [][]float64) {
		for range n {
			out = append(out, []float64{mean + sigma*r.NormFloat64(), r.NormFloat64()})
		}
		return out
	}
	var all []Distance
	var mean float64
	for range trials {
		d, err := FrechetInterval(normal(0, 1), normal(1, 2), nil, nil, 1)
		require.NoError(t, err)
		require.Equal(t, n, d.N)
		all, mean = append(all, d), mean+d.Distance/trials
	}
	require.InDelta(t, 2, mean, 0.1) // 1² + (1−2)²
	held := 0
	for _, d := range all {
		if d.Low <= mean && mean <= d.High {
			held++
		}
	}
	require.InDelta(t, 0.95, float64(held)/trials, 0.05) // the binomial's three standard deviations

	var a, b [][]float64
	var cluster []string
	for i, f := range normal(0, 1) {
		g := []float64{f[0] + 1 + r.NormFloat64(), f[1]}
		for range 4 {
			a, b, cluster = append(a, f), append(b, g), append(cluster, strconv.Itoa(i))
		}
	}
	naive, err := FrechetInterval(a, b, nil, nil, 1)
	require.NoError(t, err)
	clustered, err := FrechetInterval(a, b, cluster, cluster, 1)
	require.NoError(t, err)
	require.Equal(t, naive.Distance, clustered.Distance)
	require.InDelta(t, 2, (clustered.High-clustered.Low)/(naive.High-naive.Low), 0.6)
	again, err := FrechetInterval(a, b, cluster, cluster, 1)
	require.NoError(t, err)
	require.Equal(t, clustered, again)
}

func TestFrechetIntervalOfFew(t *testing.T) {
	a := [][]float64{{0}, {1}, {2}, {4}}
	d, err := FrechetInterval(a, a[:3], []string{"p", "p", "p", "p"}, []string{"p", "p", "p"}, 1)
	require.NoError(t, err)
	require.Zero(t, d.Low)
	require.True(t, math.IsInf(d.High, 1))
	_, err = FrechetInterval(a, a, []string{"p"}, nil, 1)
	require.ErrorContains(t, err, "in clusters of 1 and 0")
	_, err = FrechetInterval(a[:2], a[:2], nil, nil, 1)
	require.ErrorContains(t, err, "left out")
	same, err := FrechetInterval(a, a, nil, nil, 1)
	require.NoError(t, err)
	require.InDelta(t, 0, same.High, 1e-12)
}
