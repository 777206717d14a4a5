package diffusion

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// FromVelocity makes a Denoiser of a network that predicts v = √ᾱ·ε - √(1-ᾱ)·x₀ (Salimans and Ho 2022, appendix D):
// ε̂ = √ᾱ·v̂ + √(1-ᾱ)·x. Timesteps must be whole numbers.
func FromVelocity(v Denoiser, s *Schedule) Denoiser {
	signal := table(s, func(bar float64) float64 { return math.Sqrt(bar) })
	sigma := table(s, func(bar float64) float64 { return math.Sqrt(1 - bar) })
	return Func(func(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error) {
		y, err := v.Denoise(x, t, c)
		if err != nil {
			return nil, err
		}
		b := nn.On(x)
		return b.Result(b.Add(scaleRows(b, y, t, signal), scaleRows(b, x, t, sigma)))
	})
}

// FromClean makes a Denoiser of a network that predicts x₀: ε̂ = (x - √ᾱ·x̂₀)/√(1-ᾱ). Timesteps must be whole numbers.
func FromClean(clean Denoiser, s *Schedule) Denoiser {
	scale := table(s, func(bar float64) float64 { return 1 / math.Sqrt(1-bar) })
	minus := table(s, func(bar float64) float64 { return -math.Sqrt(bar / (1 - bar)) })
	return Func(func(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error) {
		y, err := clean.Denoise(x, t, c)
		if err != nil {
			return nil, err
		}
		b := nn.On(x)
		return b.Result(b.Add(scaleRows(b, y, t, minus), scaleRows(b, x, t, scale)))
	})
}

// Denoiser is the schedule's network as a Denoiser, whatever it predicts.
func (s *Schedule) Denoiser(network Denoiser) Denoiser {
	if s.Velocity {
		return FromVelocity(network, s)
	}
	if s.Clean {
		return FromClean(network, s)
	}
	return network
}

// table is a function of ᾱ at every timestep, [T,1].
func table(s *Schedule, f func(bar float64) float64) *tensor.Dense {
	values := make([]float32, len(s.AlphaBar))
	for t, bar := range s.AlphaBar {
		values[t] = float32(f(bar))
	}
	return tensor.New(tensor.WithShape(len(values), 1), tensor.WithBacking(values))
}

// scaleRows multiplies each sample of x [N,...] by the entry of a table [T,1] at its timestep t [N].
func scaleRows(b *nn.Builder, x, t *gorgonia.Node, table *tensor.Dense) *gorgonia.Node {
	shape := x.Shape().Clone()
	n, size := shape[0], shape.TotalSize()/shape[0]
	factor := b.Do(kernels.Embedding(b.Param(table), b.Reshape(t, n, 1))) // [N,1,1]
	ones := tensor.New(tensor.WithShape(size, 1), tensor.Of(tensor.Float32))
	for i := range ones.Float32s() {
		ones.Float32s()[i] = 1
	}
	one := kernels.Input(x.Graph(), fmt.Sprintf("%d ones", size), ones)
	wide := b.Do(kernels.Linear(b.Reshape(factor, n, 1), one, nil))
	return b.Do(kernels.Mul(x, b.Reshape(wide, shape...)))
}
