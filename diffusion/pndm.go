package diffusion

import (
	"context"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/tensor"
)

// PNDM samples by pseudo-numerical methods (Liu et al. 2022, eq. 9, 12 and 13): the linear
// multistep method of order 4 on what the network predicts, as diffusers' PNDMScheduler does with
// the schedule's config. It starts with three steps of Runge-Kutta, which call the network four
// times each and need at least 4 steps; with skip_prk_steps, as Stable Diffusion has it, it starts
// with methods of lower order and calls the network steps + 1 times. Each call is a Step. It is
// like DDIM in all else.
func PNDM(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) Steps {
	l, err := s.ladder(classPNDM, o)
	if err == nil && *l.config.ZeroSNR { // which diffusers' PNDM does not know
		l.config.ZeroSNR = new(false)
		l.bars, err = alphaBar(l.config)
	}
	if err != nil {
		return failed(err)
	}
	plan, err := l.pndmPlan(o.Steps)
	if err != nil {
		return failed(err)
	}
	visits := make([]visit, len(plan))
	for i, h := range plan {
		if _, _, err := l.says.Read(l.at(h.from)); err != nil {
			return failed(err)
		}
		visits[i] = visit{timestep: float64(h.ask), scale: 1}
	}
	last := l.bars[0]
	if *l.config.SetAlphaToOne {
		last = 1
	}
	return walk(ctx, net, x, 1, nil, visits, func() advance {
		var begin []float32     // the state that the hops of a compound step all start at
		var stages [][]float32  // what the network said in this compound step
		var history [][]float32 // what it said at the steps before, latest first
		return func(i int, x, said, _ []float32, step Step) {
			h := plan[i]
			said = slices.Clone(said)
			if h.stage == 0 {
				begin, stages = x, nil
				history = append([][]float32{said}, history[:min(len(history), 3)]...)
			}
			stages = append(stages, said)
			outs, weights := history, adams[len(history)-1]
			if h.weights != nil {
				outs, weights = stages, h.weights
			}
			l.hop(step, h, begin, outs, weights, l.before(h.to, last))
		}
	})
}

// A hop of PNDM asks the network at a timestep and goes from one timestep to another. Hops of one
// compound step have stages 0, 1, … and start at the same state; weights are of what the network
// said in them, or nil for the multistep method.
type hop struct {
	ask, from, to, stage int
	weights              []float64
}

// adams are the weights of the Adams-Bashforth methods, the latest first.
var adams = [][]float64{
	{1},
	{3. / 2, -1. / 2},
	{23. / 12, -16. / 12, 5. / 12},
	{55. / 24, -59. / 24, 37. / 24, -9. / 24},
}

// pndmPlan lists the hops.
func (l ladder) pndmPlan(steps int) ([]hop, error) {
	times, err := l.timesteps(steps)
	if err != nil {
		return nil, err
	}
	var plan []hop
	stride := len(l.bars) / steps
	if *l.config.SkipPRK {
		for i, t := range times {
			if i == 1 { // improved Euler: the first step is made again with the mean of both ends
				plan = append(plan, hop{
					ask: t, from: t + stride, to: t, stage: 1, weights: []float64{1. / 2, 1. / 2},
				})
			}
			plan = append(plan, hop{ask: t, from: t, to: t - stride})
		}
		return plan, nil
	}
	if steps < 4 {
		return nil, fmt.Errorf("diffusion: PNDM starts with three steps of Runge-Kutta "+
			"(skip_prk_steps is false) and needs at least 4, not %d", steps)
	}
	half, simpson := stride/2, []float64{1. / 6, 1. / 3, 1. / 3, 1. / 6}
	for i := range 3 {
		t, next := times[i], times[i+1]
		plan = append(plan,
			hop{ask: t, from: t, to: t - half, weights: []float64{1}},
			hop{ask: next + half, from: t, to: next + half, stage: 1, weights: []float64{0, 1}},
			hop{ask: next + half, from: t, to: next, stage: 2, weights: []float64{0, 0, 1}},
			hop{ask: next, from: t, to: next, stage: 3, weights: simpson},
		)
	}
	for _, t := range times[3:] {
		plan = append(plan, hop{ask: t, from: t, to: t - stride})
	}
	return plan, nil
}

// hop fills in a step: eq. 9 with the weighted sum of outs, the network's word, from state x to ᾱ =
// next.
func (l ladder) hop(
	step Step, h hop, x []float32, outs [][]float32, weights []float64, next float64,
) {
	bar := l.bars[h.from]
	readClean, readEps, _ := l.says.Read(l.at(h.from))
	state := math.Sqrt(next / bar)
	eps := (next - bar) / (bar*math.Sqrt(1-next) + math.Sqrt(bar*(1-bar)*next))
	for j := range x {
		said := 0.0
		for k, w := range weights {
			said += w * float64(outs[k][j])
		}
		at := float64(x[j])
		step.Clean.Float32s()[j] = float32(readClean.Of(at, said))
		step.Latent.Float32s()[j] = float32(state*at - eps*readEps.Of(at, said))
	}
}
