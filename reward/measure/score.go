package measure

import (
	"fmt"
	"math"
)

// Rows cuts features [N,width] into N rows. It is an error if a value is not finite or the last row
// is not whole.
func Rows(features []float32, width int) ([][]float64, error) {
	if width < 1 || len(features)%width != 0 {
		return nil, fmt.Errorf("measure: %d values are no rows of %d", len(features), width)
	}
	rows := make([][]float64, len(features)/width)
	for i, v := range features {
		if v-v != 0 {
			return nil, fmt.Errorf("measure: value %d of features %d is %v", i%width, i/width, v)
		}
		rows[i/width] = append(rows[i/width], float64(v))
	}
	return rows, nil
}

// Diversity returns how far apart the features of one group are. The distance of two features is
// 1 − cos of the angle between them: 0 if they are alike, 1 at right angles. It is averaged over
// the pairs of a group, and then over the groups of two features or more. group[i] is the group of
// features[i], usually its prompt. It is an error if no group has two features, or if a feature is
// zero or not finite.
func Diversity(features [][]float64, group []string) (float64, error) {
	if len(features) != len(group) {
		return 0, fmt.Errorf("measure: diversity of %d features in groups of %d",
			len(features), len(group))
	}
	members := map[string][]int{}
	var order []string
	for i, g := range group {
		if members[g] == nil {
			order = append(order, g)
		}
		members[g] = append(members[g], i)
	}
	var sum float64
	var groups int
	for _, g := range order {
		if len(members[g]) < 2 {
			continue
		}
		d, err := spread(features, members[g])
		if err != nil {
			return 0, err
		}
		sum += d
		groups++
	}
	if groups == 0 {
		return 0, fmt.Errorf("measure: diversity: no group has two features (%d features)",
			len(features))
	}
	return sum / float64(groups), nil
}

// spread is the mean cosine distance over the pairs of members.
func spread(features [][]float64, members []int) (float64, error) {
	var sum float64
	var pairs int
	for i, a := range members {
		for _, b := range members[i+1:] {
			c, err := Cosine(features[a], features[b])
			if err != nil {
				return 0, fmt.Errorf("measure: features %d and %d: %w", a, b, err)
			}
			sum += 1 - c
			pairs++
		}
	}
	return sum / float64(pairs), nil
}

// Cosine returns the cosine of the angle between two vectors: −1 to 1.
func Cosine(a, b []float64) (float64, error) {
	if len(a) != len(b) {
		return 0, fmt.Errorf("measure: cosine of %d and %d values", len(a), len(b))
	}
	var ab, aa, bb float64
	for i := range a {
		ab += a[i] * b[i]
		aa += a[i] * a[i]
		bb += b[i] * b[i]
	}
	c := ab / math.Sqrt(aa) / math.Sqrt(bb)
	if math.IsNaN(c) || math.IsInf(c, 0) {
		return 0, fmt.Errorf("measure: a vector is zero or not finite (norms² %v, %v)", aa, bb)
	}
	return max(-1, min(1, c)), nil
}

// Accuracy returns the share of scores on the right side of threshold: the good at or above it, the
// others below it.
func Accuracy(scores []float64, good []bool, threshold float64) (float64, error) {
	if err := check(scores, good); err != nil {
		return 0, err
	}
	right := 0
	for i, s := range scores {
		if (s >= threshold) == good[i] {
			right++
		}
	}
	return float64(right) / float64(len(scores)), nil
}

// AUC returns the probability that a good one scores higher than a bad one, both chosen at random,
// a tie counting one half: the area under the ROC curve. It is an error if all are good or all are
// bad.
func AUC(scores []float64, good []bool) (float64, error) {
	if err := check(scores, good); err != nil {
		return 0, err
	}
	goods := 0
	for _, g := range good {
		if g {
			goods++
		}
	}
	if goods == 0 || goods == len(good) {
		return 0, fmt.Errorf("measure: AUC of %d good and %d bad ones", goods, len(good)-goods)
	}
	return newRanking(scores, good, make([]int, len(scores))).auc([]float64{1}), nil
}

func check(scores []float64, good []bool) error {
	if len(scores) != len(good) {
		return fmt.Errorf("measure: %d scores for %d labels", len(scores), len(good))
	}
	if len(scores) == 0 {
		return fmt.Errorf("measure: no scores")
	}
	for i, s := range scores {
		if math.IsNaN(s) {
			return fmt.Errorf("measure: score %d is NaN", i)
		}
	}
	return nil
}
