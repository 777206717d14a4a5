package reward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"gonum.org/v1/gonum/floats"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// A Transform turns the rewards of samples into their weights, in order. It sees all samples of a
// dataset at once, each with a Reward, and does not change them. A reward or weight that is not
// finite is an error.
type Transform func(samples []dataset.Sample) ([]float64, error)

// Weigh is d with every reward replaced by the weight that t makes of it. Fine-tuning reads the
// weights there (Lee et al. 2023, Eq. 2). A sample without a reward is an error. Ranging over the
// result holds all samples in memory. Where pictures are large, take them away before
// (dataset.Map), or weigh samples that are encoded.
func Weigh(d dataset.Dataset, t Transform) dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			samples, err := dataset.Collect(ctx, d)
			if err != nil {
				yield(dataset.Sample{}, err)
				return
			}
			weights, err := t.weights(samples)
			if err != nil {
				yield(dataset.Sample{}, err)
				return
			}
			for i, s := range samples {
				if err := context.Cause(ctx); err != nil {
					yield(dataset.Sample{}, err)
					return
				}
				s.Reward = &weights[i]
				if !yield(s, nil) {
					return
				}
			}
		}
	})
}

// weights calls t and holds it to its contract: one weight a sample.
func (t Transform) weights(samples []dataset.Sample) ([]float64, error) {
	if t == nil {
		return nil, errors.New("reward: there is no Transform to weigh by: it is nil")
	}
	weights, err := t(samples)
	if err == nil && len(weights) != len(samples) {
		err = fmt.Errorf("reward: a transform gave %d weights for %d samples", len(weights),
			len(samples))
	}
	return weights, err
}

// Raw uses each reward r as the weight, as the paper does.
func Raw(samples []dataset.Sample) ([]float64, error) {
	return each(samples, func(r float64) float64 { return r })
}

// MinMax scales rewards to the range 0 to 1: (r − min) / (max − min). It is an error if all rewards
// are the same.
func MinMax(samples []dataset.Sample) ([]float64, error) {
	rewards, err := Raw(samples)
	if err != nil {
		return nil, err
	}
	lo, hi := ends(rewards)
	if len(rewards) > 0 && lo == hi {
		return nil, fmt.Errorf("reward: min-max of %d rewards that all are %v", len(rewards), lo)
	}
	return each(samples, func(r float64) float64 { return (r - lo) / (hi - lo) })
}

// Standardize gives rewards a mean of 0 and a standard deviation of 1: (r − mean) / σ, where σ²
// is the mean square of r − mean. Where all are the same, all weights are 0. Weights below 0 push
// away from a sample: the advantages of policy gradients are such.
func Standardize(samples []dataset.Sample) ([]float64, error) {
	weights, err := Raw(samples)
	if err != nil || len(weights) == 0 {
		return weights, err
	}
	if lo, hi := ends(weights); lo == hi {
		clear(weights)
		return weights, nil
	}
	floats.AddConst(-floats.Sum(weights)/float64(len(weights)), weights)
	floats.Scale(math.Sqrt(float64(len(weights)))/floats.Norm(weights, 2), weights)
	return finite(samples, weights)
}

// Baseline takes a share of the mean reward m off each reward r, in units of m: (r − share·m) / m.
// What is below that share pushes away from its sample, so that training turns away from bad
// pictures and not only towards good ones. The weights' mean is 1 − share. share is at least 0 and
// below 1: with the whole mean taken off, the loss of Eq. 2 would have no lower bound. It is an
// error if the mean is not above 0.
func Baseline(share float64) Transform {
	return func(samples []dataset.Sample) ([]float64, error) {
		if !(share >= 0 && share < 1) {
			return nil, fmt.Errorf("reward: a share of %v of the mean is not in [0,1)", share)
		}
		rewards, err := Raw(samples)
		if err != nil || len(rewards) == 0 {
			return rewards, err
		}
		mean := floats.Sum(rewards) / float64(len(rewards))
		if !(mean > 0) {
			const wrong = "reward: the mean of %d rewards is %v, not above 0: nothing to take"
			return nil, fmt.Errorf(wrong, len(rewards), mean)
		}
		return each(samples, func(r float64) float64 { return (r - share*mean) / mean })
	}
}

// Threshold gives a sample the weight 1 if its reward is at least t, and 0 otherwise.
func Threshold(t float64) Transform {
	return func(samples []dataset.Sample) ([]float64, error) {
		return each(samples, func(r float64) float64 {
			if r >= t {
				return 1
			}
			return 0
		})
	}
}

// Softmax gives a sample the weight exp(r/t), scaled so that the mean over all samples is 1
// (reward-weighted regression, as in Black et al. 2023). The temperature t must be above 0.
func Softmax(t float64) Transform {
	return func(samples []dataset.Sample) ([]float64, error) {
		if !(t > 0) {
			return nil, fmt.Errorf("reward: softmax temperature %v is not above 0", t)
		}
		rewards, err := Raw(samples)
		if err != nil {
			return nil, err
		}
		_, hi := ends(rewards)
		weights, err := each(samples, func(r float64) float64 { return math.Exp((r - hi) / t) })
		if err != nil {
			return nil, err
		}
		var sum float64
		for _, w := range weights {
			sum += w
		}
		for i, w := range weights {
			weights[i] = w / sum * float64(len(weights))
		}
		return weights, nil
	}
}

