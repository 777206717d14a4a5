package reward

import (
	"fmt"
	"math"

	"github.com/kudos-ml/kudos/internal/rng"
)

// A Transform turns the rewards of all samples into their weights, in order. It does not change its argument.
type Transform func(rewards []float64) ([]float64, error)

// Raw takes rewards for weights: r.
func Raw(rewards []float64) ([]float64, error) {
	return each(rewards, func(r float64) float64 { return r })
}

// MinMax stretches rewards over 0 to 1: (r − min) / (max − min). It is an error if all are the same.
func MinMax(rewards []float64) ([]float64, error) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, r := range rewards {
		lo, hi = min(lo, r), max(hi, r)
	}
	if len(rewards) > 0 && lo == hi {
		return nil, fmt.Errorf("reward: min-max of %d rewards that all are %v", len(rewards), lo)
	}
	return each(rewards, func(r float64) float64 { return (r - lo) / (hi - lo) })
}

// Threshold weighs 1 what has a reward of at least t, and all else 0.
func Threshold(t float64) Transform {
	return func(rewards []float64) ([]float64, error) {
		return each(rewards, func(r float64) float64 {
			if r >= t {
				return 1
			}
			return 0
		})
	}
}

// Softmax weighs by exp(r/t), scaled to a mean of 1 over all samples (reward-weighted regression, as in Black et
// al. 2023). The temperature t must be above 0.
func Softmax(t float64) Transform {
	return func(rewards []float64) ([]float64, error) {
		if !(t > 0) {
			return nil, fmt.Errorf("reward: softmax temperature %v is not above 0", t)
		}
		hi := math.Inf(-1)
		for _, r := range rewards {
			hi = max(hi, r)
		}
		weights, err := each(rewards, func(r float64) float64 { return math.Exp((r - hi) / t) })
		if err != nil {
			return nil, err
		}
		var sum float64
		for _, w := range weights {
			sum += w
		}
		return each(weights, func(w float64) float64 { return w / sum * float64(len(weights)) })
	}
}

// Shift is DPOK's weight max(r + gamma, 0) (Fan et al. 2023, the KL-D anchor).
func Shift(gamma float64) Transform {
	return func(rewards []float64) ([]float64, error) {
		return each(rewards, func(r float64) float64 { return max(r+gamma, 0) })
	}
}

// Constant weighs everything w, whatever its reward: the control that shows what tuning does without rewards.
func Constant(w float64) Transform {
	return func(rewards []float64) ([]float64, error) {
		return each(rewards, func(float64) float64 { return w })
	}
}

// Shuffled gives rewards, transformed by t, to other samples than they belong to: the control that keeps the
// weights' distribution and takes away their meaning. The permutation depends on seed and the number of samples.
func Shuffled(t Transform, seed uint64) Transform {
	return func(rewards []float64) ([]float64, error) {
		weights, err := t(rewards)
		if err != nil {
			return nil, err
		}
		shuffled := make([]float64, len(weights))
		for i, j := range rng.New(seed, "shuffled rewards", 0, 0).Perm(len(weights)) {
			shuffled[i] = weights[j]
		}
		return shuffled, nil
	}
}

// each applies f to finite rewards.
func each(rewards []float64, f func(float64) float64) ([]float64, error) {
	weights := make([]float64, len(rewards))
	for i, r := range rewards {
		if math.IsNaN(r) || math.IsInf(r, 0) {
			return nil, fmt.Errorf("reward: reward %d is %v", i, r)
		}
		weights[i] = f(r)
		if math.IsNaN(weights[i]) || math.IsInf(weights[i], 0) {
			return nil, fmt.Errorf("reward: the weight of reward %d (%v) is %v", i, r, weights[i])
		}
	}
	return weights, nil
}
