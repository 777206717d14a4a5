package diffusion

import (
	"context"
	"fmt"
	"iter"
	"math"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/rng"
)

// A Network is what samplers call: the predicted noise ε̂ [N,H,W,C] of latents x [N,H,W,C] that are all at
// timestep t. The result is valid until the next call. Compile makes one of a Denoiser.
type Network func(x *tensor.Dense, t float64) (*tensor.Dense, error)

// A Step is the state of sampling after one step.
type Step struct {
	Index    int           // 0 to Of-1
	Of       int           // steps in all
	Timestep float64       // where the network was asked
	Latent   *tensor.Dense // [N,H,W,C] after the step
	Clean    *tensor.Dense // [N,H,W,C], the prediction x̂₀ from which the step was made
}

// A Noise fills dst, one sample's [H,W,C], with standard normal values. Draw 0 is where sampling starts, draw i+1
// belongs to step i. It depends on nothing but its arguments.
type Noise func(row, draw int, dst []float32)

// SeededNoise gives row r of a batch the noise of sample first+r, so that a sample does not depend on its batch.
func SeededNoise(seed, first uint64) Noise {
	return func(row, draw int, dst []float32) {
		rng.Normal(dst, seed, "sampling noise", uint64(draw), first+uint64(row))
	}
}

// Start is draw 0 of every row: pure noise of shape [N,H,W,C].
func (n Noise) Start(shape ...int) *tensor.Dense {
	x := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	n.fill(x, 0)
	return x
}

func (n Noise) fill(x *tensor.Dense, draw int) {
	data, rows := x.Float32s(), x.Shape()[0]
	size := len(data) / rows
	for row := range rows {
		n(row, draw, data[row*size:(row+1)*size])
	}
}

// A move is how one step is made: the next state is clean·x̂₀ + eps·ε̂ + state·x + noise·n.
type move struct{ clean, eps, state, noise float64 }

// walk asks the network at every timestep and makes the moves that next gives; a move's noise is draw i+1 of n.
func walk(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, times []int, n Noise, next func(t int) move) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if x.Dtype() != tensor.Float32 || x.Dims() < 2 {
			yield(Step{}, fmt.Errorf("diffusion: sampling starts at %v %v, not at float32 [N,H,W,C]", x.Dtype(), x.Shape()))
			return
		}
		for i, t := range times {
			if err := context.Cause(ctx); err != nil {
				yield(Step{}, fmt.Errorf("diffusion: step %d of %d: %w", i, len(times), err))
				return
			}
			m, noise := next(t), (*tensor.Dense)(nil)
			if m.noise != 0 && n == nil {
				yield(Step{}, fmt.Errorf("diffusion: step %d of %d draws noise, and Noise is nil", i, len(times)))
				return
			}
			if m.noise != 0 {
				noise = like(x)
				n.fill(noise, i+1)
			}
			eps, err := predict(net, x, float64(t))
			if err != nil {
				yield(Step{}, err)
				return
			}
			step := Step{Index: i, Of: len(times), Timestep: float64(t), Latent: like(x), Clean: like(x)}
			s.move(step, m, t, x, eps, noise)
			x = step.Latent
			if !yield(step, nil) {
				return
			}
		}
	}
}

// move fills in a step from state x at timestep t.
func (s *Schedule) move(step Step, m move, t int, x, eps, noise *tensor.Dense) {
	state, e, clean, next := x.Float32s(), eps.Float32s(), step.Clean.Float32s(), step.Latent.Float32s()
	signal, sigma, clip := math.Sqrt(s.AlphaBar[t]), math.Sqrt(1-s.AlphaBar[t]), s.Config.clip()
	for i := range state {
		x0 := (float64(state[i]) - sigma*float64(e[i])) / signal
		x0 = min(max(x0, -clip), clip)
		y := m.clean*x0 + m.eps*float64(e[i]) + m.state*float64(state[i])
		if noise != nil {
			y += m.noise * float64(noise.Float32s()[i])
		}
		clean[i], next[i] = float32(x0), float32(y)
	}
}

// predict calls the network and checks what it returns.
func predict(net Network, x *tensor.Dense, t float64) (*tensor.Dense, error) {
	eps, err := net(x, t)
	if err != nil {
		return nil, err
	}
	if eps.Dtype() != tensor.Float32 || !eps.Shape().Eq(x.Shape()) {
		return nil, fmt.Errorf("diffusion: the network made %v %v of latents %v", eps.Dtype(), eps.Shape(), x.Shape())
	}
	return eps, nil
}

func like(x *tensor.Dense) *tensor.Dense {
	return tensor.New(tensor.WithShape(x.Shape().Clone()...), tensor.Of(tensor.Float32))
}

// Last runs a sampler to its end and returns the last step.
func Last(steps iter.Seq2[Step, error]) (Step, error) {
	var last Step
	for step, err := range steps {
		if err != nil {
			return Step{}, err
		}
		last = step
	}
	return last, nil
}
