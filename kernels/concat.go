package kernels

import (
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// Concat puts its inputs side by side on their last axis, which holds the channels: [...,C1],
// [...,C2], … → [...,C1+C2+…]. A single input is returned as it is.
func Concat(xs ...*gorgonia.Node) (*gorgonia.Node, error) {
	if len(xs) == 0 || xs[0] == nil {
		return ConcatAxis(0, xs...)
	}
	return ConcatAxis(xs[0].Dims()-1, xs...)
}

// ConcatAxis puts its inputs one behind the other on an axis. They have the same size on all other
// axes. A single input is returned as it is.
func ConcatAxis(axis int, xs ...*gorgonia.Node) (*gorgonia.Node, error) {
	if len(xs) == 1 && xs[0] != nil {
		return xs[0], nil
	}
	return Apply(concat{Axis: axis}, xs...)
}

// concat is ConcatAxis.
type concat struct{ Axis int }

func (r concat) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if len(in) == 0 {
		return nil, errors.New("there are no inputs")
	}
	if _, _, err := around(in[0], r.Axis); err != nil {
		return nil, err
	}
	to := in[0].Clone()
	for _, x := range in[1:] {
		if x.Dims() != to.Dims() ||
			!slices.Equal(x[:r.Axis], to[:r.Axis]) ||
			!slices.Equal(x[r.Axis+1:], to[r.Axis+1:]) {
			return nil, fmt.Errorf("%v and %v differ beside axis %d", in[0], x, r.Axis)
		}
		to[r.Axis] += x[r.Axis]
	}
	return to, nil
}

func (concat) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r concat) Eval(c *Context, dst Tensor, in []Tensor) {
	rows, behind, _ := around(dst.Shape, r.Axis)
	at := 0
	for _, x := range in {
		n := x.Shape[r.Axis] * behind
		cpu.CopyRows(c.pool, dst.Data[at:], x.Data, rows, dst.Shape[r.Axis]*behind, n, n)
		at += n
	}
}

func (r concat) launch(c *call) {
	rows, behind, _ := around(c.dst.Shape, r.Axis)
	at, stride := 0, c.dst.Shape[r.Axis]*behind
	for _, x := range c.in {
		n := x.Shape[r.Axis] * behind
		cuda.CopyRows(c.Queue, c.dst.From(at), x.Tensor, rows, stride, n, n)
		at += n
	}
}

func (concat) Differentiable(n int) []bool { return allTrue(n) }

func (r concat) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	sizes := make([]int, len(in))
	for i, x := range in {
		sizes[i] = x.Shape()[r.Axis]
	}
	return Split(dout, r.Axis, sizes...)
}
