package measure

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// An Estimate is a number that was found from N samples or pairs, with its 95 % interval. As JSON
// it has null for what is not finite.
type Estimate struct {
	Value, Low, High float64
	N                int
}

// MarshalJSON writes {"value":0.8,"low":0.7,"high":0.9,"n":40}.
func (e Estimate) MarshalJSON() ([]byte, error) {
	finite := func(v float64) *float64 {
		if v-v != 0 {
			return nil
		}
		return &v
	}
	return json.Marshal(struct {
		Value *float64 `json:"value"`
		Low   *float64 `json:"low"`
		High  *float64 `json:"high"`
		N     int      `json:"n"`
	}{finite(e.Value), finite(e.Low), finite(e.High), e.N})
}

// Excludes reports whether x lies outside the interval.
func (e Estimate) Excludes(x float64) bool { return e.Low > x || e.High < x }

// Mean returns the mean of values with the interval of Paired's bootstrap: whole clusters are drawn
// with replacement. cluster[i] names value i's cluster, usually its prompt; nil makes each value a
// cluster. Of no values the mean is NaN, and the interval infinite.
//
// It is an error if the lengths differ, or if a value is not finite.
func Mean(values []float64, cluster []string, seed uint64) (Estimate, error) {
	if len(values) == 0 && len(cluster) == 0 {
		return Estimate{Value: math.NaN(), Low: math.Inf(-1), High: math.Inf(1)}, nil
	}
	d, err := Paired(make([]float64, len(values)), values, cluster, seed)
	return Estimate{Value: d.Mean, Low: d.Low, High: d.High, N: d.N}, err
}

// FewClusters is Mean for clusters of which there are too few for a bootstrap, such as the folds of
// a cross-validation. The interval is Student's: with K clusters of n_k values, whose sums are s_k,
// and the mean m of all,
//
//	m ± t · √(K/(K−1) · Σ (s_k − m n_k)²) / Σ n_k
//
// where t is the 97.5 % quantile of K−1 degrees of freedom. With fewer than two clusters the
// interval is infinite. Its errors are those of Mean.
func FewClusters(values []float64, cluster []string) (Estimate, error) {
	if len(values) == 0 || len(cluster) != len(values) {
		return Mean(values, cluster, 0) // which says what is wrong
	}
	sums, sizes := clusters(make([]float64, len(values)), values, cluster)
	e := Estimate{Value: ratio(sums, sizes), N: len(values)}
	if e.Value-e.Value != 0 {
		return e, fmt.Errorf("measure: a mean of values that are not finite")
	}
	squares := 0.0
	for k, sum := range sums {
		squares += math.Pow(sum-e.Value*sizes[k], 2)
	}
	free := float64(len(sums) - 1)
	half := math.Inf(1)
	if free > 0 {
		half = t95(len(sums)-1) * math.Sqrt((free+1)/free*squares) / float64(len(values))
	}
	e.Low, e.High = e.Value-half, e.Value+half
	return e, nil
}

// t95 is the 97.5 % quantile of Student's distribution with so many degrees of freedom, at least 1.
// Above ten it is the expansion of Abramowitz and Stegun 26.7.5, which errs by less than 0.0005.
func t95(free int) float64 {
	table := []float64{
		12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281,
	}
	if free <= len(table) {
		return table[free-1]
	}
	n, z2 := float64(free), z95*z95
	return z95 * (1 + (z2+1)/(4*n) + ((5*z2+16)*z2+3)/(96*n*n) +
		(((3*z2+19)*z2+17)*z2-15)/(384*n*n*n))
}

