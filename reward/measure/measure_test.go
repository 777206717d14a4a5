package measure

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRate(t *testing.T) {
	// p = 1/2, n = 4: (0.5 + z²/8 ± z √(1/16 + z²/64)) / (1 + z²/4), z² = 3.841459:
	// (0.980182 ± 1.959964 · 0.350033) / 1.960365.
	r := NewRate(2, 4)
	require.InDelta(t, 0.5, r.Rate, 1e-12)
	require.InDelta(t, (0.980182-1.959964*0.350033)/1.960365, r.Low, 1e-5)
	require.InDelta(t, (0.980182+1.959964*0.350033)/1.960365, r.High, 1e-5)
	// 0 of n: the interval is 0 to z²/(n + z²).
	r = NewRate(0, 10)
	require.Equal(t, 0.0, r.Low)
	require.InDelta(t, 3.8414588/13.8414588, r.High, 1e-7)
	r = NewRate(10, 10)
	require.InDelta(t, 10/13.8414588, r.Low, 1e-7)
	require.Equal(t, 1.0, r.High)
	require.Equal(t, NewRate(2, 3), RateOf([]bool{true, false, true}))
	none := NewRate(0, 0)
	require.True(t, math.IsNaN(none.Rate))
	require.Equal(t, [2]float64{0, 1}, [2]float64{none.Low, none.High})
	require.Panics(t, func() { NewRate(3, 2) })
}

// Wilson's interval holds the truth about 95 times in 100.
func TestRateCovers(t *testing.T) {
	const p, n, trials = 0.3, 50, 4000
	r := rand.New(rand.NewPCG(1, 0))
	held := 0
	for range trials {
		good := 0
		for range n {
			if r.Float64() < p {
				good++
			}
		}
		if x := NewRate(good, n); x.Low <= p && p <= x.High {
			held++
		}
	}
	require.InDelta(t, 0.95, float64(held)/trials, 0.015)
}

func TestPaired(t *testing.T) {
	d, err := Paired([]float64{0, 0, 1, 1}, []float64{1, 0, 1, 1}, nil, 1)
	require.NoError(t, err)
	require.InDelta(t, 0.25, d.Mean, 1e-15)
	require.Equal(t, 4, d.N)
	// Means of 4 draws of which each is 1 with probability 1/4: P(0) = 0.316 and P(≥ 3/4) = 0.051,
	// P(1) = 0.004.
	require.Equal(t, 0.0, d.Low)
	require.Equal(t, 0.75, d.High)
	require.False(t, d.Above(0))
	again, err := Paired([]float64{0, 0, 1, 1}, []float64{1, 0, 1, 1}, nil, 1)
	require.NoError(t, err)
	require.Equal(t, d, again)

	// Every pair differs by the same: no doubt at all.
	d, err = Paired([]float64{1, 2, 3}, []float64{3, 4, 5}, nil, 1)
	require.NoError(t, err)
	require.Equal(t, Difference{2, 2, 2, 3}, d)
	require.True(t, d.Above(1.9))

	d, err = Paired([]float64{1, 2}, []float64{3, 4}, []string{"same", "same"}, 1)
	require.NoError(t, err)
	require.Equal(t, Difference{2, math.Inf(-1), math.Inf(1), 2}, d)
	for _, bad := range [][2][]float64{
		{{1}, {1, 2}}, {{}, {}}, {{math.NaN()}, {1}}, {{1}, {math.Inf(1)}},
	} {
		_, err = Paired(bad[0], bad[1], nil, 1)
		require.Error(t, err)
	}
	_, err = Paired([]float64{1}, []float64{1}, []string{"a", "b"}, 1)
	require.Error(t, err)
}

// Of independent pairs the interval is the normal one, mean ± 1.96 σ/√n. Copies of a pair within a
// cluster tell nothing new: the interval stays; without clusters it would be half as wide.
func TestPairedKnowsClusters(t *testing.T) {
	const n, copies = 400, 4
	r := rand.New(rand.NewPCG(3, 0))
	var a, b, a4, b4 []float64
	var cluster []string
	var sum, square float64
	for i := range n {
		x := r.NormFloat64()
		sum, square = sum+x, square+x*x
		a, b = append(a, 0), append(b, x)
		for range copies {
			a4, b4, cluster = append(a4, 0), append(b4, x), append(cluster, strconv.Itoa(i))
		}
	}
	half := z95 * math.Sqrt((square/n-sum*sum/n/n)/n)
	d, err := Paired(a, b, nil, 1)
	require.NoError(t, err)
	require.InDelta(t, sum/n, d.Mean, 1e-12)
	require.InDelta(t, half, (d.High-d.Low)/2, 0.03*half)
	clustered, err := Paired(a4, b4, cluster, 1)
	require.NoError(t, err)
	require.InDelta(t, half, (clustered.High-clustered.Low)/2, 0.03*half)
	naive, err := Paired(a4, b4, nil, 1)
	require.NoError(t, err)
	require.InDelta(t, half/2, (naive.High-naive.Low)/2, 0.03*half)
}

func diagonal(mean []float64, variances ...float64) Gaussian {
	n := len(variances)
	covariance := make([]float64, n*n)
	for i, v := range variances {
		covariance[i*n+i] = v
	}
	return Gaussian{mean, covariance}
}

