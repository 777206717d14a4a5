package finetune

import (
	"fmt"
	"math"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// A Choice decides which of the model's own samples a step sees.
type Choice interface {
	// Among returns the choice for samples, which have rewards and latents, as a function that
	// gives the n picks of a step. A step's picks must depend on nothing but seed, step and n, so
	// that a run that is taken up again sees what it would have seen.
	Among(samples []dataset.Sample, seed uint64) (func(step, n int) []Pick, error)
}

// A Pick is a place in a step's batch.
type Pick struct {
	Sample int     // index among the samples
	Reward float64 // what the loss takes for the sample's reward
	// Shares says that the pick has the level and the noise of the pick before it, so that the two
	// differ in their pictures alone. A pick that shares is never parted from the one before.
	Shares bool
}

// Passes is the Choice of every sample once in each pass over the data, in an order of its own.
type Passes struct{ stream string }

// Among satisfies Choice.
func (p Passes) Among(samples []dataset.Sample, seed uint64) (func(step, n int) []Pick, error) {
	order := func(pass int) []Pick {
		picks := make([]Pick, len(samples))
		for i, k := range rng.New(seed, p.named()+" order", uint64(pass), 0).Perm(len(samples)) {
			picks[i] = pickOf(samples, k)
		}
		return picks
	}
	return inPasses(order), nil
}

func (p Passes) named() string {
	if p.stream == "" {
		return "model"
	}
	return p.stream
}

func pickOf(samples []dataset.Sample, i int) Pick {
	p := Pick{Sample: i}
	if r := samples[i].Reward; r != nil {
		p.Reward = *r
	}
	return p
}

// inPasses gives each step the next n picks of an endless sequence of passes. All passes have as
// many picks as the first.
func inPasses(order func(pass int) []Pick) func(step, n int) []Pick {
	size := len(order(0))
	return func(step, n int) []Pick {
		out := make([]Pick, n)
		pass, picks := -1, []Pick(nil)
		for i := range out {
			at := step*n + i
			if p := at / size; p != pass {
				pass, picks = p, order(p)
			}
			out[i] = picks[at%size]
		}
		return out
	}
}

// byShape is the Choice of every sample once in each pass over the data, in steps of samples whose
// latents have one shape. In each pass the samples of a shape are in an order of its own, and the
// steps of all shapes are. The last step of a shape is filled up with samples that were in the pass
// already.
type byShape struct{ stream string }

// Among satisfies Choice.
func (b byShape) Among(samples []dataset.Sample, seed uint64) (func(step, n int) []Pick, error) {
	var shapes []shape
	members := map[shape][]int{}
	for i, s := range samples {
		of := shapeOf(s)
		if members[of] == nil {
			shapes = append(shapes, of)
		}
		members[of] = append(members[of], i)
	}
	// pass has the steps of a pass.
	pass := func(index, n int) (steps [][]Pick) {
		order := rng.New(seed, b.stream+" order", uint64(index), 0)
		for _, of := range shapes {
			all := members[of]
			places := order.Perm(len(all))
			for from := 0; from < len(all); from += n {
				picks := make([]Pick, n)
				for i := range picks {
					picks[i] = pickOf(samples, all[places[(from+i)%len(all)]])
				}
				steps = append(steps, picks)
			}
		}
		order.Shuffle(len(steps), func(i, j int) { steps[i], steps[j] = steps[j], steps[i] })
		return steps
	}
	return func(step, n int) []Pick {
		count := 0
		for _, all := range members {
			count += (len(all) + n - 1) / n
		}
		return pass(step/count, n)[step%count]
	}, nil
}

// ByReward is the Choice that draws samples in proportion to their rewards, which must not be
// negative, and gives every pick the mean reward, instead of drawing all alike and weighing each by
// its own. Eq. 2's expectation is the same. The noise of its gradient is less, as no evaluation
// goes to samples that hardly count.
//
// A pass is a systematic resample: a sample that is due c times comes ⌊c⌋ or ⌈c⌉ times.
type ByReward struct{}

// Among satisfies Choice.
func (ByReward) Among(samples []dataset.Sample, seed uint64) (func(step, n int) []Pick, error) {
	var sum float64
	for i, s := range samples {
		if *s.Reward < 0 {
			return nil, fmt.Errorf("sample %d (%s, %q) has reward %v: ByReward takes none below 0",
				i, s.ID, s.Prompt, *s.Reward)
		}
		sum += *s.Reward
	}
	mean := sum / float64(len(samples))
	if !(mean > 0) || math.IsInf(mean, 0) {
		return nil, fmt.Errorf("the mean reward of %d samples is %v: ByReward cannot draw",
			len(samples), mean)
	}
	order := func(pass int) []Pick {
		draw := rng.New(seed, Passes{}.named()+" order", uint64(pass), 0)
		places, due := draw.Perm(len(samples)), draw.Float64()
		drawn := make([]Pick, 0, len(samples))
		for i, s := range samples {
			for due += *s.Reward / mean; due >= 1 && len(drawn) < cap(drawn); due-- {
				drawn = append(drawn, Pick{Sample: i, Reward: mean})
			}
		}
		for len(drawn) < cap(drawn) { // shares are rounded
			drawn = append(drawn, drawn[len(drawn)-1])
		}
		picks := make([]Pick, len(drawn))
		for i, k := range places {
			picks[i] = drawn[k]
		}
		return picks
	}
	return inPasses(order), nil
}

// Pairs is the Choice of preferences: of two samples of one Group, the one with the higher reward
// first, the other behind it with its level and noise. A group of more than two gives every pair of
// different rewards. Batches must be even. Each pass has every pair once.
type Pairs struct{}

// Among satisfies Choice.
func (Pairs) Among(samples []dataset.Sample, seed uint64) (func(step, n int) []Pick, error) {
	var pairs [][2]Pick
	members := map[string][]int{}
	for i, s := range samples {
		if s.Group == "" {
			continue
		}
		for _, k := range members[s.Group] {
			a, b := pickOf(samples, k), pickOf(samples, i)
			if a.Reward < b.Reward {
				a, b = b, a
			}
			if a.Reward != b.Reward {
				b.Shares = true
				pairs = append(pairs, [2]Pick{a, b})
			}
		}
		members[s.Group] = append(members[s.Group], i)
	}
	if len(pairs) == 0 {
		return nil, fmt.Errorf("no two of %d samples are of one group and have different rewards",
			len(samples))
	}
	order := func(pass int) []Pick {
		var picks []Pick
		for _, k := range rng.New(seed, "pairs", uint64(pass), 0).Perm(len(pairs)) {
			picks = append(picks, pairs[k][0], pairs[k][1])
		}
		return picks
	}
	return inPasses(order), nil
}
