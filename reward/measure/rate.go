package measure

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
)

// A Rate is a share of N yes-or-no answers, 0 to 1, with its 95 % interval.
type Rate struct {
	Rate float64 `json:"rate"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	N    int     `json:"n"`
}

// z95 is the 97.5 % quantile of the standard normal distribution.
const z95 = 1.959963984540054

// NewRate returns the rate of good among n answers with Wilson's score interval (Wilson 1927),
//
//	(p + z²/2n ± z √(p(1−p)/n + z²/4n²)) / (1 + z²/n)   with z = 1.96,
//
// which, unlike p ± z√(p(1−p)/n), stays within 0 to 1 and holds for few answers and for rates near
// 0 and 1. Without answers the rate is NaN and the interval 0 to 1. It panics unless 0 ≤ good ≤ n.
func NewRate(good, n int) Rate {
	if good < 0 || good > n {
		panic(fmt.Sprintf("measure: %d good of %d", good, n))
	}
	if n == 0 {
		return Rate{math.NaN(), 0, 1, 0}
	}
	p, m := float64(good)/float64(n), float64(n)
	middle := p + z95*z95/(2*m)
	half := z95 * math.Sqrt(p*(1-p)/m+z95*z95/(4*m*m))
	scale := 1 + z95*z95/m
	return Rate{p, max(0, (middle-half)/scale), min(1, (middle+half)/scale), n}
}

// RateOf is NewRate of the answers that are true.
func RateOf(answers []bool) Rate {
	good := 0
	for _, a := range answers {
		if a {
			good++
		}
	}
	return NewRate(good, len(answers))
}

// A Difference is a mean difference between two arms with its 95 % interval.
type Difference struct {
	Mean float64 `json:"mean"`
	Low  float64 `json:"low"`
	High float64 `json:"high"`
	N    int     `json:"n"` // pairs
}

// Above reports whether the whole interval lies above x.
func (d Difference) Above(x float64) bool { return d.Low > x }

// resamples is the bootstrap's: the ends of a 95 % interval then err by about a hundredth of its
// width.
const resamples = 10000

// Paired returns the mean of b[i] − a[i] over pairs that share their prompt and noise, and its 95 %
// interval from the percentiles of a cluster bootstrap (Efron and Tibshirani 1993): whole clusters
// are drawn with replacement, 10,000 times, by seed alone. cluster[i] names pair i's cluster,
// usually its prompt; nil makes each pair a cluster. With fewer than two clusters nothing is known
// of the spread, and the interval is infinite.
//
// It is an error if the lengths differ, if there are no pairs, or if a value is not finite.
func Paired(a, b []float64, cluster []string, seed uint64) (Difference, error) {
	if len(a) != len(b) || cluster != nil && len(cluster) != len(a) {
		return Difference{}, fmt.Errorf(
			"measure: paired difference of %d and %d values in clusters of %d",
			len(a), len(b), len(cluster))
	}
	if len(a) == 0 {
		return Difference{}, fmt.Errorf("measure: paired difference of no values")
	}
	sums, sizes := clusters(a, b, cluster)
	d := Difference{Mean: ratio(sums, sizes), Low: math.Inf(-1), High: math.Inf(1), N: len(a)}
	if math.IsNaN(d.Mean) || math.IsInf(d.Mean, 0) {
		return Difference{}, fmt.Errorf("measure: paired difference of values that are not finite")
	}
	if len(sums) < 2 {
		return d, nil
	}
	means := make([]float64, resamples)
	r := rand.New(rand.NewPCG(seed, 0x626f6f74))
	for i := range means {
		var sum, size float64
		for range sums {
			k := r.IntN(len(sums))
			sum += sums[k]
			size += sizes[k]
		}
		means[i] = sum / size
	}
	slices.Sort(means)
	d.Low, d.High = quantile(means, 0.025), quantile(means, 0.975)
	return d, nil
}

// clusters returns each cluster's sum of differences and size, in order of first appearance.
func clusters(a, b []float64, cluster []string) (sums, sizes []float64) {
	index := map[string]int{}
	for i := range a {
		k := len(sums)
		if cluster != nil {
			if at, ok := index[cluster[i]]; ok {
				k = at
			} else {
				index[cluster[i]] = k
			}
		}
		if k == len(sums) {
			sums, sizes = append(sums, 0), append(sizes, 0)
		}
		sums[k] += b[i] - a[i]
		sizes[k]++
	}
	return sums, sizes
}

func ratio(sums, sizes []float64) float64 {
	var sum, size float64
	for i := range sums {
		sum += sums[i]
		size += sizes[i]
	}
	return sum / size
}

// quantile interpolates between the sorted values around q.
func quantile(sorted []float64, q float64) float64 {
	at := q * float64(len(sorted)-1)
	i := int(at)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (at-float64(i))*(sorted[i+1]-sorted[i])
}

// Bools returns 1 for true and 0 for false, for Paired.
func Bools(answers []bool) []float64 {
	values := make([]float64, len(answers))
	for i, a := range answers {
		if a {
			values[i] = 1
		}
	}
	return values
}
