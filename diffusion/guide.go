package diffusion

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Guide is classifier-free guidance (Ho and Salimans 2022). Of what the network says, y, it makes
//
//	y(∅) + scale·(y(c) - y(∅))
//
// where ∅ is the condition of an empty or negative prompt: one sample's, which counts for all, or a
// batch's. It must have the parts of c. Whatever the network predicts, x̂₀ and ε̂ are guided in
// the same way, because the weights of y(∅) and y(c) sum to 1. Both halves run as one batch of 2N.
// Where ∅ is a batch's, graphs that were built before see a change of its values; where it is one
// sample's, they do not.
func Guide(d Denoiser, unconditional dataset.Condition, scale float64) Denoiser {
	return Func(func(x, t *gorgonia.Node, c Condition) (*gorgonia.Node, error) {
		if d == nil {
			return nil, errNoDenoiser
		}
		b, n := nn.On(x), x.Shape()[0]
		var c2 Condition
		for _, part := range []struct {
			name string
			to   **gorgonia.Node
			with *gorgonia.Node
			none *tensor.Dense
		}{
			{"tokens", &c2.Tokens, c.Tokens, unconditional.Tokens},
			{"pooled", &c2.Pooled, c.Pooled, unconditional.Pooled},
			{"sizes", &c2.Sizes, c.Sizes, unconditional.Sizes},
		} {
			if part.with == nil && part.none == nil {
				continue
			}
			if part.with == nil || part.none == nil {
				return nil, fmt.Errorf("diffusion: of the conditions and the unconditional one, "+
					"one has no %s", part.name)
			}
			empty, err := repeatRows(part.none, part.with.Shape())
			if err != nil {
				return nil, fmt.Errorf("diffusion: the unconditional condition's %s %w",
					part.name, err)
			}
			*part.to = concatRows(b, part.with, b.Param(empty))
		}
		x2, t2 := concatRows(b, x, x), concatRows(b, t, t)
		if b.Err() != nil {
			return nil, b.Err()
		}
		said := b.Do(d.Predict(x2, t2, c2))
		if b.Err() != nil {
			return nil, b.Err()
		}
		with := b.Do(kernels.Scale(b.Do(kernels.Slice(said, 0, 0, n)), scale))
		without := b.Do(kernels.Scale(b.Do(kernels.Slice(said, 0, n, 2*n)), 1-scale))
		return b.Result(b.Add(with, without))
	})
}

// repeatRows is t, or one sample's t repeated to shape [N,...].
func repeatRows(t *tensor.Dense, shape tensor.Shape) (*tensor.Dense, error) {
	switch {
	case t.Shape().Eq(shape):
		return t, nil
	case !t.Shape().Eq(shape[1:]):
		return nil, fmt.Errorf("%v do not fit %v", t.Shape(), shape)
	}
	all := tensor.New(tensor.WithShape(shape.Clone()...), tensor.Of(tensor.Float32))
	for i := range shape[0] {
		copy(all.Float32s()[i*t.Shape().TotalSize():], t.Float32s())
	}
	return all, nil
}

// concatRows joins two nodes of one shape [N,...] to [2N,...].
func concatRows(b *nn.Builder, x, y *gorgonia.Node) *gorgonia.Node {
	shape := b.Shape(x, 1).Clone()
	size := shape.TotalSize()
	both := b.Do(kernels.Concat(b.Reshape(x, 1, size), b.Reshape(y, 1, size)))
	shape[0] *= 2
	return b.Reshape(both, shape...)
}
