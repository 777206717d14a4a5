// Package diffusiontest tests samplers without weights: a Gaussian has a denoiser in closed form,
// and so has the path that a sampler should follow.
package diffusiontest

import (
	"math"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
)

// A Gaussian is a world whose latents' values are all independent and normal.
type Gaussian struct {
	Mean, Std float64
	Schedule  *diffusion.Schedule
}

// Spread is the standard deviation of a noisy latent at a level, whose mean is Signal·Mean.
func (g Gaussian) Spread(l diffusion.Level) float64 { return math.Hypot(l.Signal*g.Std, l.Noise) }

// Predict is the best possible network, a diffusion.Network: what the schedule's Prediction makes
// of
//
//	E[ε | x]  = Noise·z / Spread
//	E[x₀ | x] = Mean + Signal·Std²·z / Spread
//
// where z = (x - Signal·Mean) / Spread is how far out x is.
func (g Gaussian) Predict(x *tensor.Dense, t float64) (*tensor.Dense, error) {
	l := g.Schedule.Process.At(t)
	spread := g.Spread(l)
	like := func() *tensor.Dense {
		return tensor.New(tensor.WithShape(x.Shape().Clone()...), tensor.Of(tensor.Float32))
	}
	clean, noise, said := like(), like(), like()
	for i, v := range x.Float32s() {
		z := (float64(v) - l.Signal*g.Mean) / spread
		clean.Float32s()[i] = float32(g.Mean + l.Signal*g.Std*g.Std*z/spread)
		noise.Float32s()[i] = float32(l.Noise * z / spread)
	}
	levels := make([]diffusion.Level, x.Shape()[0])
	for i := range levels {
		levels[i] = l
	}
	return said, g.Schedule.Prediction.Target(said, clean, noise, levels)
}

// Follow is where the probability-flow equation (Song et al. 2021, eq. 13) carries a value from one
// level to another: its distance from the mean, in standard deviations, stays what it is.
func (g Gaussian) Follow(x float64, from, to diffusion.Level) float64 {
	return to.Signal*g.Mean + (x-from.Signal*g.Mean)/g.Spread(from)*g.Spread(to)
}
