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

// Slice returns the part of x whose coordinate on the axis is in [start, end). A part that is
// contiguous, such as a few samples of a batch, is a View, of which a Machine copies nothing. An
// empty part is an error.
func Slice(x *gorgonia.Node, axis, start, end int) (*gorgonia.Node, error) {
	r := slice{Axis: axis, Start: start, End: end}
	if x == nil {
		return Apply(r, x)
	}
	to, err := r.Shape([]tensor.Shape{x.Shape()})
	if err != nil {
		return nil, fmt.Errorf("kernels: Slice: %w", err)
	}
	if slices.Equal(to, x.Shape()) {
		return x, nil
	}
	before, behind, _ := around(to, axis)
	if before == 1 {
		return View(x, start*behind, to...)
	}
	return Apply(r, x)
}

// Split cuts x along the axis into parts of the given sizes. It is an error if the sizes do not add
// up to the size of the axis.
func Split(x *gorgonia.Node, axis int, sizes ...int) (gorgonia.Nodes, error) {
	if x == nil {
		return nil, errors.New("kernels: Split: the input is nil")
	}
	if _, _, err := around(x.Shape(), axis); err != nil {
		return nil, fmt.Errorf("kernels: Split: %w", err)
	}
	parts := make(gorgonia.Nodes, len(sizes))
	at := 0
	for i, n := range sizes {
		var err error
		if parts[i], err = Slice(x, axis, at, at+n); err != nil {
			return nil, err
		}
		at += n
	}
	if d := x.Shape()[axis]; at != d {
		const wrong = "kernels: Split: sizes %v add up to %d, axis %d of %v has %d"
		return nil, fmt.Errorf(wrong, sizes, at, axis, x.Shape(), d)
	}
	return parts, nil
}

// slice is Slice.
type slice struct{ Axis, Start, End int }

func (r slice) Shape(in []tensor.Shape) (tensor.Shape, error) {
	x := in[0]
	if _, _, err := around(x, r.Axis); err != nil {
		return nil, err
	}
	if r.Start < 0 || r.Start >= r.End || r.End > x[r.Axis] {
		const wrong = "[%d, %d) is empty or not within axis %d of %v"
		return nil, fmt.Errorf(wrong, r.Start, r.End, r.Axis, x)
	}
	to := x.Clone()
	to[r.Axis] = r.End - r.Start
	return to, nil
}

func (slice) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r slice) Eval(c *Context, dst Tensor, in []Tensor) {
	x := in[0]
	rows, behind, _ := around(x.Shape, r.Axis)
	n := (r.End - r.Start) * behind
	cpu.CopyRows(c.pool, dst.Data, x.Data[r.Start*behind:], rows, n, x.Shape[r.Axis]*behind, n)
}

func (r slice) launch(c *call) {
	x := c.in[0]
	rows, behind, _ := around(x.Shape, r.Axis)
	n := (r.End - r.Start) * behind
	from := x.From(r.Start * behind)
	cuda.CopyRows(c.Queue, c.dst.Tensor, from, rows, n, x.Shape[r.Axis]*behind, n)
}

func (slice) Differentiable(n int) []bool { return allTrue(n) }

func (r slice) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(pad{Axis: r.Axis, Start: r.Start, Size: in[0].Shape()[r.Axis]}, dout)
	return gorgonia.Nodes{dx}, err
}

// pad is the gradient of a slice. It adds zeros around x until its axis is Size long. x begins at
// Start.
type pad struct{ Axis, Start, Size int }

func (r pad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	x := in[0]
	if _, _, err := around(x, r.Axis); err != nil {
		return nil, err
	}
	if r.Start < 0 || r.Start+x[r.Axis] > r.Size {
		return nil, fmt.Errorf("axis %d of %v does not fit in %d at %d", r.Axis, x, r.Size, r.Start)
	}
	to := x.Clone()
	to[r.Axis] = r.Size
	return to, nil
}

func (pad) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r pad) Eval(c *Context, dst Tensor, in []Tensor) {
	x := in[0]
	rows, behind, _ := around(x.Shape, r.Axis)
	n := x.Shape[r.Axis] * behind
	cpu.Fill(c.pool, dst.Data, 0)
	cpu.CopyRows(c.pool, dst.Data[r.Start*behind:], x.Data, rows, r.Size*behind, n, n)
}

func (r pad) launch(c *call) {
	x := c.in[0]
	rows, behind, _ := around(x.Shape, r.Axis)
	n := x.Shape[r.Axis] * behind
	cuda.Fill(c.Queue, c.dst.Tensor, 0)
	to := c.dst.From(r.Start * behind)
	cuda.CopyRows(c.Queue, to, x.Tensor, rows, r.Size*behind, n, n)
}

func (pad) Differentiable(n int) []bool { return allTrue(n) }

func (r pad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Slice(dout, r.Axis, r.Start, r.Start+in[0].Shape()[r.Axis])
	return gorgonia.Nodes{dx}, err
}
