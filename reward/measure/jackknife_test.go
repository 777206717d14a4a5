package measure

import (
	"errors"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The jackknife of a mean is the mean's standard error, s/√n.
func TestJackknifeOfMean(t *testing.T) {
	values := []int{3, 1, 4, 1, 5, 9, 2, 6}
	var ratings [][]int
	sum, square := 0.0, 0.0
	for _, v := range values {
		ratings = append(ratings, []int{v})
		sum += float64(v)
		square += float64(v * v)
	}
	n := float64(len(values))
	mean := func(ratings [][]int) (float64, error) {
		var sum float64
		for _, r := range ratings {
			sum += float64(r[0])
		}
		return sum / float64(len(ratings)), nil
	}
	value, margin, err := Jackknife(ratings, mean)
	require.NoError(t, err)
	assert.InDelta(t, sum/n, value, 1e-12)
	variance := (square - sum*sum/n) / (n - 1)
	assert.InDelta(t, 1.959963985*math.Sqrt(variance/n), margin, 1e-8)
}

// What is computed once for things that are rated alike is what each would give.
func TestJackknifeOfKinds(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var ratings [][]int
	for range 40 {
		ratings = append(ratings, []int{r.IntN(3) - 1, r.IntN(2), r.IntN(2), r.IntN(3) - 1})
	}
	value, margin, err := Jackknife(ratings, KrippendorffAlpha)
	require.NoError(t, err)
	n := float64(len(ratings))
	var values []float64
	mean := 0.0
	for i := range ratings {
		var rest [][]int
		rest = append(append(rest, ratings[:i]...), ratings[i+1:]...)
		v, err := KrippendorffAlpha(rest)
		require.NoError(t, err)
		values = append(values, v)
		mean += v / n
	}
	sum := 0.0
	for _, v := range values {
		sum += (v - mean) * (v - mean)
	}
	alpha, err := KrippendorffAlpha(ratings)
	require.NoError(t, err)
	assert.Equal(t, alpha, value)
	assert.InDelta(t, z95*math.Sqrt((n-1)/n*sum), margin, 1e-12)
	assert.Greater(t, margin, 0.05)
}

// Of raters who guess, the interval has their agreement in all but one of twenty cases.
func TestJackknifeCovers(t *testing.T) {
	covered := 0
	const trials = 400
	for trial := range trials {
		r := rand.New(rand.NewPCG(uint64(trial), 3))
		var ratings [][]int
		for range 60 {
			truth := r.IntN(2)
			row := make([]int, 3)
			for k := range row {
				if row[k] = truth; r.Float64() < 0.2 {
					row[k] = 1 - truth
				}
			}
			ratings = append(ratings, row)
		}
		value, margin, err := Jackknife(ratings, KrippendorffAlpha)
		require.NoError(t, err)
		// Two agree with 0.8² + 0.2² = 0.68, by chance with ½: α = (0.68−0.5)/0.5.
		if math.Abs(value-0.36) <= margin {
			covered++
		}
	}
	assert.InDelta(t, 0.95, float64(covered)/trials, 0.03)
}

func TestJackknifeWithoutKnowledge(t *testing.T) {
	one := [][]int{{1, 0}}
	_, margin, err := Jackknife(one, Agreement)
	require.NoError(t, err)
	assert.True(t, math.IsInf(margin, 1))
	_, _, err = Jackknife(nil, Agreement)
	assert.Error(t, err)
	// Without the only one that is bad, all are rated the same.
	_, margin, err = Jackknife([][]int{{1, 1}, {1, 1}, {0, 0}}, KrippendorffAlpha)
	require.NoError(t, err)
	assert.True(t, math.IsInf(margin, 1))
	_, _, err = Jackknife(one, func([][]int) (float64, error) { return 0, errors.New("no") })
	assert.Error(t, err)
}