// Pairs returns how scores rank each pair of a good sample and a bad one of the same group, usually
// of one prompt: 1 if the good one's score is the higher, ½ if both are the same, and 0 otherwise.
// group[i] is the group of sample i, and cluster that of each pair. Groups are in the order in
// which they first appear.
//
// Mean of both is the pairwise accuracy: how often a score chooses well between two pictures of a
// prompt, which is what it has to do for the best of n. Other than AUC it does not profit from
// knowing which prompts are hard.
func Pairs(
	scores []float64, good []bool, group []string,
) (outcomes []float64, cluster []string, err error) {
	if len(scores) != len(group) {
		return nil, nil, fmt.Errorf("measure: %d scores in %d groups", len(scores), len(group))
	}
	if err := check(scores, good); err != nil {
		return nil, nil, err
	}
	members := map[string][]int{}
	var order []string
	for i, g := range group {
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], i)
	}
	for _, g := range order {
		for _, i := range members[g] {
			for _, j := range members[g] {
				if good[i] && !good[j] {
					outcomes = append(outcomes, above(scores[i], scores[j]))
					cluster = append(cluster, g)
				}
			}
		}
	}
	return outcomes, cluster, nil
}

// above is 1 if a is above b, and ½ if they are the same.
func above(a, b float64) float64 {
	switch {
	case a > b:
		return 1
	case a == b:
		return 0.5
	}
	return 0
}

// AUCInterval returns AUC with its 95 % interval, from the percentiles of a bootstrap: whole
// clusters are drawn with replacement, 10,000 times, by seed alone, and drawings without a good
// sample or without a bad one are left out. cluster is as Mean has it. With fewer than two clusters
// the interval is infinite. Its errors are those of AUC.
func AUCInterval(
	scores []float64, good []bool, cluster []string, seed uint64,
) (Estimate, error) {
	value, err := AUC(scores, good)
	if err != nil {
		return Estimate{}, err
	}
	if cluster != nil && len(cluster) != len(scores) {
		return Estimate{}, fmt.Errorf("measure: AUC of %d scores in %d clusters",
			len(scores), len(cluster))
	}
	e := Estimate{Value: value, Low: math.Inf(-1), High: math.Inf(1), N: len(scores)}
	places, clusters := placed(cluster, len(scores))
	if clusters < 2 {
		return e, nil
	}
	s := newRanking(scores, good, places)
	var values []float64
	times := make([]float64, clusters)
	r := rand.New(rand.NewPCG(seed, 0x617563))
	for range resamples {
		clear(times)
		for range clusters {
			times[r.IntN(clusters)]++
		}
		if v := s.auc(times); !math.IsNaN(v) {
			values = append(values, v)
		}
	}
	slices.Sort(values)
	e.Low, e.High = quantile(values, 0.025), quantile(values, 0.975)
	return e, nil
}

// placed returns the number of each sample's cluster, in order of first appearance, and how many
// there are.
func placed(cluster []string, n int) (places []int, clusters int) {
	places = make([]int, n)
	index := map[string]int{}
	for i := range places {
		places[i] = i
		if cluster == nil {
			continue
		}
		at, ok := index[cluster[i]]
		if !ok {
			at = len(index)
			index[cluster[i]] = at
		}
		places[i] = at
	}
	if cluster == nil {
		return places, n
	}
	return places, len(index)
}

// A ranking is samples in the order of their scores.
type ranking []ranked

type ranked struct {
	score float64
	good  bool
	place int // of its cluster
}

func newRanking(scores []float64, good []bool, places []int) ranking {
	s := make(ranking, len(scores))
	for i := range s {
		s[i] = ranked{scores[i], good[i], places[i]}
	}
	slices.SortStableFunc(s, func(a, b ranked) int {
		switch {
		case a.score < b.score:
			return -1
		case a.score > b.score:
			return 1
		}
		return 0
	})
	return s
}

// auc is the AUC where each cluster is there so many times. It is NaN where one kind is missing.
func (s ranking) auc(times []float64) float64 {
	var wins, goods, bads float64
	for i := 0; i < len(s); {
		var g, b float64 // with this score
		score := s[i].score
		for ; i < len(s) && s[i].score == score; i++ {
			if s[i].good {
				g += times[s[i].place]
			} else {
				b += times[s[i].place]
			}
		}
		wins += g * (bads + b/2)
		goods, bads = goods+g, bads+b
	}
	return wins / (goods * bads)
}