// Shift is DPOK's weight max(r + gamma, 0) (Fan et al. 2023, the KL-D anchor).
func Shift(gamma float64) Transform {
	return func(samples []dataset.Sample) ([]float64, error) {
		return each(samples, func(r float64) float64 { return max(r+gamma, 0) })
	}
}

// Constant gives every sample the weight w, whatever its reward. It is the control that shows what
// tuning does without rewards.
func Constant(w float64) Transform {
	return func(samples []dataset.Sample) ([]float64, error) {
		return each(samples, func(float64) float64 { return w })
	}
}

// Equal gives every sample the mean of the rewards as its weight. It is a control as Constant is,
// and its weights have the same sum as Raw's.
func Equal(samples []dataset.Sample) ([]float64, error) {
	rewards, err := Raw(samples)
	if err != nil || len(rewards) == 0 {
		return rewards, err
	}
	return Constant(floats.Sum(rewards) / float64(len(rewards)))(samples)
}

// Shuffled permutes the weights that t makes among the samples. It is the control that keeps the
// weights' distribution and takes away their meaning. The permutation depends on seed and on the
// number of samples.
func Shuffled(t Transform, seed uint64) Transform {
	return func(samples []dataset.Sample) ([]float64, error) {
		weights, err := t.weights(samples)
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

// PerPrompt applies t to the samples of each prompt by themselves. PerPrompt(Standardize) gives
// advantages per prompt, as in Black et al. 2023, §4.3: what counts is how much better a picture is
// than others of its prompt, and not whether the prompt is easy.
func PerPrompt(t Transform) Transform {
	return Within(t, func(s dataset.Sample) string { return s.Prompt })
}

// Within applies t to the samples of each key by themselves.
func Within(t Transform, key func(dataset.Sample) string) Transform {
	return func(samples []dataset.Sample) ([]float64, error) {
		if key == nil {
			return nil, errNoKey
		}
		weights := make([]float64, len(samples))
		for _, members := range groups(samples, key) {
			part := make([]dataset.Sample, len(members))
			for k, i := range members {
				part[k] = samples[i]
			}
			w, err := t.weights(part)
			if err != nil {
				return nil, fmt.Errorf("%w (among the %d samples of %q)", err, len(part),
					key(part[0]))
			}
			for k, i := range members {
				weights[i] = w[k]
			}
		}
		return weights, nil
	}
}

// Balanced scales t's weights so that those of every key, such as the category of a prompt, have
// the same sum: an equal share of the sum of all. Rewards then decide between samples of one key,
// and not between easy keys and hard ones. Otherwise tuning would drift to what the model does well
// already. A key whose weights are all 0 keeps them. It is an error if a weight is below 0.
func Balanced(t Transform, key func(dataset.Sample) string) Transform {
	return func(samples []dataset.Sample) ([]float64, error) {
		weights, err := t.weights(samples)
		if err != nil {
			return nil, err
		}
		if key == nil {
			return nil, errNoKey
		}
		all := groups(samples, key)
		sums := make([]float64, len(all))
		for g, members := range all {
			for _, i := range members {
				if weights[i] < 0 {
					return nil, fmt.Errorf("reward: balancing: %s has the weight %v, below 0",
						name(samples[i]), weights[i])
				}
				sums[g] += weights[i]
			}
		}
		share := floats.Sum(sums) / float64(len(all))
		for g, members := range all {
			for _, i := range members {
				if sums[g] > 0 {
					weights[i] *= share / sums[g]
				}
			}
		}
		return weights, nil
	}
}

var errNoKey = errors.New("reward: there is no key to tell samples apart by: it is nil")

// groups returns the indices of the samples of each key, in order of first appearance.
func groups(samples []dataset.Sample, key func(dataset.Sample) string) (all [][]int) {
	at := map[string]int{}
	for i, s := range samples {
		k := key(s)
		g, ok := at[k]
		if !ok {
			g = len(all)
			at[k], all = g, append(all, nil)
		}
		all[g] = append(all[g], i)
	}
	return all
}

// ends returns the least and the largest value.
func ends(values []float64) (lo, hi float64) {
	lo, hi = math.Inf(1), math.Inf(-1)
	for _, v := range values {
		lo, hi = min(lo, v), max(hi, v)
	}
	return lo, hi
}

// each applies f to the samples' rewards, which must be there and finite.
func each(samples []dataset.Sample, f func(float64) float64) ([]float64, error) {
	weights := make([]float64, len(samples))
	for i, s := range samples {
		if s.Reward == nil {
			return nil, fmt.Errorf("reward: %s has no reward", name(s))
		}
		if r := *s.Reward; r-r != 0 {
			return nil, fmt.Errorf("reward: the reward of %s is %v", name(s), r)
		}
		weights[i] = f(*s.Reward)
	}
	return finite(samples, weights)
}

// finite returns weights if all of them are finite.
func finite(samples []dataset.Sample, weights []float64) ([]float64, error) {
	for i, w := range weights {
		if w-w != 0 {
			return nil, fmt.Errorf("reward: the weight of %s (reward %v) is %v", name(samples[i]),
				*samples[i].Reward, w)
		}
	}
	return weights, nil
}

// name is what errors call a sample.
func name(s dataset.Sample) string {
	return fmt.Sprintf("sample %q (%s)", cmp.Or(s.ID, s.File), s.Prompt)
}
