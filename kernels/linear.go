package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// Linear returns x·wᵀ + b. x is [...,in], w is [out,in], b is [out], or nil for none, and the
// result is [...,out].
func Linear(x, w, b *gorgonia.Node) (*gorgonia.Node, error) {
	if b == nil {
		return Apply(linear{}, x, w)
	}
	return Apply(linear{Bias: true}, x, w, b)
}

// linear is Linear. Its inputs are x, w and, with Bias, b.
type linear struct{ Bias bool }

func (r linear) Shape(in []tensor.Shape) (tensor.Shape, error) {
	x, w := in[0], in[1]
	if x.Dims() < 1 || w.Dims() != 2 || x[x.Dims()-1] != w[1] {
		return nil, fmt.Errorf("x %v and w %v are not [...,in] and [out,in]", x, w)
	}
	if r.Bias && !in[2].Eq(tensor.Shape{w[0]}) {
		return nil, fmt.Errorf("bias %v is not [%d]", in[2], w[0])
	}
	out := x.Clone()
	out[out.Dims()-1] = w[0]
	return out, nil
}

// of is the product without its values.
func (linear) of(x, w tensor.Shape) cpu.Product {
	return cpu.Product{
		M: leading(x), N: w[0], K: w[1],
		A: cpu.Matrix{Stride: w[1]}, B: cpu.Matrix{Stride: w[1], Transposed: true},
		C: cpu.Matrix{Stride: w[0]},
	}
}

func (r linear) Workspace(c *Context, in []tensor.Shape) int {
	return workspaceOf(c, r.of(in[0], in[1]), false)
}

func (linear) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return product(p, in, 2)
}

func (r linear) Eval(c *Context, dst Tensor, in []Tensor) {
	p := r.of(in[0].Shape, in[1].Shape)
	if r.Bias {
		p.Bias = in[2].Data
	}
	multiply(c, &p, in[0], in[1], dst)
}

func (r linear) launch(c *call) { r.launchWith(c, cuda.Epilogue{}) }

func (r linear) launchWith(c *call, e cuda.Epilogue) {
	x, w := c.in[0], c.in[1]
	p := cuda.Product{
		M: leading(x.Shape), N: w.Shape[0], K: w.Shape[1],
		A: x.Tensor, B: w.Tensor, TransB: true, C: c.dst.Tensor, Epilogue: e,
	}
	if r.Bias {
		p.Bias = c.in[2].Tensor
	}
	cuda.Gemm(c.Queue, p, c.workspace(p.Workspace()))
}

func (r linear) Differentiable(n int) []bool { return allTrue(n) }

func (r linear) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(linearInputGrad{}, dout, in[1])
	if err != nil {
		return nil, err
	}
	dw, err := Apply(linearWeightGrad{}, dout, in[0])
	if err != nil {
		return nil, err
	}
	if !r.Bias {
		return gorgonia.Nodes{dx, dw}, nil
	}
	db, err := Apply(columnSums{}, dout)
	return gorgonia.Nodes{dx, dw, db}, err
}

// linearInputGrad is dy·w, the gradient of Linear by x: dy [...,out], w [out,in] → [...,in].
type linearInputGrad struct{}

func (linearInputGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	dy, w := in[0], in[1]
	if dy.Dims() < 1 || w.Dims() != 2 || dy[dy.Dims()-1] != w[0] {
		return nil, fmt.Errorf("dy %v and w %v are not [...,out] and [out,in]", dy, w)
	}
	out := dy.Clone()
	out[out.Dims()-1] = w[1]
	return out, nil
}

// of is the product without its values.
func (linearInputGrad) of(dy, w tensor.Shape) cpu.Product {
	return cpu.Product{
		M: leading(dy), N: w[1], K: w[0],
		A: cpu.Matrix{Stride: w[0]}, B: cpu.Matrix{Stride: w[1]}, C: cpu.Matrix{Stride: w[1]},
	}
}

func (r linearInputGrad) Workspace(c *Context, in []tensor.Shape) int {
	return workspaceOf(c, r.of(in[0], in[1]), false)
}

func (linearInputGrad) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return product(p, in, 2)
}

func (r linearInputGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	p := r.of(in[0].Shape, in[1].Shape)
	multiply(c, &p, in[0], in[1], dst)
}

func (r linearInputGrad) launch(c *call) { r.launchWith(c, cuda.Epilogue{}) }

func (linearInputGrad) launchWith(c *call, e cuda.Epilogue) {
	dy, w := c.in[0], c.in[1]
	p := cuda.Product{
		M: leading(dy.Shape), N: w.Shape[1], K: w.Shape[0],
		A: dy.Tensor, B: w.Tensor, C: c.dst.Tensor, Epilogue: e,
	}
	cuda.Gemm(c.Queue, p, c.workspace(p.Workspace()))
}

func (linearInputGrad) Differentiable(n int) []bool { return allTrue(n) }

