package measure

import (
	"fmt"
	"math"
)

// Reliability says how far scores are probabilities: whether of the pictures with scores about 0.7
// seven of ten are good.
type Reliability struct {
	Bins []Bin `json:"bins"` // those that have scores
	// ECE is the expected calibration error (Guo et al. 2017, On Calibration of Modern Neural
	// Networks, Eq. 3), of the probability of good: the mean over all scores of how far their bin's
	// mean score is from its share of good ones. 0 is best.
	ECE float64 `json:"ece"`
	N   int     `json:"n"`
}

// A Bin is the scores from Low up to High, where the last bin has High itself, too.
type Bin struct {
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Score float64 `json:"score"` // their mean
	Good  Rate    `json:"good"`  // of them
}

// NewReliability puts scores, 0 to 1, in so many bins of the same width. It is an error if there
// are no scores or no bins, if the lengths differ, or if a score is not in 0 to 1.
func NewReliability(scores []float64, good []bool, bins int) (Reliability, error) {
	if err := check(scores, good); err != nil {
		return Reliability{}, err
	}
	if bins < 1 {
		return Reliability{}, fmt.Errorf("measure: reliability in %d bins", bins)
	}
	sums, goods, sizes := make([]float64, bins), make([]int, bins), make([]int, bins)
	for i, s := range scores {
		if !(s >= 0 && s <= 1) {
			return Reliability{}, fmt.Errorf("measure: score %d is %v, not in 0 to 1", i, s)
		}
		b := min(int(s*float64(bins)), bins-1)
		sums[b] += s
		sizes[b]++
		if good[i] {
			goods[b]++
		}
	}
	r := Reliability{N: len(scores)}
	for b, n := range sizes {
		if n == 0 {
			continue
		}
		bin := Bin{
			Low: float64(b) / float64(bins), High: float64(b+1) / float64(bins),
			Score: sums[b] / float64(n), Good: NewRate(goods[b], n),
		}
		r.Bins = append(r.Bins, bin)
		r.ECE += math.Abs(bin.Score-bin.Good.Rate) * float64(n) / float64(r.N)
	}
	return r, nil
}

// The ends of what Temperature returns.
const (
	coldest = 0.01
	hottest = 100
)

// Temperature returns the T, 0.01 to 100, by which logits z are to be divided so that σ(z/T) are
// probabilities (temperature scaling, Guo et al. 2017, §4.2). It is where the negative
// log-likelihood
//
//	−Σ t log σ(z/T) + (1−t) log(1 − σ(z/T))
//
// has its least. T above 1 says that the scores were too sure. The order of scores stays.
//
// The targets t are not 1 and 0 but (n+1)/(n+2) for n good labels and 1/(n+2) for n bad ones (Platt
// 1999, Probabilistic Outputs for Support Vector Machines, §2.2). So a few labels, all of them on
// the right side, do not make the reward infallible. Where logits say no more of labels than chance
// does, T is 100.
//
// It is an error if there are no logits, if the lengths differ, or if a logit is not finite.
func Temperature(logits []float64, good []bool) (float64, error) {
	if err := check(logits, good); err != nil {
		return 0, err
	}
	of := map[bool]float64{}
	for i, z := range logits {
		if math.IsInf(z, 0) {
			return 0, fmt.Errorf("measure: logit %d is %v", i, z)
		}
		of[good[i]]++
	}
	target := map[bool]float64{true: (of[true] + 1) / (of[true] + 2), false: 1 / (of[false] + 2)}
	// The derivatives by a = 1/T. The first never falls.
	slope := func(a float64) (first, second float64) {
		for i, z := range logits {
			p := 1 / (1 + math.Exp(-a*z))
			first += (p - target[good[i]]) * z
			second += p * (1 - p) * z * z
		}
		return first, second
	}
	low, high := 1.0/hottest, 1.0/coldest
	if first, _ := slope(low); first >= 0 {
		return hottest, nil
	}
	if first, _ := slope(high); first <= 0 {
		return coldest, nil
	}
	a := 1.0
	for high-low > 1e-13*high {
		first, second := slope(a)
		if first < 0 {
			low = a
		} else {
			high = a
		}
		next := a - first/second // Newton's
		if !(next > low && next < high) {
			next = (low + high) / 2
		}
		if math.Abs(next-a) <= 1e-14*a {
			break
		}
		a = next
	}
	return 1 / a, nil
}
