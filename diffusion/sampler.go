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
// timestep t, or what the schedule says that it predicts if the sampler is given Schedule.Native. The result is valid until the
// next call. Compile makes one of a Denoiser.
type Network func(x *tensor.Dense, t float64) (*tensor.Dense, error)

// A Step is the state of sampling after one step.
type Step struct {
	Index    int           // 0 to Of-1
	Of       int           // steps in all
	Timestep float64       // where the network was asked
	Latent   *tensor.Dense // [N,H,W,C] after the step; before the last, those of Euler and EulerAncestral are x_t/√ᾱ_t
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

// A visit is one call of the network: it is shown scale·x at a timestep. A step that draws noise gets it.
type visit struct {
	timestep, scale float64
	noise           bool
}

// An advance makes step i, of which it fills in Latent and Clean, from the state, what the network said of it and noise (nil if the
// visit draws none). The slices are valid until it returns.
type advance func(i int, x, said, noise []float32, step Step)

// walk visits the network and makes a step after each, beginning at start·x; step i's noise is draw i+1 of n. Each time that its
// result is ranged over, begin makes a new advance.
func walk(ctx context.Context, net Network, x *tensor.Dense, start float64, n Noise, visits []visit, begin func() advance) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if x.Dtype() != tensor.Float32 || x.Dims() < 2 {
			yield(Step{}, fmt.Errorf("diffusion: sampling starts at %v %v, not at float32 [N,H,W,C]", x.Dtype(), x.Shape()))
			return
		}
		x, advance := scaled(x, start), begin()
		for i, v := range visits {
			if err := context.Cause(ctx); err != nil {
				yield(Step{}, fmt.Errorf("diffusion: step %d of %d: %w", i, len(visits), err))
				return
			}
			var noise []float32
			if v.noise && n == nil {
				yield(Step{}, fmt.Errorf("diffusion: step %d of %d draws noise, and Noise is nil", i, len(visits)))
				return
			}
			if v.noise {
				draw := like(x)
				n.fill(draw, i+1)
				noise = draw.Float32s()
			}
			said, err := predict(net, scaled(x, v.scale), v.timestep)
			if err != nil {
				yield(Step{}, err)
				return
			}
			step := Step{Index: i, Of: len(visits), Timestep: v.timestep, Latent: like(x), Clean: like(x)}
			advance(i, x.Float32s(), said.Float32s(), noise, step)
			x = step.Latent
			if !yield(step, nil) {
				return
			}
		}
	}
}

// scaled is factor·x, x itself for 1.
func scaled(x *tensor.Dense, factor float64) *tensor.Dense {
	if factor == 1 {
		return x
	}
	y := like(x)
	for i, v := range x.Float32s() {
		y.Float32s()[i] = float32(factor * float64(v))
	}
	return y
}

// A move is a step that is a sum: the network is asked about scale·x = signal·x₀ + sigma·ε, and the next state is
// clean·x̂₀ + eps·ε̂ + state·x + past·(x̂₀ of the step before) + noise·n.
type move struct {
	timestep, scale, signal, sigma float64
	clean, eps, state, past, noise float64
}

// at is a move that asks about a state at timestep t, with √ᾱ and √(1-ᾱ) as float32 has them.
func (s *Schedule) at(t int) move {
	bar := float32(s.AlphaBar[t])
	return move{timestep: float64(t), scale: 1, signal: float64(sqrt32(bar)), sigma: float64(sqrt32(1 - bar))}
}

// follow makes moves, beginning at start·x, with x̂₀ clamped to [-clip, clip].
func (s *Schedule) follow(ctx context.Context, net Network, x *tensor.Dense, start float64, n Noise, moves []move, clip float64) iter.Seq2[Step, error] {
	visits, read := make([]visit, len(moves)), s.reading()
	for i, m := range moves {
		if m.signal == 0 && s.asksNoise() && math.IsInf(clip, 1) {
			return failed(fmt.Errorf("diffusion: there is no signal at timestep %g (rescale_betas_zero_snr), and no ε gives x₀ there", m.timestep))
		}
		visits[i] = visit{timestep: m.timestep, scale: m.scale, noise: m.noise != 0}
	}
	return walk(ctx, net, x, start, n, visits, func() advance {
		var past []float32
		return func(i int, x, said, noise []float32, step Step) {
			m, clean, next := moves[i], step.Clean.Float32s(), step.Latent.Float32s()
			for j := range x {
				x0, eps := read(m.scale*float64(x[j]), float64(said[j]), m.signal, m.sigma)
				x0 = min(max(x0, -clip), clip)
				y := m.clean*x0 + m.eps*eps + m.state*float64(x[j])
				if m.past != 0 {
					y += m.past * float64(past[j])
				}
				if noise != nil {
					y += m.noise * float64(noise[j])
				}
				clean[j], next[j] = float32(x0), float32(y)
			}
			past = clean
		}
	})
}

// A reading makes x̂₀ and ε̂ of what a network said of x = signal·x₀ + sigma·ε.
type reading func(x, said, signal, sigma float64) (clean, eps float64)

func readNoise(x, said, signal, sigma float64) (clean, eps float64) {
	return (x - sigma*said) / signal, said
}

func readVelocity(x, said, signal, sigma float64) (clean, eps float64) {
	return signal*x - sigma*said, signal*said + sigma*x
}

func readClean(x, said, signal, sigma float64) (clean, eps float64) {
	return said, (x - signal*said) / sigma
}

// reading is how samplers read the network that they are called with.
func (s *Schedule) reading() reading {
	switch {
	case s.asksNoise():
		return readNoise
	case s.Velocity:
		return readVelocity
	default:
		return readClean
	}
}

// asksNoise says that samplers are called with a network that predicts ε.
func (s *Schedule) asksNoise() bool { return !s.native || !s.Velocity && !s.Clean }

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

// failed yields one error.
func failed(err error) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) { yield(Step{}, err) }
}
