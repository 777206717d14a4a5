// Package diffusiontest tests samplers without weights: a Gaussian has a denoiser in closed form, and so has the
// path that a sampler should follow.
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

// spread is the standard deviation of a noisy latent at ᾱ: x_t is normal around √ᾱ·Mean.
func (g Gaussian) spread(bar float64) float64 { return math.Sqrt(bar*g.Std*g.Std + 1 - bar) }

// Predict is the best possible network: E[ε | x_t] = √(1-ᾱ)·(x_t - √ᾱ·Mean) / (ᾱ·Std² + 1 - ᾱ). It is a diffusion.Network.
func (g Gaussian) Predict(x *tensor.Dense, t float64) (*tensor.Dense, error) {
	bar := g.AlphaBar(t)
	eps := tensor.New(tensor.WithShape(x.Shape().Clone()...), tensor.Of(tensor.Float32))
	out := eps.Float32s()
	for i, v := range x.Float32s() {
		out[i] = float32(math.Sqrt(1-bar) * (float64(v) - math.Sqrt(bar)*g.Mean) / (g.spread(bar) * g.spread(bar)))
	}
	return eps, nil
}

// AlphaBar is ᾱ at a timestep; between two of them, σ = √(1/ᾱ - 1) is on a straight line, as Euler has it.
func (g Gaussian) AlphaBar(t float64) float64 {
	sigma := func(t int) float64 { return math.Sqrt(1/g.Schedule.AlphaBar[t] - 1) }
	low := int(t)
	if t == float64(low) {
		return g.Schedule.AlphaBar[low]
	}
	between := sigma(low) + (t-float64(low))*(sigma(low+1)-sigma(low))
	return 1 / (1 + between*between)
}

// Follow is where the probability-flow equation (Song et al. 2021, eq. 13) carries a value from one ᾱ to another: its
// distance from the mean, in standard deviations, stays what it is.
func (g Gaussian) Follow(x, from, to float64) float64 {
	return math.Sqrt(to)*g.Mean + (x-math.Sqrt(from)*g.Mean)/g.spread(from)*g.spread(to)
}
