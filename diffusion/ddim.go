package diffusion

import (
	"context"
	"iter"

	"gorgonia.org/tensor"
)

// DDIMOptions are the choices of DDIM.
type DDIMOptions struct {
	Steps int     // network evaluations, 1 to the schedule's number of timesteps; 15 to 50 are usual
	Eta   float64 // 0: deterministic; 1: as much noise as DDPM
	Noise Noise   // read only when Eta is not 0
}

// DDIM samples by denoising diffusion implicit models (Song, Meng and Ermon 2021, eq. 12), as diffusers'
// DDIMScheduler does with the schedule's config. It starts at x, which it leaves as it is, and yields every
// step; the last one's Latent is the sample. A cancelled context ends it with an error between two steps.
func DDIM(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o DDIMOptions) iter.Seq2[Step, error] {
	if err := s.Config.refuseThresholding(); err != nil {
		return failed(err)
	}
	times, err := s.timesteps(o.Steps)
	if err != nil {
		return failed(err)
	}
	stride, last := len(s.AlphaBar)/o.Steps, 1.0
	if !or(s.Config.SetAlphaToOne, true) {
		last = s.AlphaBar[0]
	}
	moves := make([]move, len(times))
	for i, t := range times {
		// In float32, as diffusers does it: where ᾱ hardly changes, what this loses is part of its result.
		bar, next := float32(s.AlphaBar[t]), float32(s.before(t-stride, last))
		sigma := float32(o.Eta) * sqrt32((1-next)/(1-bar)*(1-bar/next))
		m := s.at(t)
		m.clean, m.eps, m.noise = float64(sqrt32(next)), float64(sqrt32(max(1-next-float32(sigma*sigma), 0))), float64(sigma)
		moves[i] = m
	}
	return s.follow(ctx, net, x, 1, o.Noise, moves, s.Config.clip())
}

// before is ᾱ at timestep t, or last before timestep 0.
func (s *Schedule) before(t int, last float64) float64 {
	if t < 0 {
		return last
	}
	return s.AlphaBar[t]
}
