package optim

import (
	"fmt"
	"math"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"gorgonia.org/tensor"
)

// A Clipper limits gradients by the norm of all of them together. The zero value is ready to use.
// It keeps memory between calls.
type Clipper struct {
	sums   []float64
	scaled map[*float32]bool // the first elements of gradients that are scaled
}

// Clip scales the gradients in place, so that the Euclidean norm of all of them together is at most
// max. It returns the norm that they had. Like PyTorch's clip_grad_norm_ it scales by
// max/(norm + 1e-6) if that is below 1. The norm is computed in float64. It does not depend on the
// number of workers. A norm that is not finite is an error, and the gradients stay as they are.
//
// Parameters whose gradients are equal may share one tensor, as two biases that are added to the
// same value do. It counts in the norm for each of them and is scaled once.
func (c *Clipper) Clip(max float64, grads ...*tensor.Dense) (norm float64, err error) {
	if norm, err = c.Norm(grads...); err != nil {
		return norm, err
	}
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return norm, fmt.Errorf("optim: the gradients' norm is %v", norm)
	}
	c.shrink(max, norm, grads)
	return norm, nil
}

// shrink scales gradients that have this norm to at most max.
func (c *Clipper) shrink(max, norm float64, grads []*tensor.Dense) {
	scale := max / (norm + 1e-6)
	if !(scale < 1) {
		return
	}
	if c.scaled == nil {
		c.scaled = make(map[*float32]bool)
	}
	clear(c.scaled)
	for _, g := range grads {
		x := g.Float32s()
		if len(x) == 0 || c.scaled[&x[0]] {
			continue
		}
		c.scaled[&x[0]] = true
		cpu.Scale(cpu.Shared, x, x, float32(scale))
	}
}

// Norm returns the Euclidean norm of all gradients together. It is an error if one is not a
// contiguous float32 tensor.
func (c *Clipper) Norm(grads ...*tensor.Dense) (float64, error) {
	var sum float64
	for i, g := range grads {
		if g == nil || g.Dtype() != tensor.Float32 || g.RequiresIterator() {
			return 0, fmt.Errorf("optim: gradient %d is not a contiguous float32 tensor", i)
		}
		x := g.Float32s()
		if n := cpu.SumSquaresWorkspace(len(x)); n > len(c.sums) {
			c.sums = make([]float64, n)
		}
		sum += cpu.SumSquares(cpu.Shared, x, c.sums)
	}
	return math.Sqrt(sum), nil
}
