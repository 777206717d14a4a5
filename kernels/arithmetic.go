package kernels

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// Add returns x + y. They have one shape.
func Add(x, y *gorgonia.Node) (*gorgonia.Node, error) { return Apply(add{}, x, y) }

type add struct{}

func (add) Shape(in []tensor.Shape) (tensor.Shape, error) { return sameShape(in) }
func (add) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.Add(c.pool, dst.Data, in[0].Data, in[1].Data)
}
func (add) launch(c *call) {
	cuda.Add(c.Queue, c.dst.Tensor, c.in[0].Tensor, c.in[1].Tensor)
}
func (add) InPlace() int                { return 0 }
func (add) Differentiable(n int) []bool { return allTrue(n) }

func (add) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (add) Grad(_ gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	return gorgonia.Nodes{dout, dout}, nil
}

// Sub returns x − y. They have one shape.
func Sub(x, y *gorgonia.Node) (*gorgonia.Node, error) { return Apply(sub{}, x, y) }

type sub struct{}

func (sub) Shape(in []tensor.Shape) (tensor.Shape, error)              { return sameShape(in) }
func (sub) InPlace() int                                               { return 0 }
func (sub) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }
func (sub) Differentiable(n int) []bool                                { return allTrue(n) }

func (sub) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.SubScale(c.pool, dst.Data, in[0].Data, in[1].Data, 1)
}

func (sub) launch(c *call) {
	cuda.SubScale(c.Queue, c.dst.Tensor, c.in[0].Tensor, c.in[1].Tensor, 1)
}

func (sub) Grad(_ gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dy, err := Scale(dout, -1)
	return gorgonia.Nodes{dout, dy}, err
}

// Mul returns x·y, element by element. They have one shape.
func Mul(x, y *gorgonia.Node) (*gorgonia.Node, error) { return Apply(mul{}, x, y) }

type mul struct{}

func (mul) Shape(in []tensor.Shape) (tensor.Shape, error) { return sameShape(in) }
func (mul) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.Mul(c.pool, dst.Data, in[0].Data, in[1].Data)
}

func (mul) launch(c *call) {
	cuda.Mul(c.Queue, c.dst.Tensor, c.in[0].Tensor, c.in[1].Tensor)
}

func (mul) InPlace() int                { return 0 }
func (mul) Differentiable(n int) []bool { return allTrue(n) }

func (mul) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (mul) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	return grads(
		func() (*gorgonia.Node, error) { return Mul(dout, in[1]) },
		func() (*gorgonia.Node, error) { return Mul(dout, in[0]) },
	)
}

// Scale returns a·x. x has any shape.
func Scale(x *gorgonia.Node, a float64) (*gorgonia.Node, error) { return Apply(scale{a}, x) }

type scale struct{ By float64 }

func (scale) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (r scale) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.Scale(c.pool, dst.Data, in[0].Data, float32(r.By))
}

func (r scale) launch(c *call) {
	cuda.Scale(c.Queue, c.dst.Tensor, c.in[0].Tensor, r.By)
}

func (scale) InPlace() int                { return 0 }
func (scale) Differentiable(n int) []bool { return allTrue(n) }

func (scale) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r scale) Grad(_ gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Scale(dout, r.By)
	return gorgonia.Nodes{dx}, err
}

// Sum returns the sum of all elements of x, a scalar. It is accumulated in float64.
func Sum(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(sumAll{}, x) }

type sumAll struct{}

func (sumAll) Shape([]tensor.Shape) (tensor.Shape, error) { return tensor.ScalarShape(), nil }
func (sumAll) Workspace(c *Context, in []tensor.Shape) int {
	return floats(cpu.ReduceWorkspace(in[0].TotalSize()))
}
func (sumAll) Differentiable(n int) []bool { return allTrue(n) }

// Types says that a sum is float32, whatever the type of its terms.
func (sumAll) Types(_ Precision, in []Precision) ([]Precision, Precision) { return in, Float32 }

