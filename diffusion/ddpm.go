package diffusion

import (
	"cmp"
	"context"

	"gorgonia.org/tensor"
)

// DDPM samples by the ancestral process itself (Ho, Jain and Abbeel 2020, eq. 6 and 7), as
// diffusers' DDPMScheduler does with the schedule's config: with the posterior's variance (which
// "fixed_small_log" is too), or with variance_type "fixed_large" with β. It is like DDIM in all
// else.
func DDPM(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) Steps {
	l, err := s.ladder(classDDPM, o)
	if err != nil {
		return failed(err)
	}
	variance := *l.config.Variance
	err = cmp.Or(
		only("variance_type", variance, "fixed_small", "fixed_large", "fixed_small_log"),
		l.config.refuseThresholding(),
	)
	if err != nil {
		return failed(err)
	}
	times, err := l.timesteps(o.Steps)
	if err != nil {
		return failed(err)
	}
	moves := make([]move, len(times))
	for i, t := range times {
		// In float32, as diffusers does it: where ᾱ hardly changes, what this loses is part of its
		// result.
		bar, next := float32(l.bars[t]), float32(1)
		if i+1 < len(times) {
			next = float32(l.bars[times[i+1]])
		}
		alpha := bar / next
		m := move{
			Level: l.at(t), scale: 1,
			clean: float64(sqrt32(next) * (1 - alpha) / (1 - bar)),
			state: float64(sqrt32(alpha) * (1 - next) / (1 - bar)),
		}
		switch {
		case t == 0: // the last of training's steps draws nothing
		case variance == "fixed_large":
			m.sigma = float64(sqrt32(1 - alpha))
		default:
			m.sigma = float64(sqrt32(max((1-next)/(1-bar)*(1-alpha), 1e-20)))
		}
		moves[i] = m
	}
	return l.says.follow(ctx, net, x, 1, o.Noise, moves, l.config.clip())
}