func TestFrechetOfKnownGaussians(t *testing.T) {
	// Diagonal: Σ (μa − μb)² + (σa − σb)².
	d, err := Frechet(diagonal([]float64{0, 1}, 4, 9), diagonal([]float64{3, 5}, 1, 25))
	require.NoError(t, err)
	require.InDelta(t, 9+16+1+4, d, 1e-12)
	// Singular, one way and both ways.
	d, err = Frechet(diagonal([]float64{0, 0}, 4, 0), diagonal([]float64{0, 0}, 0, 9))
	require.NoError(t, err)
	require.InDelta(t, 4+9, d, 1e-12)
	// Commuting but not diagonal: A = Q diag(4, 1) Qᵀ, B = Q diag(9, 16) Qᵀ turned by 45°:
	// (2−3)² + (1−4)².
	turned := func(x, y float64) Gaussian {
		half, rest := (x+y)/2, (x-y)/2
		return Gaussian{[]float64{0, 0}, []float64{half, rest, rest, half}}
	}
	d, err = Frechet(turned(4, 1), turned(9, 16))
	require.NoError(t, err)
	require.InDelta(t, 1+9, d, 1e-12)
	_, err = Frechet(Gaussian{[]float64{0, 0}, []float64{1}}, turned(9, 16))
	require.ErrorContains(t, err, "of 2 dimensions has a covariance of 1 numbers")
	// Not commuting: A = diag(4, 1), B = [[5, 3], [3, 5]]. √A B √A = [[20, 6], [6, 5]] has trace 25
	// and determinant 64, so its root has trace √(25 + 2·8) = √41.
	a, b := diagonal([]float64{0, 0}, 4, 1), Gaussian{[]float64{0, 0}, []float64{5, 3, 3, 5}}
	d, err = Frechet(a, b)
	require.NoError(t, err)
	require.InDelta(t, 5+10-2*math.Sqrt(41), d, 1e-12)
	back, err := Frechet(b, a)
	require.NoError(t, err)
	require.InDelta(t, d, back, 1e-12)
	_, err = Frechet(a, diagonal([]float64{0}, 1))
	require.Error(t, err)
}

func TestFit(t *testing.T) {
	g, err := Fit([][]float64{{0, 0}, {2, 4}, {4, 2}})
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{2, 2}, g.Mean, 1e-12)
	for i, want := range []float64{4, 2, 2, 4} { // (4+0+4)/2 and (4+0+0)/2
		require.InDelta(t, want, g.Covariance[i], 1e-12)
	}
	same := [][]float64{{1, 2, 3}, {2, 2, 1}, {0, 5, 1}} // fewer samples than needed for full rank
	d, err := FrechetFeatures(same, same)
	require.NoError(t, err)
	require.InDelta(t, 0, d, 1e-10)
	for _, bad := range [][][]float64{nil, {{1}}, {{}, {}}, {{1}, {1, 2}}, {{1}, {math.NaN()}}} {
		_, err = Fit(bad)
		require.Error(t, err)
	}
}

func TestRows(t *testing.T) {
	rows, err := Rows([]float32{1, 2, 3, 4, 5, 6}, 2)
	require.NoError(t, err)
	require.Equal(t, [][]float64{{1, 2}, {3, 4}, {5, 6}}, rows)
	_, err = Rows([]float32{1, 2, 3, float32(math.NaN())}, 2)
	require.ErrorContains(t, err, "value 1 of features 1 is NaN")
	_, err = Rows([]float32{1, float32(math.Inf(-1))}, 1)
	require.ErrorContains(t, err, "value 0 of features 1 is -Inf")
	for _, width := range []int{0, -1, 4} {
		_, err = Rows(make([]float32, 6), width)
		require.Error(t, err)
	}
}

func TestDiversity(t *testing.T) {
	features := [][]float64{{1, 0}, {0, 2}, {3, 0}, {1, 1}, {7, 7}, {1, 0}}
	group := []string{"a", "a", "a", "b", "b", "alone"}
	// a: distances 1, 0, 1; b: 0.
	d, err := Diversity(features, group)
	require.NoError(t, err)
	require.InDelta(t, (2.0/3+0)/2, d, 1e-12)
	_, err = Diversity(features[5:], group[5:])
	require.ErrorContains(t, err, "no group")
	_, err = Diversity([][]float64{{0, 0}, {1, 0}}, []string{"a", "a"})
	require.ErrorContains(t, err, "zero")
	_, err = Diversity(features, group[1:])
	require.Error(t, err)
}

func TestAccuracyAndAUC(t *testing.T) {
	scores := []float64{0.9, 0.5, 0.5, 0.2, 0.1}
	good := []bool{true, true, false, true, false}
	a, err := Accuracy(scores, good, 0.5)
	require.NoError(t, err)
	require.InDelta(t, 3.0/5, a, 1e-15) // 0.5 for a bad one and 0.2 for a good one are wrong
	// Pairs good over bad: 0.9 beats both, 0.5 ties and beats, 0.2 loses and beats: 4.5 of 6.
	auc, err := AUC(scores, good)
	require.NoError(t, err)
	require.InDelta(t, 4.5/6, auc, 1e-15)
	auc, err = AUC([]float64{3, 3, 3}, []bool{true, false, false})
	require.NoError(t, err)
	require.InDelta(t, 0.5, auc, 1e-15)
	_, err = AUC(scores, []bool{true, true, true, true, true})
	require.Error(t, err)
	_, err = AUC([]float64{math.NaN(), 1}, []bool{true, false})
	require.Error(t, err)
	_, err = Accuracy(nil, nil, 0)
	require.Error(t, err)
	_, err = Accuracy(scores, good[1:], 0)
	require.Error(t, err)
}
