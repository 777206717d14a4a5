package measure

import (
	"math"
	"slices"
)

// Jackknife returns a measure of agreement, such as KrippendorffAlpha, and half of its 95 %
// interval, which comes from its values v_i without thing i (Efron and Tibshirani 1993, §11.5):
//
//	margin = 1.96 √((n−1)/n · Σ_i (v_i − v̄)²)
//
// ratings are those of Agreement, of n things, which count as independent. of must depend on how
// many raters put a thing into each category, and not on which raters. Then things that are rated
// alike have one v_i between them, and it is computed once. The margin is infinite with fewer than
// two things, or where of is an error without one of them. It is an error where of is.
func Jackknife(ratings [][]int, of func(ratings [][]int) (float64, error)) (
	value, margin float64, err error,
) {
	if value, err = of(ratings); err != nil {
		return math.NaN(), math.NaN(), err
	}
	n := float64(len(ratings))
	if n < 2 {
		return value, math.Inf(1), nil
	}
	times := make(map[string]float64) // how many things are rated in a way
	first := make(map[string]int)     // one of them
	var order []string                // sums are added in one order
	for i, r := range ratings {
		key := kind(r)
		if times[key]++; times[key] == 1 {
			order, first[key] = append(order, key), i
		}
	}
	without := make(map[string]float64)
	var mean float64
	for _, key := range order {
		v, err := of(slices.Delete(slices.Clone(ratings), first[key], first[key]+1))
		if err != nil {
			return value, math.Inf(1), nil
		}
		without[key] = v
		mean += times[key] * v / n
	}
	var sum float64
	for _, key := range order {
		d := without[key] - mean
		sum += times[key] * d * d
	}
	return value, z95 * math.Sqrt((n-1)/n*sum), nil
}

// kind is the same for things whose ratings are the same but for who gave them.
func kind(ratings []int) string {
	given := slices.DeleteFunc(slices.Clone(ratings), func(r int) bool { return r < 0 })
	slices.Sort(given)
	key := make([]byte, 0, 2*len(given))
	for _, r := range given {
		key = append(key, byte(r), byte(r>>8))
	}
	return string(key)
}
