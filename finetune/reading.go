package finetune

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// CleanOf is x̂₀ [N,H,W,C], the clean latents that follow from Noisy and from what a network said
// of them: Predicted, Reference's, or what another of the same Prediction says at the same
// Timesteps. Training fails where they do not follow: an ε says nothing of x₀ where there is no
// signal.
func (b *Batch) CleanOf(said *gorgonia.Node) (*gorgonia.Node, error) {
	return b.read(&b.readClean, "x̂₀", said)
}

// NoiseOf is ε̂ [N,H,W,C], the noise that follows in the same way.
func (b *Batch) NoiseOf(said *gorgonia.Node) (*gorgonia.Node, error) {
	return b.read(&b.readNoise, "ε̂", said)
}

// A reading holds, for each sample of a batch, what Noisy and what is said of it are multiplied by.
type reading struct{ x, said *tensor.Dense }

// read is the reading r, which is filled in for each step from now on.
func (b *Batch) read(r **reading, name string, said *gorgonia.Node) (*gorgonia.Node, error) {
	shape := b.Noisy.Shape()
	if said == nil || !said.Shape().Eq(shape) {
		return nil, fmt.Errorf("finetune: what is said is not of the latents' shape %v", shape)
	}
	if *r == nil {
		unset := func() *tensor.Dense {
			nan := []float32{float32(math.NaN())}
			return tensor.New(tensor.WithBacking(slices.Repeat(nan, shape[0])))
		}
		*r = &reading{unset(), unset()}
	}
	n, size := shape[0], shape.TotalSize()/shape[0]
	on := nn.On(b.Noisy)
	times := func(x *gorgonia.Node, factor *tensor.Dense, of string) *gorgonia.Node {
		wide := on.Do(kernels.Repeat(kernels.Input(b.Graph, name+" of "+of, factor), 1, size))
		return on.Do(kernels.Mul(on.Reshape(x, n, size), wide))
	}
	x, y := times(b.Noisy, (*r).x, "x"), times(said, (*r).said, "what is said")
	if on.Err() != nil {
		return nil, on.Err()
	}
	return on.Result(on.Reshape(on.Add(x, y), shape...))
}

// setLevels fills in what CleanOf and NoiseOf read by: a network's Prediction, at the level of each
// sample of the next step.
func (b *Batch) setLevels(p diffusion.Prediction, levels []diffusion.Level) error {
	for i, l := range levels {
		clean, noise, err := p.Read(l)
		if b.readClean.set(i, clean) || b.readNoise.set(i, noise) {
			return fmt.Errorf("sample %d: %w", i, err)
		}
	}
	return nil
}

// set fills in sample i, unless nobody asks for r. It reports a reading that does not exist.
func (r *reading) set(i int, by diffusion.Reading) (singular bool) {
	if r == nil {
		return false
	}
	r.x.Float32s()[i], r.said.Float32s()[i] = float32(by.X/by.By), float32(by.Said/by.By)
	return by.By == 0
}
