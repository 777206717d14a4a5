package diffusion

import (
	"cmp"
	"context"
	"iter"

	"gorgonia.org/tensor"
)

// DDPMOptions are the choices of DDPM.
type DDPMOptions struct {
	Steps int // network evaluations, 1 to the schedule's number of timesteps
	Noise Noise
}

// DDPM samples by the ancestral process itself (Ho, Jain and Abbeel 2020, eq. 6 and 7), as diffusers' DDPMScheduler does with the
// schedule's config: with the posterior's variance (which "fixed_small_log" is too), or with variance_type "fixed_large" with β. It is
// like DDIM in all else.
func DDPM(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o DDPMOptions) iter.Seq2[Step, error] {
	if err := cmp.Or(only("variance_type", s.Config.Variance, "fixed_small", "fixed_large", "fixed_small_log"), s.Config.refuseThresholding()); err != nil {
		return failed(err)
	}
	times, err := s.timesteps(o.Steps)
	if err != nil {
		return failed(err)
	}
	moves := make([]move, len(times))
	for i, t := range times {
		// In float32, as diffusers does it: where ᾱ hardly changes, what this loses is part of its result.
		bar, next := float32(s.AlphaBar[t]), float32(1)
		if i+1 < len(times) {
			next = float32(s.AlphaBar[times[i+1]])
		}
		alpha := bar / next
		m := s.at(t)
		m.clean, m.state = float64(sqrt32(next)*(1-alpha)/(1-bar)), float64(sqrt32(alpha)*(1-next)/(1-bar))
		switch {
		case t == 0: // the last of training's steps draws nothing
		case or(s.Config.Variance, "fixed_small") == "fixed_large":
			m.noise = float64(sqrt32(1 - alpha))
		default:
			m.noise = float64(sqrt32(max((1-next)/(1-bar)*(1-alpha), 1e-20)))
		}
		moves[i] = m
	}
	return s.follow(ctx, net, x, 1, o.Noise, moves, s.Config.clip())
}
