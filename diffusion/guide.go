package diffusion

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Guide is classifier-free guidance (Ho and Salimans 2022): ε̂ = ε̂(∅) + scale·(ε̂(c) - ε̂(∅)), where ∅ is the condition of
// an empty or negative prompt, [L,D] for all samples or [N,L,D]. Both halves run as one batch of 2N. A change of an
// [N,L,D] tensor's values reaches graphs that were built before; of an [L,D] tensor, it does not.
func Guide(d Denoiser, unconditional *tensor.Dense, scale float64) Denoiser {
	return Func(func(x, t, c *gorgonia.Node) (*gorgonia.Node, error) {
		empty, err := repeatRows(unconditional, c.Shape())
		if err != nil {
			return nil, err
		}
		b, n := nn.On(x), x.Shape()[0]
		x2, t2, c2 := concatRows(b, x, x), concatRows(b, t, t), concatRows(b, c, b.Param(empty))
		if b.Err() != nil {
			return nil, b.Err()
		}
		eps := b.Do(d.Denoise(x2, t2, c2))
		if b.Err() != nil {
			return nil, b.Err()
		}
		with := b.Do(kernels.Scale(b.Do(kernels.Slice(eps, 0, 0, n)), scale))
		without := b.Do(kernels.Scale(b.Do(kernels.Slice(eps, 0, n, 2*n)), 1-scale))
		return b.Result(b.Add(with, without))
	})
}

// repeatRows is t, or [L,D] repeated to shape [N,L,D].
func repeatRows(t *tensor.Dense, shape tensor.Shape) (*tensor.Dense, error) {
	switch {
	case t.Shape().Eq(shape):
		return t, nil
	case !t.Shape().Eq(shape[1:]):
		return nil, fmt.Errorf("diffusion: the unconditional condition %v does not fit conditions %v", t.Shape(), shape)
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
