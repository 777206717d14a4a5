package diffusion

import (
	"fmt"

	"gorgonia.org/tensor"
)

// A Level is where a noisy latent stands: it is Signal·x₀ + Noise·ε.
type Level struct {
	Signal, Noise float64
	Timestep      float64 // what the network is told of it
}

// SNR is the signal-to-noise ratio of variances.
func (l Level) SNR() float64 { return l.Signal * l.Signal / (l.Noise * l.Noise) }

// Levels are the distribution that training draws levels from, as its quantile function. Of u, from
// 0 up to 1 without 1, it returns the level such that a share u of all levels have less noise. So
// the noise grows with u, and where u is uniform the levels have the distribution.
type Levels func(u float64) Level

// A Process is how latents become noise.
type Process interface {
	// From returns the Levels that training draws from by default, restricted to timesteps of least
	// and more; From(0) are all. Whether a picture shows what its prompt asks for is decided where
	// there is much noise. If there are no such levels, they are NaN.
	From(least int) Levels
	// At is the level at which a network is told the timestep t. If no level has this timestep, it
	// is NaN.
	At(t float64) Level
}

// Disturb writes the noisy latents Signal·x + Noise·noise to dst, which may be x or noise. All
// three are float32 [N, …] of one shape. levels holds one level for each sample.
func Disturb(dst, x, noise *tensor.Dense, levels []Level) error {
	return combine(dst, x, noise, levels, func(l Level) (signal, sigma float64) {
		return l.Signal, l.Noise
	})
}

// combine writes a·x + b·noise, where weigh gives a and b at a sample's level.
func combine(dst, x, noise *tensor.Dense, levels []Level, weigh func(Level) (a, b float64)) error {
	for _, d := range []*tensor.Dense{dst, x, noise} {
		if d.Dtype() != tensor.Float32 || !d.Shape().Eq(x.Shape()) || x.Dims() < 1 ||
			x.Shape()[0] != len(levels) {
			return fmt.Errorf(
				"diffusion: %d levels do not fit latents %v, noise %v, result %v, all float32",
				len(levels), x.Shape(), noise.Shape(), dst.Shape())
		}
	}
	out, xs, es := dst.Float32s(), x.Float32s(), noise.Float32s()
	size := len(xs) / max(len(levels), 1)
	for row, l := range levels {
		a, b := weigh(l)
		if !(a-a == 0 && b-b == 0) {
			return fmt.Errorf("diffusion: sample %d has no level: %+v", row, l)
		}
		for i := row * size; i < (row+1)*size; i++ {
			out[i] = float32(a*float64(xs[i]) + b*float64(es[i]))
		}
	}
	return nil
}
