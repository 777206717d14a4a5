package kernels

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// Mean returns the mean over an axis. The result does not have that axis: for axis 1, [N,L,D] →
// [N,D].
func Mean(x *gorgonia.Node, axis int) (*gorgonia.Node, error) {
	scale := 1.0
	if x != nil && axis >= 0 && axis < x.Dims() {
		scale = 1 / float64(x.Shape()[axis])
	}
	return Apply(sumAxis{Axis: axis, Scale: scale}, x)
}

// SumAxis returns the sum over an axis. The result does not have that axis: for axis 1, [N,L,D] →
// [N,D].
func SumAxis(x *gorgonia.Node, axis int) (*gorgonia.Node, error) {
	return Apply(sumAxis{Axis: axis, Scale: 1}, x)
}

// Repeat returns x n times along a new axis: for axis 0, [D] → [n,D]; for axis 1, [N,D] → [N,n,D].
func Repeat(x *gorgonia.Node, axis, n int) (*gorgonia.Node, error) {
	return Apply(repeat{Axis: axis, N: n, Scale: 1}, x)
}

// sumAxis is Scale times the sum over an axis. The sum is accumulated in float64.
type sumAxis struct {
	Axis  int
	Scale float64
}

func (r sumAxis) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if _, _, err := around(in[0], r.Axis); err != nil {
		return nil, err
	}
	return slices.Delete(in[0].Clone(), r.Axis, r.Axis+1), nil
}

// Types says that a sum is float32, whatever the type of its terms.
func (sumAxis) Types(_ Precision, in []Precision) ([]Precision, Precision) { return in, Float32 }

func (r sumAxis) Eval(c *Context, dst Tensor, in []Tensor) {
	s := in[0].Shape
	before, behind, _ := around(s, r.Axis)
	cpu.SumMiddle(c.pool, dst.Data, in[0].Data, before, s[r.Axis], behind, r.Scale)
}

func (r sumAxis) launch(c *call) {
	x := c.in[0]
	before, behind, _ := around(x.Shape, r.Axis)
	n := x.Shape[r.Axis]
	ws := c.workspace(cuda.SumMiddleWorkspace(x.Type, before, n, behind))
	cuda.SumMiddle(c.Queue, c.dst.Tensor, x.Tensor, before, n, behind, r.Scale, ws)
}

func (sumAxis) Differentiable(n int) []bool { return allTrue(n) }

func (r sumAxis) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(repeat{Axis: r.Axis, N: in[0].Shape()[r.Axis], Scale: r.Scale}, dout)
	return gorgonia.Nodes{dx}, err
}

// repeat is Scale times x, N times along a new axis.
type repeat struct {
	Axis, N int
	Scale   float64
}

func (r repeat) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if r.Axis < 0 || r.Axis > in[0].Dims() || r.N < 1 {
		const wrong = "%v cannot be repeated %d times along a new axis %d"
		return nil, fmt.Errorf(wrong, in[0], r.N, r.Axis)
	}
	return slices.Insert(in[0].Clone(), r.Axis, r.N), nil
}

func (repeat) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r repeat) Eval(c *Context, dst Tensor, in []Tensor) {
	before, behind, _ := around(dst.Shape, r.Axis)
	cpu.RepeatMiddle(c.pool, dst.Data, in[0].Data, before, r.N, behind, r.Scale)
}

func (r repeat) launch(c *call) {
	before, behind, _ := around(c.dst.Shape, r.Axis)
	cuda.RepeatMiddle(c.Queue, c.dst.Tensor, c.in[0].Tensor, before, r.N, behind, r.Scale)
}

func (repeat) Differentiable(n int) []bool { return allTrue(n) }

func (r repeat) Grad(_ gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(sumAxis{Axis: r.Axis, Scale: r.Scale}, dout)
	return gorgonia.Nodes{dx}, err
}

// AddTime adds t [N,C], an embedding of each sample's timestep, to all pixels or tokens of the
// sample. x is [N,H,W,C] or [N,L,C], and so is the result.
func AddTime(x, t *gorgonia.Node) (*gorgonia.Node, error) {
	return Apply(addRepeated{Lead: 1}, x, t)
}

// AddPositions adds p [L,D] to every sample of x [N,L,D].
func AddPositions(x, p *gorgonia.Node) (*gorgonia.Node, error) {
	return Apply(addRepeated{Lead: 0}, x, p)
}

// addRepeated is x + y for a y that lacks some axes of x. The first Lead axes of y are the first
// axes of x. The others are the last axes of x.
type addRepeated struct{ Lead int }

func (r addRepeated) Shape(in []tensor.Shape) (tensor.Shape, error) {
	x, y := in[0], in[1]
	trail := y.Dims() - r.Lead
	if trail < 1 || x.Dims() <= y.Dims() ||
		!slices.Equal(x[:r.Lead], y[:r.Lead]) ||
		!slices.Equal(x[x.Dims()-trail:], y[r.Lead:]) {
		const wrong = "%v does not fit %v: its first %d axes are not the other's first " +
			"and its last the other's last"
		return nil, fmt.Errorf(wrong, y, x, r.Lead)
	}
	return x.Clone(), nil
}

// InPlace says that the sum may overwrite x.
func (addRepeated) InPlace() int { return 0 }

func (addRepeated) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r addRepeated) Eval(c *Context, dst Tensor, in []Tensor) {
	x, y := in[0], in[1]
	before, behind := volume(y.Shape[:r.Lead]), volume(y.Shape[r.Lead:])
	middle := len(x.Data) / (before * behind)
	cpu.AddMiddle(c.pool, dst.Data, x.Data, y.Data, before, middle, behind)
}

func (r addRepeated) launch(c *call) {
	x, y := c.in[0].Tensor, c.in[1]
	before, behind := volume(y.Shape[:r.Lead]), volume(y.Shape[r.Lead:])
	middle := x.Len / (before * behind)
	cuda.AddMiddle(c.Queue, c.dst.Tensor, x, y.Tensor, before, middle, behind)
}

func (addRepeated) Differentiable(n int) []bool { return allTrue(n) }

func (r addRepeated) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	y := in[1].Shape()
	a, c := volume(y[:r.Lead]), volume(y[r.Lead:])
	dy, err := Reshape(dout, a, dout.Shape().TotalSize()/(a*c), c)
	if err != nil {
		return nil, err
	}
	if dy, err = SumAxis(dy, 1); err != nil {
		return nil, err
	}
	dy, err = Reshape(dy, y...)
	return gorgonia.Nodes{dout, dy}, err
}
