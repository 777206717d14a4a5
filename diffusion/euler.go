package diffusion

import (
	"context"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/tensor"
)

// Euler samples by Euler's method on the probability-flow equation in σ, dx/dσ = (x - x̂₀)/σ
// (Karras et al. 2022, algorithm 1 without its second order), as diffusers' EulerDiscreteScheduler
// does with the schedule's config. The states are x₀ + σ·ε: it starts at x, pure noise as for every
// sampler, times the first σ. Timesteps may lie between two of training. It is like DDIM in all
// else.
func Euler(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) Steps {
	l, err := s.ladder(classEuler, o)
	if err != nil {
		return failed(err)
	}
	d, err := l.eulerDescent(o.Steps)
	if err != nil {
		return failed(err)
	}
	moves := make([]move, len(d.times))
	for i := range moves {
		moves[i] = d.stretched(i, d.sigmas[i+1])
	}
	return l.says.follow(ctx, net, x, l.eulerStart(d), nil, moves, math.Inf(1))
}

// EulerAncestral is Euler with fresh noise in every step: it goes down farther than the next σ and
// comes up again by noise (k-diffusion's sample_euler_ancestral), as diffusers'
// EulerAncestralDiscreteScheduler does with the schedule's config.
func EulerAncestral(
	ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions,
) Steps {
	l, err := s.ladder(classEulerAncestral, o)
	if err != nil {
		return failed(err)
	}
	d, err := l.linearDescent(o.Steps)
	if err != nil {
		return failed(err)
	}
	d.sigmas = append(d.sigmas, 0)
	moves := make([]move, len(d.times))
	for i := range moves {
		from, to := float64(d.sigmas[i]), float64(d.sigmas[i+1])
		moves[i] = d.stretched(i, float32(to*to/from))
		moves[i].sigma = to * math.Sqrt(1-to*to/(from*from))
	}
	return l.says.follow(ctx, net, x, l.eulerStart(d), o.Noise, moves, math.Inf(1))
}

// linearDescent goes by timesteps that may lie between two of training.
func (l ladder) linearDescent(steps int) (descent, error) {
	times, err := l.spread(len(l.bars), steps)
	for i, t := range times {
		times[i] = float64(float32(t))
	}
	return descend(l.table(), times), err
}

// eulerDescent is Euler's, by the keys that only it knows.
func (l ladder) eulerDescent(steps int) (descent, error) {
	c := &l.config
	if err := c.refuse("use_exponential_sigmas", "use_beta_sigmas", "timestep_type"); err != nil {
		return descent{}, err
	}
	d, err := l.linearDescent(steps)
	if err != nil {
		return d, err
	}
	table := l.table()
	switch kind := *c.Interpolation; kind {
	case "linear":
	case "log_linear": // one level more than timesteps: the last step ends there
		first, last := float64(table[len(table)-1]), float64(table[0])
		d.sigmas = linspace(math.Log(first), math.Log(last), steps+1)
		for i, log := range d.sigmas {
			d.sigmas[i] = float32(math.Exp(float64(log)))
		}
	default:
		return d, fmt.Errorf("diffusion: interpolation_type %q is neither linear nor log_linear",
			kind)
	}
	if *c.Karras {
		high, low := float64(d.sigmas[0]), float64(d.sigmas[len(d.sigmas)-1])
		d = karras(table, or(c.SigmaMax, high), or(c.SigmaMin, low), steps)
		for i, t := range d.times {
			d.times[i] = float64(float32(t))
		}
	}
	return d, d.end(table, *c.FinalSigma)
}

// eulerStart is the standard deviation of the first state.
func (l ladder) eulerStart(d descent) float64 {
	high := float64(slices.Max(d.sigmas))
	if *l.config.Spacing == "leading" {
		return math.Sqrt(high*high + 1)
	}
	return high
}

// stretched is Euler's step from the state x₀ + σ·ε at level i to another σ: x + (to-σ)·(x -
// x̂₀)/σ. The difference is rounded to float32, as in diffusers: where σ falls far, what this loses
// is part of its result.
func (d descent) stretched(i int, to float32) move {
	sigma := float64(d.sigmas[i])
	signal := 1 / math.Sqrt(sigma*sigma+1)
	stretch := float64(to-d.sigmas[i]) / sigma
	return move{
		Level: Level{signal, sigma * signal, d.times[i]}, scale: signal,
		clean: -stretch, state: 1 + stretch,
	}
}
