package diffusion

import (
	"context"
	"fmt"
	"iter"
	"math"
	"slices"

	"gorgonia.org/tensor"
)

// Euler samples by Euler's method on the probability-flow equation in σ, dx/dσ = (x - x̂₀)/σ (Karras et al. 2022, algorithm 1 without
// its second order), as diffusers' EulerDiscreteScheduler does with the schedule's config. The states are x₀ + σ·ε:
// it starts at x, pure noise as for every sampler, times the first σ. Timesteps may lie between two of training, so a
// network that does not predict ε goes with Schedule.Native. It is like DDIM in all else.
func Euler(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, steps int) iter.Seq2[Step, error] {
	l, err := s.eulerLevels(steps)
	if err != nil {
		return failed(err)
	}
	moves := make([]move, len(l.times))
	for i := range moves {
		m := l.stretched(i)
		m.state = float64(l.sigmas[i+1]) / float64(l.sigmas[i])
		m.clean = 1 - m.state
		moves[i] = m
	}
	return s.follow(ctx, net, x, s.eulerStart(l), nil, moves, math.Inf(1))
}

// EulerAncestral is Euler with fresh noise in every step: it goes down farther than the next σ and comes up again by noise (k-diffusion's
// sample_euler_ancestral), as diffusers' EulerAncestralDiscreteScheduler does with the schedule's config.
func EulerAncestral(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, steps int, n Noise) iter.Seq2[Step, error] {
	if s.Clean {
		return failed(fmt.Errorf("diffusion: EulerAncestral does not support prediction_type %q", "sample"))
	}
	l, err := s.linearLevels(steps)
	if err != nil {
		return failed(err)
	}
	l.sigmas = append(l.sigmas, 0)
	moves := make([]move, len(l.times))
	for i := range moves {
		// In float32, as in diffusers: the difference of squares loses digits, and the ones that are lost count.
		from, to := l.sigmas[i], l.sigmas[i+1]
		from2, to2 := float32(from*from), float32(to*to)
		up := sqrt32(float32(to2*float32(from2-to2)) / from2)
		down := sqrt32(to2 - float32(up*up))
		m := l.stretched(i)
		m.state, m.noise = float64(down)/float64(from), float64(up)
		m.clean = 1 - m.state
		moves[i] = m
	}
	return s.follow(ctx, net, x, s.eulerStart(l), n, moves, math.Inf(1))
}

// linearLevels are σ at timesteps that may lie between two of training.
func (s *Schedule) linearLevels(steps int) (levels, error) {
	if err := s.checkSteps(steps); err != nil {
		return levels{}, err
	}
	times, err := s.spread(len(s.AlphaBar), steps, or(s.Config.Spacing, "linspace"))
	for i, t := range times {
		times[i] = float64(float32(t))
	}
	return levelsAt(s.table(), times), err
}

// eulerLevels are Euler's, by the keys that only it knows.
func (s *Schedule) eulerLevels(steps int) (levels, error) {
	c := &s.Config
	l, err := s.linearLevels(steps)
	if err != nil {
		return l, err
	}
	if err := c.refuse("use_exponential_sigmas", "use_beta_sigmas"); err != nil {
		return l, err
	}
	if s.Velocity {
		if err := c.refuse("timestep_type"); err != nil {
			return l, err
		}
	}
	table := s.table()
	switch kind := or(c.Interpolation, "linear"); kind {
	case "linear":
	case "log_linear": // one level more than timesteps: the last step ends there
		l.sigmas = linspace(math.Log(float64(table[len(table)-1])), math.Log(float64(table[0])), steps+1)
		for i, log := range l.sigmas {
			l.sigmas[i] = float32(math.Exp(float64(log)))
		}
	default:
		return l, fmt.Errorf("diffusion: interpolation_type %q is neither linear nor log_linear", kind)
	}
	if or(c.Karras, false) {
		high, low := float64(l.sigmas[0]), float64(l.sigmas[len(l.sigmas)-1])
		l = karras(table, or(c.SigmaMax, high), or(c.SigmaMin, low), steps)
		for i, t := range l.times {
			l.times[i] = float64(float32(t))
		}
	}
	return l, l.end(table, c.FinalSigma)
}

// eulerStart is the standard deviation of the first state.
func (s *Schedule) eulerStart(l levels) float64 {
	high := float64(slices.Max(l.sigmas))
	if or(s.Config.Spacing, "linspace") == "leading" {
		return math.Sqrt(high*high + 1)
	}
	return high
}

// stretched is a move at level i that asks about a state x₀ + σ·ε.
func (l levels) stretched(i int) move {
	sigma := float64(l.sigmas[i])
	signal := 1 / math.Sqrt(sigma*sigma+1)
	return move{timestep: l.times[i], scale: signal, signal: signal, sigma: sigma * signal}
}
