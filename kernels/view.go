package kernels

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// Reshape returns x with other dimensions, and the same values in the same order. A Machine copies
// nothing. It is an error if the sizes differ.
func Reshape(x *gorgonia.Node, dims ...int) (*gorgonia.Node, error) {
	if x == nil {
		return Apply(view{To: dims}, x)
	}
	if slices.Equal(x.Shape(), dims) { // Shape.Eq takes [n] and [1,n] for the same
		return x, nil
	}
	if tensor.Shape(dims).TotalSize() != x.Shape().TotalSize() {
		const wrong = "kernels: Reshape: %v and %v differ in size"
		return nil, fmt.Errorf(wrong, x.Shape(), tensor.Shape(dims))
	}
	return View(x, 0, dims...)
}

// View returns the values of x from offset on, in row-major order, as a tensor of the given
// dimensions. A Machine copies nothing. View separates the results of an operation that computes
// several gradients at once and packs them into one flat result.
func View(x *gorgonia.Node, offset int, dims ...int) (*gorgonia.Node, error) {
	return Apply(view{Offset: offset, To: dims}, x)
}

// view is View.
type view struct {
	Offset int
	To     tensor.Shape
}

func (r view) Shape(in []tensor.Shape) (tensor.Shape, error) {
	for _, d := range r.To {
		if d < 1 {
			return nil, fmt.Errorf("dimensions %v are not all positive", r.To)
		}
	}
	if r.Offset < 0 || r.Offset+r.To.TotalSize() > in[0].TotalSize() {
		return nil, fmt.Errorf("%v from value %d on is not within %v", r.To, r.Offset, in[0])
	}
	return r.To.Clone(), nil
}

func (r view) Alias() int { return r.Offset }

func (r view) Eval(c *Context, dst Tensor, in []Tensor) {
	n := len(dst.Data)
	cpu.CopyRows(c.pool, dst.Data, in[0].Data[r.Offset:], 1, n, n, n)
}

func (view) Differentiable(n int) []bool { return allTrue(n) }

func (r view) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	x := in[0].Shape()
	if x.TotalSize() == r.To.TotalSize() {
		dx, err := View(dout, 0, x...)
		return gorgonia.Nodes{dx}, err
	}
	dx, err := Apply(unview{Offset: r.Offset, To: x}, dout)
	return gorgonia.Nodes{dx}, err
}

// unview is the gradient of a part. It writes the values of x at Offset, with zeros around them.
type unview struct {
	Offset int
	To     tensor.Shape
}

func (r unview) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if r.Offset < 0 || r.Offset+in[0].TotalSize() > r.To.TotalSize() {
		return nil, fmt.Errorf("%v from value %d on is not within %v", in[0], r.Offset, r.To)
	}
	return r.To.Clone(), nil
}

func (unview) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r unview) Eval(c *Context, dst Tensor, in []Tensor) {
	n := len(in[0].Data)
	cpu.Fill(c.pool, dst.Data[:r.Offset], 0)
	cpu.CopyRows(c.pool, dst.Data[r.Offset:], in[0].Data, 1, n, n, n)
	cpu.Fill(c.pool, dst.Data[r.Offset+n:], 0)
}

func (r unview) launch(c *call) {
	n := c.in[0].Len
	cuda.Fill(c.Queue, c.dst.Tensor, 0)
	cuda.CopyRows(c.Queue, c.dst.From(r.Offset), c.in[0].Tensor, 1, n, n, n)
}

func (unview) Differentiable(n int) []bool { return allTrue(n) }

func (r unview) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := View(dout, r.Offset, in[0].Shape()...)
	return gorgonia.Nodes{dx}, err
}

// around returns the product of the dimensions before an axis and of those behind it, or an error
// if s has no such axis.
func around(s tensor.Shape, axis int) (before, behind int, err error) {
	if axis < 0 || axis >= s.Dims() {
		return 0, 0, fmt.Errorf("%v has no axis %d", s, axis)
	}
	return volume(s[:axis]), volume(s[axis+1:]), nil
}

// volume returns the product of dimensions, 1 if there are none.
func volume(dims []int) int {
	n := 1
	for _, d := range dims {
		n *= d
	}
	return n
}
