package diffusion

import (
	"cmp"
	"context"
	"iter"
	"math"

	"gorgonia.org/tensor"
)

// DDPMOptions are the choices of DDPM.
type DDPMOptions struct {
	Steps int // network evaluations, 1 to the schedule's number of timesteps
	Noise Noise
}

// DDPM samples by the ancestral process itself (Ho, Jain and Abbeel 2020, eq. 6 and 7), as diffusers' DDPMScheduler does with the
// schedule's config: with the posterior's variance, or with variance_type "fixed_large" with β. It is like DDIM in all else.
func DDPM(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o DDPMOptions) iter.Seq2[Step, error] {
	if err := cmp.Or(only("variance_type", s.Config.Variance, "fixed_small", "fixed_large"), s.Config.refuseThresholding()); err != nil {
		return failed(err)
	}
	times, err := s.timesteps(o.Steps)
	if err != nil {
		return failed(err)
	}
	moves := make([]move, len(times))
	for i, t := range times {
		bar, next := s.AlphaBar[t], 1.0
		if i+1 < len(times) {
			next = s.AlphaBar[times[i+1]]
		}
		alpha := bar / next
		m := s.at(t)
		m.clean, m.state = math.Sqrt(next)*(1-alpha)/(1-bar), math.Sqrt(alpha)*(1-next)/(1-bar)
		switch {
		case t == 0: // the last of training's steps draws nothing
		case or(s.Config.Variance, "fixed_small") == "fixed_large":
			m.noise = math.Sqrt(1 - alpha)
		default:
			m.noise = math.Sqrt(max((1-next)/(1-bar)*(1-alpha), 1e-20))
		}
		moves[i] = m
	}
	return s.follow(ctx, net, x, 1, o.Noise, moves, s.Config.clip())
}
