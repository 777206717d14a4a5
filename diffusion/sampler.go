package diffusion

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/rng"
)

// A Network is what samplers call. It returns what a network says [N,H,W,C] of latents x [N,H,W,C],
// all of them at timestep t: ε, v or another value that the schedule's Prediction names. The result
// is valid until the next call. Compile makes a Network of a Denoiser.
type Network func(x *tensor.Dense, t float64) (*tensor.Dense, error)

// SampleOptions are what samplers can be told.
type SampleOptions struct {
	// Steps is the number of sampling steps, from 1 to the number of timesteps in training. 15 to
	// 50 are usual, and 10 to 25 for PNDM and DPMSolver.
	Steps int
	// Eta is DDIM's: 0 is deterministic, 1 draws as much noise as DDPM. Other samplers have none
	// and refuse it.
	Eta float64
	// Noise is read only by samplers that draw noise.
	Noise Noise
}

// A Step is the state of sampling after one step. A step that draws noise has drawn its Latent from
// a normal distribution, each element by itself, whose mean is Mean and whose standard deviation is
// Sigma. For those who train by it: had the network said something else, the mean would be Mean +
// Gain·(that - Said), where no x̂₀ is clamped.
type Step struct {
	Index    int     // 0 to Of-1
	Of       int     // steps in all
	Timestep float64 // where the network was asked

	// Latent is [N,H,W,C] after the step; before the last, those of Euler and EulerAncestral are
	// x_t/√ᾱ_t.
	Latent *tensor.Dense
	Mean   *tensor.Dense // [N,H,W,C], Latent without the noise; Latent itself where there is none
	Sigma  float64       // 0 where there is none
	Clean  *tensor.Dense // [N,H,W,C], the prediction x̂₀ from which the step was made
	Said   *tensor.Dense // [N,H,W,C], what the network said; valid until the next step
	Gain   float64       // 0 for PNDM, whose steps are made of several answers
}

// Steps are what samplers yield. After an error there are no more.
type Steps = iter.Seq2[Step, error]

// A Noise fills dst, one sample's [H,W,C], with standard normal values. Draw 0 is where sampling
// starts, draw i+1 belongs to step i. It depends on nothing but its arguments.
type Noise func(row, draw int, dst []float32)

// SeededNoise gives row r of a batch the noise of sample first+r, so that a sample does not depend
// on its batch.
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

// A visit is one call of the network: it is shown scale·x at a timestep. A step whose sigma is not
// 0 draws noise.
type visit struct{ timestep, scale, sigma, gain float64 }

// An advance makes step i, of which it fills in Latent, Mean and Clean, from the state, what the
// network said of it and noise (nil if the visit draws none). The slices are valid until it
// returns.
type advance func(i int, x, said, noise []float32, step Step)

// walk visits the network and makes a step after each, beginning at start·x; step i's noise is draw
// i+1 of n. Each time that its result is ranged over, begin makes a new advance.
func walk(
	ctx context.Context, net Network, x *tensor.Dense, start float64, n Noise,
	visits []visit, begin func() advance,
) Steps {
	return func(yield func(Step, error) bool) {
		if net == nil || x == nil {
			yield(Step{}, errors.New("diffusion: there is no Network to ask, or no latents to "+
				"start at: it is nil"))
			return
		}
		if x.Dtype() != tensor.Float32 || x.Dims() < 2 {
			yield(Step{}, fmt.Errorf("diffusion: sampling starts at %v %v, not at float32 "+
				"[N,H,W,C]", x.Dtype(), x.Shape()))
			return
		}
		x, advance := scaled(x, start), begin()
		for i, v := range visits {
			if err := context.Cause(ctx); err != nil {
				yield(Step{}, fmt.Errorf("diffusion: step %d of %d: %w", i, len(visits), err))
				return
			}
			if v.sigma != 0 && n == nil {
				yield(Step{}, fmt.Errorf("diffusion: step %d of %d draws noise, and Noise is nil",
					i, len(visits)))
				return
			}
			step := Step{
				Index: i, Of: len(visits), Timestep: v.timestep,
				Latent: like(x), Sigma: v.sigma, Clean: like(x), Gain: v.gain,
			}
			step.Mean = step.Latent
			var noise []float32
			if v.sigma != 0 {
				step.Mean = like(x)
				draw := like(x)
				n.fill(draw, i+1)
				noise = draw.Float32s()
			}
			said, err := predict(net, scaled(x, v.scale), v.timestep)
			if err != nil {
				yield(Step{}, err)
				return
			}
			step.Said = said
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

// A move is a step that is a sum: the network is asked about scale·x at a level, and the next state
// is
//
//	clean·x̂₀ + eps·ε̂ + state·x + past·(x̂₀ of the step before) + sigma·n
type move struct {
	Level
	scale, clean, eps, state, past, sigma float64
}

// follow makes moves, beginning at start·x, with x̂₀ clamped to [-clip, clip].
func (p Prediction) follow(
	ctx context.Context, net Network, x *tensor.Dense, start float64, n Noise,
	moves []move, clip float64,
) Steps {
	visits := make([]visit, len(moves))
	for i, m := range moves {
		// Without signal, x̂₀ of an ε is infinite, and finite where it is clamped.
		clean, eps, err := p.Read(m.Level)
		if err != nil && (m.Signal != 0 || math.IsInf(clip, 1)) {
			return failed(err)
		}
		gain := m.clean*clean.Said/clean.By + m.eps*eps.Said/eps.By
		visits[i] = visit{m.Timestep, m.scale, m.sigma, gain}
	}
	return walk(ctx, net, x, start, n, visits, func() advance {
		var past []float32
		return func(i int, x, said, noise []float32, step Step) {
			m, clean := moves[i], step.Clean.Float32s()
			mean, next := step.Mean.Float32s(), step.Latent.Float32s()
			readClean, readEps, _ := p.Read(m.Level)
			for j := range x {
				shown, word := m.scale*float64(x[j]), float64(said[j])
				x0 := min(max(readClean.Of(shown, word), -clip), clip)
				y := m.clean*x0 + m.eps*readEps.Of(shown, word) + m.state*float64(x[j])
				if m.past != 0 {
					y += m.past * float64(past[j])
				}
				clean[j], mean[j] = float32(x0), float32(y)
				if noise != nil {
					y += m.sigma * float64(noise[j])
				}
				next[j] = float32(y)
			}
			past = clean
		}
	})
}

// predict calls the network and checks what it returns.
func predict(net Network, x *tensor.Dense, t float64) (*tensor.Dense, error) {
	said, err := net(x, t)
	if err != nil {
		return nil, err
	}
	if said.Dtype() != tensor.Float32 || !said.Shape().Eq(x.Shape()) {
		return nil, fmt.Errorf("diffusion: the network made %v %v of latents %v",
			said.Dtype(), said.Shape(), x.Shape())
	}
	return said, nil
}

func like(x *tensor.Dense) *tensor.Dense {
	return tensor.New(tensor.WithShape(x.Shape().Clone()...), tensor.Of(tensor.Float32))
}

// Last runs a sampler to its end and returns the last step.
func Last(steps Steps) (Step, error) {
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
func failed(err error) Steps {
	return func(yield func(Step, error) bool) { yield(Step{}, err) }
}
