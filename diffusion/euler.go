package diffusion

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"gorgonia.org/tensor"
)

// Euler samples by Euler's method on the probability-flow equation in σ, dx/dσ = (x - x̂₀)/σ (Karras et al.
// 2022, algorithm 1 without its second order), as diffusers' EulerDiscreteScheduler does with the schedule's
// config. The states are x₀ + σ·ε: it starts at x, pure noise as for every sampler, times the first σ.
// Timesteps may lie between two of training. It is like DDIM in all else.
func Euler(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
	d, err := s.ladder(classEuler, o)
	if err != nil {
		return failed(err)
	}
	l, err := d.eulerLevels(o.Steps)
	if err != nil {
		return failed(err)
	}
	moves := make([]move, len(l.times))
	for i := range moves {
		moves[i] = l.stretched(i, l.sigmas[i+1])
	}
	return d.says.follow(ctx, net, x, d.eulerStart(l), nil, moves, math.Inf(1))
}

// EulerAncestral is Euler with fresh noise in every step: it goes down farther than the next σ and comes up
// again by noise (k-diffusion's sample_euler_ancestral), as diffusers' EulerAncestralDiscreteScheduler does
// with the schedule's config.
func EulerAncestral(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
	d, err := s.ladder(classEulerAncestral, o)
	if err != nil {
		return failed(err)
	}
	l, err := d.linearLevels(o.Steps)
	if err != nil {
		return failed(err)
	}
	l.sigmas = append(l.sigmas, 0)
	moves := make([]move, len(l.times))
	for i := range moves {
		from, to := float64(l.sigmas[i]), float64(l.sigmas[i+1])
		moves[i] = l.stretched(i, float32(to*to/from))
		moves[i].sigma = to * math.Sqrt(1-to*to/(from*from))
	}
	return d.says.follow(ctx, net, x, d.eulerStart(l), o.Noise, moves, math.Inf(1))
}

// linearLevels are σ at timesteps that may lie between two of training.
func (d ladder) linearLevels(steps int) (levels, error) {
	times, err := d.spread(len(d.bars), steps)
	for i, t := range times {
		times[i] = float64(float32(t))
	}
	return levelsAt(d.table(), times), err
}

// eulerLevels are Euler's, by the keys that only it knows.
func (d ladder) eulerLevels(steps int) (levels, error) {
	c := &d.config
	if err := c.refuse("use_exponential_sigmas", "use_beta_sigmas", "timestep_type"); err != nil {
		return levels{}, err
	}
	l, err := d.linearLevels(steps)
	if err != nil {
		return l, err
	}
	table := d.table()
	switch kind := *c.Interpolation; kind {
	case "linear":
	case "log_linear": // one level more than timesteps: the last step ends there
		l.sigmas = linspace(math.Log(float64(table[len(table)-1])), math.Log(float64(table[0])), steps+1)
		for i, log := range l.sigmas {
			l.sigmas[i] = float32(math.Exp(float64(log)))
		}
	default:
		return l, fmt.Errorf("diffusion: interpolation_type %q is neither linear nor log_linear", kind)
	}
	if *c.Karras {
		high, low := float64(l.sigmas[0]), float64(l.sigmas[len(l.sigmas)-1])
		l = karras(table, or(c.SigmaMax, high), or(c.SigmaMin, low), steps)
		for i, t := range l.times {
			l.times[i] = float64(float32(t))
		}
	}
	return l, l.end(table, *c.FinalSigma)
}

// eulerStart is the standard deviation of the first state.
func (d ladder) eulerStart(l levels) float64 {
	high := float64(slices.Max(l.sigmas))
	if *d.config.Spacing == "leading" {
		return math.Sqrt(high*high + 1)
	}
	return high
}

// stretched is Euler's step from the state x₀ + σ·ε at level i to another σ: x + (to-σ)·(x - x̂₀)/σ. The difference is rounded to
// float32, as in diffusers: where σ falls far, what this loses is part of its result.
func (l levels) stretched(i int, to float32) move {
	sigma := float64(l.sigmas[i])
	signal := 1 / math.Sqrt(sigma*sigma+1)
	stretch := float64(to-l.sigmas[i]) / sigma
	return move{
		Level: Level{signal, sigma * signal, l.times[i]}, scale: signal,
		clean: -stretch, state: 1 + stretch,
	}
}
