package diffusion

import (
	"context"

	"gorgonia.org/tensor"
)

// DDIM samples by denoising diffusion implicit models (Song, Meng and Ermon 2021, eq. 12), as
// diffusers' DDIMScheduler does with the schedule's config. It starts at x, which it leaves as it
// is, and yields every step; the last one's Latent is the sample. A cancelled context ends it with
// an error between two steps.
func DDIM(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) Steps {
	l, err := s.ladder(classDDIM, o)
	if err != nil {
		return failed(err)
	}
	if err := l.config.refuseThresholding(); err != nil {
		return failed(err)
	}
	times, err := l.timesteps(o.Steps)
	if err != nil {
		return failed(err)
	}
	stride, last := len(l.bars)/o.Steps, 1.0
	if !*l.config.SetAlphaToOne {
		last = l.bars[0]
	}
	moves := make([]move, len(times))
	for i, t := range times {
		// In float32, as diffusers does it: where ᾱ hardly changes, what this loses is part of its
		// result.
		bar, next := float32(l.bars[t]), float32(l.before(t-stride, last))
		sigma := float32(o.Eta) * sqrt32((1-next)/(1-bar)*(1-bar/next))
		moves[i] = move{
			Level: l.at(t), scale: 1,
			clean: float64(sqrt32(next)),
			eps:   float64(sqrt32(max(1-next-float32(sigma*sigma), 0))),
			sigma: float64(sigma),
		}
	}
	return l.says.follow(ctx, net, x, 1, o.Noise, moves, l.config.clip())
}
