package measure

import (
	"errors"
	"fmt"
	"slices"
)

// Agreement returns how often raters agree: of all pairs of ratings of the same thing the share
// that are equal, 0 to 1. ratings[i][r] is the category that rater r puts thing i into, a number
// from 0, or below 0 where the rating is missing. Chance makes some agree as well: see the other
// measures. It is an error if no thing has two ratings.
func Agreement(ratings [][]int) (float64, error) {
	var equal, pairs float64
	for _, row := range ratings {
		counts, n := tally(row)
		for _, c := range counts {
			equal += float64(c * (c - 1))
		}
		pairs += float64(n * (n - 1))
	}
	if pairs == 0 {
		return 0, errors.New("measure: agreement: nothing was rated twice")
	}
	return equal / pairs, nil
}

// CohenKappa returns how much more two raters agree than chance would make them (Cohen 1960):
//
//	κ = (p_o − p_e) / (1 − p_e),   p_e = Σ_c p_a(c)·p_b(c)
//
// where p_o is the share of things on which they agree, and p_a(c) how often rater a says c. 1 is
// agreement on all, 0 what chance gives. A rating below 0 is missing: such a thing is left out. It
// is an error if the lengths differ, if nothing was rated by both, or if both always say the same
// one thing, of which chance gives as much.
func CohenKappa(a, b []int) (float64, error) {
	if len(a) != len(b) {
		return 0, fmt.Errorf("measure: kappa of %d and %d ratings", len(a), len(b))
	}
	inA, inB := map[int]float64{}, map[int]float64{}
	var n, equal float64
	for i := range a {
		if a[i] < 0 || b[i] < 0 {
			continue
		}
		n++
		inA[a[i]]++
		inB[b[i]]++
		if a[i] == b[i] {
			equal++
		}
	}
	if n == 0 {
		return 0, errors.New("measure: kappa: nothing was rated by both")
	}
	var chance float64
	for _, c := range categories(inA) {
		chance += inA[c] / n * (inB[c] / n)
	}
	return beyond("kappa", equal/n, chance)
}

// FleissKappa is kappa for any number of raters, not the same ones for every thing (Fleiss 1971):
//
//	κ = (P̄ − P̄_e) / (1 − P̄_e),   P̄_e = Σ_c p(c)²
//
// where P̄ is Agreement, and p(c) the share of all ratings that are c. ratings are those of
// Agreement. It is an error if things have different numbers of ratings, or fewer than two; of such
// ratings KrippendorffAlpha is to be taken. It is one as well if all ratings are the same.
func FleissKappa(ratings [][]int) (float64, error) {
	all := map[int]float64{}
	var total float64
	each := -1
	for i, row := range ratings {
		counts, n := tally(row)
		if each >= 0 && n != each || n < 2 {
			return 0, fmt.Errorf("measure: kappa: thing %d has %d ratings, and all need as many, "+
				"two or more", i, n)
		}
		each = n
		for c, k := range counts {
			all[c] += float64(k)
		}
		total += float64(n)
	}
	observed, err := Agreement(ratings)
	if err != nil {
		return 0, err
	}
	var chance float64
	for _, c := range categories(all) {
		chance += all[c] / total * (all[c] / total)
	}
	return beyond("kappa", observed, chance)
}

// KrippendorffAlpha returns how reliable ratings in categories are, where some are missing
// (Krippendorff 2011, Computing Krippendorff's Alpha-Reliability, section C):
//
//	α = 1 − D_o/D_e = 1 − (n−1) · Σ_{c≠k} o(c,k) / Σ_{c≠k} n(c)·n(k)
//
// o(c,k) counts pairs of ratings c and k of one thing, a thing with m ratings weighing each pair by
// 1/(m−1). n(c) is how many ratings are c, and n how many there are, in things with two or more. 1
// is agreement on all, 0 what chance gives. ratings are those of Agreement. It is an error if no
// thing has two ratings, or if all ratings are the same.
func KrippendorffAlpha(ratings [][]int) (float64, error) {
	all := map[int]float64{}
	var n, differ float64
	for _, row := range ratings {
		counts, m := tally(row)
		if m < 2 {
			continue
		}
		n += float64(m)
		for c, k := range counts {
			all[c] += float64(k)
			differ += float64(k*(m-k)) / float64(m-1)
		}
	}
	if n == 0 {
		return 0, errors.New("measure: alpha: nothing was rated twice")
	}
	var chance float64
	for _, c := range categories(all) {
		chance += all[c] * (n - all[c])
	}
	if chance == 0 {
		return 0, errors.New("measure: alpha: all ratings are the same")
	}
	return 1 - (n-1)*differ/chance, nil
}

// beyond is how far an agreement is beyond chance, of what there is beyond chance.
func beyond(name string, observed, chance float64) (float64, error) {
	if !(chance < 1) {
		return 0, fmt.Errorf("measure: %s: all ratings are the same", name)
	}
	return (observed - chance) / (1 - chance), nil
}

// tally counts the ratings that are not missing: by category, and all.
func tally(row []int) (counts map[int]int, n int) {
	counts = map[int]int{}
	for _, c := range row {
		if c >= 0 {
			counts[c]++
			n++
		}
	}
	return counts, n
}

// categories are those that were counted, in order, so that sums over them have one order.
func categories(counts map[int]float64) (order []int) {
	for c := range counts {
		order = append(order, c)
	}
	slices.Sort(order)
	return order
}