func (sumAll) Eval(c *Context, dst Tensor, in []Tensor) {
	dst.Data[0] = float32(cpu.Sum(c.pool, in[0].Data, c.Workspace()))
}

func (sumAll) launch(c *call) {
	x := c.in[0].Tensor
	cuda.Sum(c.Queue, c.dst.Tensor, x, c.workspace(cuda.SumWorkspace(x.Len)))
}

func (sumAll) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(spread{Of: fmt.Sprint(in[0].Shape())}, in[0], dout)
	return gorgonia.Nodes{dx}, err
}

// spread fills the shape of its first input with its second, a scalar. It does not read the values
// of the first.
type spread struct{ Of string }

func (spread) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (spread) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.Fill(c.pool, dst.Data, in[1].Data[0])
}

func (spread) launch(c *call) {
	cuda.FillWith(c.Queue, c.dst.Tensor, c.in[1].Tensor)
}

func (spread) Differentiable(n int) []bool { return make([]bool, n) }

func (spread) Types(_ Precision, in []Precision) ([]Precision, Precision) {
	return []Precision{in[0], Float32}, in[0]
}

func (spread) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// L2Normalize divides each row of the last axis of x by the row's Euclidean norm. A row of zeros
// stays as it is.
func L2Normalize(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(l2Normalize{}, x) }

type l2Normalize struct{}

func (l2Normalize) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if in[0].Dims() < 1 {
		return nil, fmt.Errorf("a scalar has no rows")
	}
	return in[0].Clone(), nil
}
func (l2Normalize) Differentiable(n int) []bool { return allTrue(n) }

func (l2Normalize) Eval(_ *Context, dst Tensor, in []Tensor) {
	width := dst.Shape[len(dst.Shape)-1]
	for i := 0; i < len(dst.Data); i += width {
		x, y := in[0].Data[i:i+width], dst.Data[i:i+width]
		norm := rowNorm(x)
		for j, v := range x {
			y[j] = float32(float64(v) / norm)
		}
	}
}

func (l2Normalize) launch(c *call) {
	cuda.L2Normalize(c.Queue, c.dst.Tensor, c.in[0].Tensor, width(c.dst.Shape))
}

// rowNorm returns the Euclidean norm of a row, and 1 for a row of zeros.
func rowNorm(x []float32) float64 {
	var square float64
	for _, v := range x {
		square += float64(v) * float64(v)
	}
	if square == 0 {
		return 1
	}
	return math.Sqrt(square)
}

func (l2Normalize) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(l2NormalizeGrad{}, in[0], dout)
	return gorgonia.Nodes{dx}, err
}

// l2NormalizeGrad is (dy − y·Σ y·dy)/‖x‖ for each row. Its inputs are x and dy.
type l2NormalizeGrad struct{}

func (l2NormalizeGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return sameShape(in) }
func (l2NormalizeGrad) Differentiable(n int) []bool                   { return make([]bool, n) }

func (l2NormalizeGrad) Eval(_ *Context, dst Tensor, in []Tensor) {
	width := dst.Shape[len(dst.Shape)-1]
	for i := 0; i < len(dst.Data); i += width {
		x, dy, dx := in[0].Data[i:i+width], in[1].Data[i:i+width], dst.Data[i:i+width]
		norm := rowNorm(x)
		var dot float64
		for j, v := range x {
			dot += float64(v) / norm * float64(dy[j])
		}
		for j, v := range x {
			dx[j] = float32((float64(dy[j]) - float64(v)/norm*dot) / norm)
		}
	}
}

func (l2NormalizeGrad) launch(c *call) {
	x, dy := c.in[0].Tensor, c.in[1].Tensor
	cuda.L2NormalizeGrad(c.Queue, c.dst.Tensor, x, dy, width(c.dst.Shape))
}

func (l2NormalizeGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}