func (linearInputGrad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	return grads(
		func() (*gorgonia.Node, error) { return Apply(linear{}, dout, in[1]) },
		func() (*gorgonia.Node, error) { return Apply(linearWeightGrad{}, in[0], dout) },
	)
}

// linearWeightGrad is dyᵀ·x, the gradient of Linear by w: dy [...,out], x [...,in] → [out,in].
type linearWeightGrad struct{}

func (linearWeightGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	dy, x := in[0], in[1]
	if dy.Dims() < 1 || x.Dims() != dy.Dims() || leading(dy) != leading(x) {
		return nil, fmt.Errorf("dy %v and x %v are not [...,out] and [...,in]", dy, x)
	}
	return tensor.Shape{dy[dy.Dims()-1], x[x.Dims()-1]}, nil
}

// of is the product without its values.
func (linearWeightGrad) of(dy, x tensor.Shape) cpu.Product {
	m, n := width(dy), width(x)
	return cpu.Product{
		M: m, N: n, K: leading(x),
		A: cpu.Matrix{Stride: m, Transposed: true}, B: cpu.Matrix{Stride: n},
		C: cpu.Matrix{Stride: n},
	}
}

func (r linearWeightGrad) Workspace(c *Context, in []tensor.Shape) int {
	return workspaceOf(c, r.of(in[0], in[1]), true)
}

// Types says that the gradient of a parameter is float32.
func (linearWeightGrad) Types(p Precision, in []Precision) ([]Precision, Precision) {
	takes, _ := product(p, in, 2)
	return takes, Float32
}

func (r linearWeightGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	p := r.of(in[0].Shape, in[1].Shape)
	multiply(c, &p, in[0], in[1], dst)
}

func (linearWeightGrad) launch(c *call) {
	dy, x := c.in[0], c.in[1]
	p := cuda.Product{
		M: c.dst.Shape[0], N: c.dst.Shape[1], K: leading(x.Shape),
		A: dy.Tensor, TransA: true, B: x.Tensor, C: c.dst.Tensor,
	}
	cuda.Gemm(c.Queue, p, c.workspace(p.Workspace()))
}

func (linearWeightGrad) Differentiable(n int) []bool { return allTrue(n) }

func (linearWeightGrad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	return grads(
		func() (*gorgonia.Node, error) { return Apply(linear{}, in[1], dout) },
		func() (*gorgonia.Node, error) { return Apply(linearInputGrad{}, in[0], dout) },
	)
}

// columnSums is the sum over all axes but the last: [...,C] → [C]. It is the gradient of a bias.
type columnSums struct{}

func (columnSums) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if in[0].Dims() < 1 {
		return nil, fmt.Errorf("a scalar has no columns")
	}
	return tensor.Shape{in[0][in[0].Dims()-1]}, nil
}

func (columnSums) Workspace(c *Context, in []tensor.Shape) int {
	return floats(cpu.ColumnSumsWorkspace(leading(in[0]), in[0][in[0].Dims()-1]))
}

// Types says that the gradient of a parameter is float32.
func (columnSums) Types(p Precision, in []Precision) ([]Precision, Precision) {
	takes, _ := product(p, in, 1)
	return takes, Float32
}

func (columnSums) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.ColumnSums(c.pool, dst.Data, in[0].Data, leading(in[0].Shape), dst.Shape[0], c.Workspace())
}

func (columnSums) launch(c *call) {
	x := c.in[0]
	rows, columns := leading(x.Shape), c.dst.Shape[0]
	ws := c.workspace(cuda.SumMiddleWorkspace(x.Type, 1, rows, columns))
	cuda.ColumnSums(c.Queue, c.dst.Tensor, x.Tensor, rows, columns, ws)
}

func (columnSums) Differentiable(n int) []bool { return make([]bool, n) }

func (columnSums) Grad(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return gorgonia.Nodes{nil}, nil
}

// leading returns the product of all dimensions but the last.
func leading(s tensor.Shape) int {
	n := 1
	for _, d := range s[:len(s)-1] {
		n *= d
	}
	return n
}

// width returns the last dimension.
func width(s tensor.Shape) int { return s[len(s)-1] }

// multiply computes p of the values of a and b.
func multiply(c *Context, p *cpu.Product, a, b, dst Tensor) {
	p.A.Data, p.B.Data, p.C.Data = a.Data, b.Data, dst.Data
	cpu.Gemm(c.pool, p, c.Workspace())
}

// allTrue returns a slice that holds true n times.
func allTrue(n int) []bool {
	b := make([]bool, n)
	for i := range b {
		b[i] = true
	}
	return b
}

// grads makes each gradient node in turn. It stops at the first error.
func grads(makers ...func() (*gorgonia.Node, error)) (gorgonia.Nodes, error) {
	nodes := make(gorgonia.Nodes, len(makers))
	for i, m := range makers {
		var err error
		if nodes[i], err = m(); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}
