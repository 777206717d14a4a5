package reward

import (
	"context"
	"fmt"
	"iter"
	"math"

	"github.com/kudos-ml/kudos/dataset"
)

// score calls m and holds it to its contract: one score a sample, none of them NaN.
func score(ctx context.Context, m Model, samples []dataset.Sample) ([]float64, error) {
	if m == nil {
		return nil, errNoModel
	}
	scores, err := m.Score(ctx, samples)
	if err != nil {
		return nil, err
	}
	if len(scores) != len(samples) {
		return nil, fmt.Errorf("reward: %T gave %d scores for %d samples",
			m, len(scores), len(samples))
	}
	for i, s := range scores {
		if math.IsNaN(s) {
			return nil, fmt.Errorf("reward: %T scored sample %q (%s) NaN",
				m, samples[i].ID, samples[i].Prompt)
		}
	}
	return scores, nil
}

// A Weighted is one summand of Sum.
type Weighted struct {
	Model  Model
	Weight float64
}

// Sum is the model of the weighted sum of others' scores.
func Sum(terms ...Weighted) Model {
	return Func(func(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
		sum := make([]float64, len(samples))
		for _, t := range terms {
			scores, err := score(ctx, t.Model, samples)
			if err != nil {
				return nil, err
			}
			for i, s := range scores {
				sum[i] += t.Weight * s
			}
		}
		return sum, nil
	})
}

// Batched is m, asked for at most n samples at a time.
func Batched(m Model, n int) Model {
	return Func(func(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
		if n < 1 {
			return nil, fmt.Errorf("reward: batches of %d samples", n)
		}
		all := make([]float64, 0, len(samples))
		for len(samples) > 0 {
			k := min(n, len(samples))
			scores, err := score(ctx, m, samples[:k])
			if err != nil {
				return nil, err
			}
			all, samples = append(all, scores...), samples[k:]
		}
		return all, nil
	})
}

// Give gives samples m's scores as rewards, all asked for together.
func Give(ctx context.Context, m Model, samples []dataset.Sample) error {
	scores, err := score(ctx, m, samples)
	if err != nil {
		return err
	}
	for i := range samples {
		samples[i].Reward = &scores[i]
	}
	return nil
}

// Scored is d with m's scores as rewards, computed n samples at a time, or fewer if their pictures
// are large (dataset.Batches).
func Scored(d dataset.Dataset, m Model, n int) dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			if n < 1 {
				yield(dataset.Sample{}, fmt.Errorf("reward: batches of %d samples", n))
				return
			}
			for batch, err := range dataset.Batches(ctx, d, n) {
				var scores []float64
				if err == nil {
					scores, err = score(ctx, m, batch)
				}
				if err != nil {
					yield(dataset.Sample{}, err)
					return
				}
				for i, s := range batch {
					s.Reward = &scores[i]
					if !yield(s, nil) {
						return
					}
				}
			}
		}
	})
}

// BestOf takes n samples of a prompt at a time and returns the one of them that m scores highest,
// with its score as reward; among equals it is the first. Samples of one prompt need not follow one
// another: the prompt's first n are a group, the next n another one. The results are in the order
// of their groups' first samples. It is an error if the number of a prompt's samples is not a
// multiple of n.
func BestOf(
	ctx context.Context, m Model, samples []dataset.Sample, n int,
) ([]dataset.Sample, error) {
	groups, err := groupsOf(samples, n)
	if err != nil {
		return nil, err
	}
	scores, err := score(ctx, m, samples)
	if err != nil {
		return nil, err
	}
	best := make([]dataset.Sample, len(groups))
	for g, members := range groups {
		top := members[0]
		for _, i := range members {
			if scores[i] > scores[top] {
				top = i
			}
		}
		best[g] = samples[top]
		best[g].Reward = &scores[top]
	}
	return best, nil
}

// Best takes n samples of d at a time and yields the one that m scores highest, with its score as
// reward: see BestOf. The n must be of one prompt, as pipeline.Request.PerPrompt makes them.
func Best(d dataset.Dataset, m Model, n int) dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			var group []dataset.Sample
			choose := func() bool {
				best, err := BestOf(ctx, m, group, n)
				if err != nil {
					yield(dataset.Sample{}, err)
					return false
				}
				group = group[:0]
				return yield(best[0], nil)
			}
			for s, err := range dataset.All(ctx, d) {
				if err != nil {
					yield(dataset.Sample{}, err)
					return
				}
				if group = append(group, s); len(group) >= n && !choose() {
					return
				}
			}
			if len(group) > 0 {
				choose()
			}
		}
	})
}

// groupsOf returns the indices of each n samples that share their prompt.
func groupsOf(samples []dataset.Sample, n int) ([][]int, error) {
	if n < 1 {
		return nil, fmt.Errorf("reward: best of %d", n)
	}
	var groups [][]int
	open := map[string]int{} // prompt → the group that still takes samples
	for i, s := range samples {
		g, ok := open[s.Prompt]
		if !ok {
			g = len(groups)
			groups = append(groups, nil)
			open[s.Prompt] = g
		}
		groups[g] = append(groups[g], i)
		if len(groups[g]) == n {
			delete(open, s.Prompt)
		}
	}
	for _, g := range groups {
		if len(g) < n {
			return nil, fmt.Errorf("reward: best of %d: %d samples left over of prompt %q",
				n, len(g), samples[g[0]].Prompt)
		}
	}
	return groups, nil
}
