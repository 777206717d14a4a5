package measure

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMean(t *testing.T) {
	e, err := Mean([]float64{1, 0, 0.5, 0.5}, []string{"a", "a", "b", "c"}, 1)
	require.NoError(t, err)
	d, err := Paired([]float64{0, 0, 0, 0}, []float64{1, 0, 0.5, 0.5},
		[]string{"a", "a", "b", "c"}, 1)
	require.NoError(t, err)
	require.Equal(t, Estimate{d.Mean, d.Low, d.High, 4}, e)
	require.Equal(t, 0.5, e.Value)
	require.False(t, e.Excludes(0.5))
	require.True(t, Estimate{1, 0.5, 2, 1}.Excludes(0.4))
	require.True(t, Estimate{1, 0.5, 2, 1}.Excludes(2.1))

	none, err := Mean(nil, nil, 1)
	require.NoError(t, err)
	require.True(t, math.IsNaN(none.Value))
	require.False(t, none.Excludes(0))
	text, err := json.Marshal([]Estimate{e, none})
	require.NoError(t, err)
	require.JSONEq(t, `[{"value":0.5,"low":0.5,"high":0.5,"n":4},
		{"value":null,"low":null,"high":null,"n":0}]`, string(text))
	var back []Estimate
	require.NoError(t, json.Unmarshal(text, &back))
	require.Equal(t, e, back[0])
	_, err = Mean([]float64{1}, []string{"a", "b"}, 1)
	require.Error(t, err)
	_, err = Mean([]float64{math.NaN()}, nil, 1)
	require.Error(t, err)
}

// By hand: the mean is 12/4, the clusters' sums are 2 and 1 too small and 3 too large, and with two
// degrees of freedom the interval is 4.3027·√(3/2 · 14)/4 on either side.
func TestFewClusters(t *testing.T) {
	e, err := FewClusters([]float64{1, 3, 2, 6}, []string{"a", "a", "b", "c"})
	require.NoError(t, err)
	half := 4.3027 * math.Sqrt(21) / 4
	require.Equal(t, 3.0, e.Value)
	require.Equal(t, 4, e.N)
	require.InDelta(t, 3-half, e.Low, 1e-12)
	require.InDelta(t, 3+half, e.High, 1e-12)
	for free, want := range map[int]float64{
		1: 12.7062, 4: 2.7764, 10: 2.2281, 11: 2.2010, 20: 2.0860, 30: 2.0423, 120: 1.9799,
	} {
		require.InDelta(t, want, t95(free), 0.0005, "%d", free)
	}
	one, err := FewClusters([]float64{1, 2}, []string{"a", "a"})
	require.NoError(t, err)
	require.True(t, math.IsInf(one.Low, -1) && math.IsInf(one.High, 1))
	none, err := FewClusters(nil, nil)
	require.NoError(t, err)
	require.True(t, math.IsNaN(none.Value))
	_, err = FewClusters([]float64{math.NaN()}, []string{"a"})
	require.ErrorContains(t, err, "not finite")
	_, err = FewClusters([]float64{1, 2}, []string{"a"})
	require.Error(t, err)

	// Where the values of a cluster are alike, as a fold's are, 95 of 100 intervals hold the mean.
	const trials = 2000
	r := rand.New(rand.NewPCG(6, 0))
	held := 0
	for range trials {
		var values []float64
		var cluster []string
		for k := range 5 {
			same := r.NormFloat64()
			for range 20 {
				values = append(values, same+r.NormFloat64())
				cluster = append(cluster, strconv.Itoa(k))
			}
		}
		e, err := FewClusters(values, cluster)
		require.NoError(t, err)
		if !e.Excludes(0) {
			held++
		}
	}
	t.Logf("%d of %d", held, trials)
	require.InDelta(t, 0.95, float64(held)/trials, 0.015) // three of the binomial's deviations
}

// By hand: of a there is one pair, ranked well; of b there are two, one tied and one ranked badly;
// c has no pair.
func TestPairs(t *testing.T) {
	outcomes, cluster, err := Pairs([]float64{0.9, 0.5, 0.1, 0.5, 0.3, 1},
		[]bool{true, true, false, false, true, false},
		[]string{"a", "b", "a", "b", "b", "c"})
	require.NoError(t, err)
	require.Equal(t, []float64{1, 0.5, 0}, outcomes)
	require.Equal(t, []string{"a", "b", "b"}, cluster)
	_, _, err = Pairs([]float64{1}, []bool{true}, nil)
	require.ErrorContains(t, err, "1 scores in 0 groups")
	_, _, err = Pairs([]float64{1}, nil, []string{"a"})
	require.ErrorContains(t, err, "1 scores for 0 labels")
	_, _, err = Pairs([]float64{math.NaN()}, []bool{true}, []string{"a"})
	require.ErrorContains(t, err, "NaN")
}

// Of a good and a bad score from normal distributions one apart, the good one is the higher with
// the probability Φ(1/√2). 95 of 100 intervals hold it. Copies in a cluster tell nothing new.
func TestAUCInterval(t *testing.T) {
	const n, trials = 40, 100
	r := rand.New(rand.NewPCG(3, 0))
	draw := func() (scores []float64, good []bool) {
		for i := range n {
			good = append(good, i%2 == 0)
			scores = append(scores, r.NormFloat64()+float64((i+1)%2))
		}
		return scores, good
	}
	truth := (1 + math.Erf(0.5)) / 2
	held := 0
	for range trials {
		scores, good := draw()
		e, err := AUCInterval(scores, good, nil, 1)
		require.NoError(t, err)
		want, err := AUC(scores, good)
		require.NoError(t, err)
		require.Equal(t, want, e.Value)
		require.Equal(t, n, e.N)
		if e.Low <= truth && truth <= e.High {
			held++
		}
	}
	t.Logf("%d of %d", held, trials)
	require.InDelta(t, 0.95, float64(held)/trials, 0.065) // three of the binomial's deviations

	scores, good := draw()
	var copies []float64
	var labels []bool
	var cluster []string
	for i, s := range scores {
		for range 4 {
			copies, labels = append(copies, s), append(labels, good[i])
			cluster = append(cluster, strconv.Itoa(i))
		}
	}
	naive, err := AUCInterval(copies, labels, nil, 1)
	require.NoError(t, err)
	clustered, err := AUCInterval(copies, labels, cluster, 1)
	require.NoError(t, err)
	require.Equal(t, naive.Value, clustered.Value)
	require.InDelta(t, 2, (clustered.High-clustered.Low)/(naive.High-naive.Low), 0.15)
	once, err := AUCInterval(scores, good, nil, 1)
	require.NoError(t, err)
	require.Equal(t, once.Low, clustered.Low)
	require.Equal(t, once.High, clustered.High)

	one, err := AUCInterval([]float64{1, 2}, []bool{false, true}, []string{"a", "a"}, 1)
	require.NoError(t, err)
	require.Equal(t, Estimate{1, math.Inf(-1), math.Inf(1), 2}, one)
	_, err = AUCInterval([]float64{1, 2}, []bool{true, true}, nil, 1)
	require.EqualError(t, err, "measure: AUC of 2 good and 0 bad ones")
	_, err = AUCInterval([]float64{1, 2}, []bool{true, false}, []string{"a"}, 1)
	require.ErrorContains(t, err, "2 scores in 1 clusters")
}

// By hand: the first bin is 0.05 off with one score, the second 0.35 with two, and the last 0.025
// with two.
func TestReliability(t *testing.T) {
	r, err := NewReliability([]float64{0.05, 0.15, 0.15, 0.95, 1},
		[]bool{false, false, true, true, true}, 10)
	require.NoError(t, err)
	require.InDelta(t, (0.05+2*0.35+2*0.025)/5, r.ECE, 1e-15)
	require.Equal(t, 5, r.N)
	require.Len(t, r.Bins, 3)
	require.Equal(t, Bin{0.1, 0.2, 0.15, NewRate(1, 2)}, r.Bins[1])
	require.InDelta(t, 0.975, r.Bins[2].Score, 1e-15)
	require.Equal(t, 1.0, r.Bins[2].High)
	for want, scores := range map[string][]float64{
		"no scores": {}, "score 0 is 1.5": {1.5}, "score 0 is -0.5": {-0.5}, "is NaN": {math.NaN()},
	} {
		_, err := NewReliability(scores, make([]bool, len(scores)), 10)
		require.ErrorContains(t, err, want)
	}
	_, err = NewReliability([]float64{1}, []bool{true}, 0)
	require.ErrorContains(t, err, "0 bins")
}

// Of logits 2 and −2, three of four have the sign of their label. With the targets 41/42 and 1/42
// of 40 good and 40 bad ones, the slope is 0 where σ(2/T) = 1/2 + 1/4 · 40/42.
func TestTemperatureByHand(t *testing.T) {
	var logits []float64
	var good []bool
	for i := range 80 {
		good = append(good, i < 40)
		z := -2.0
		if (i < 40) == (i%4 != 0) {
			z = 2
		}
		logits = append(logits, z)
	}
	temperature, err := Temperature(logits, good)
	require.NoError(t, err)
	p := 0.5 + 10.0/42
	require.InDelta(t, 2/math.Log(p/(1-p)), temperature, 1e-12)

	// Two labels, both on the right side: the targets are 2/3 and 1/3.
	temperature, err = Temperature([]float64{3, -3}, []bool{true, false})
	require.NoError(t, err)
	require.InDelta(t, 3/math.Ln2, temperature, 1e-12)
	for _, c := range []struct{ z, want float64 }{{-3, 100}, {0, 100}, {0.001, 0.01}} {
		temperature, err = Temperature([]float64{c.z, -c.z}, []bool{true, false})
		require.NoError(t, err)
		require.Equal(t, c.want, temperature, "%v", c.z)
	}
	_, err = Temperature(nil, nil)
	require.ErrorContains(t, err, "no scores")
	_, err = Temperature([]float64{math.Inf(1)}, []bool{true})
	require.ErrorContains(t, err, "logit 0 is +Inf")
}

// Where labels are drawn with the probability σ(z/3), the temperature that is found is 3, and the
// scores are probabilities then.
func TestTemperatureIsFound(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 0))
	var logits, before, after []float64
	var good []bool
	for range 20000 {
		z := 6 * r.NormFloat64()
		logits = append(logits, z)
		good = append(good, r.Float64() < 1/(1+math.Exp(-z/3)))
	}
	temperature, err := Temperature(logits, good)
	require.NoError(t, err)
	require.InDelta(t, 3, temperature, 0.15)
	for _, z := range logits {
		before = append(before, 1/(1+math.Exp(-z)))
		after = append(after, 1/(1+math.Exp(-z/temperature)))
	}
	b, err := NewReliability(before, good, 15)
	require.NoError(t, err)
	a, err := NewReliability(after, good, 15)
	require.NoError(t, err)
	t.Logf("T %.3f, ECE %.4f before, %.4f after", temperature, b.ECE, a.ECE)
	require.Greater(t, b.ECE, 0.08)
	require.Less(t, a.ECE, 0.015)
}
