package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// SiLU returns x·σ(x), where σ is the logistic function. x has any shape.
func SiLU(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(unary{"SiLU"}, x) }

// GELU returns x·Φ(x), where Φ is the standard normal distribution function. It is the exact form,
// with erf. x has any shape.
func GELU(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(unary{"GELU"}, x) }

// QuickGELU returns x·σ(1.702·x), as OpenAI's CLIP has it. x has any shape.
func QuickGELU(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(unary{"QuickGELU"}, x) }

// ReLU returns max(x, 0). x has any shape.
func ReLU(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(unary{"ReLU"}, x) }

// Sigmoid returns σ(x) = 1/(1+e^−x). x has any shape.
func Sigmoid(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(unary{"Sigmoid"}, x) }

// Exp returns e^x. x has any shape.
func Exp(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(unary{"Exp"}, x) }

// Log returns ln x: −Inf at 0, NaN below. x has any shape.
func Log(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(unary{"Log"}, x) }

// Softplus returns ln(1 + e^x), which is −ln σ(−x). x has any shape. The loss of a preference is
// Softplus(−margin).
func Softplus(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(unary{"Softplus"}, x) }

// unaryBodies are the elementwise functions f, by name. grad multiplies by f', which is a function
// of x, or of y = f(x).
var unaryBodies = map[string]struct {
	eval       func(pool *cpu.Pool, dst, x []float32)
	grad       func(pool *cpu.Pool, dx, xy, dy []float32)
	fromResult bool // grad reads y, not x
}{
	"SiLU":      {eval: cpu.SiLU, grad: cpu.SiLUGrad},
	"GELU":      {eval: cpu.GELU, grad: cpu.GELUGrad},
	"QuickGELU": {eval: cpu.QuickGELU, grad: cpu.QuickGELUGrad},
	"ReLU":      {eval: cpu.ReLU, grad: cpu.ReLUGrad},
	"Sigmoid":   {eval: cpu.Sigmoid, grad: cpu.SigmoidGrad, fromResult: true},
	"Exp":       {eval: cpu.Exp, grad: cpu.Mul, fromResult: true},
	"Log":       {eval: cpu.Log, grad: cpu.LogGrad},
	"Softplus":  {eval: cpu.Softplus, grad: cpu.SoftplusGrad},
}

// unary applies a function to every element.
type unary struct{ Function string }

func (r unary) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (r unary) Eval(c *Context, dst Tensor, in []Tensor) {
	unaryBodies[r.Function].eval(c.pool, dst.Data, in[0].Data)
}

func (r unary) launch(c *call) {
	cuda.Unary(c.Queue, r.Function, c.dst.Tensor, c.in[0].Tensor)
}

func (unary) InPlace() int                { return 0 }
func (unary) Differentiable(n int) []bool { return allTrue(n) }

func (unary) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r unary) Grad(in gorgonia.Nodes, out, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	of := in[0]
	if unaryBodies[r.Function].fromResult {
		of = out
	}
	dx, err := Apply(unaryGrad(r), of, dout)
	return gorgonia.Nodes{dx}, err
}

// unaryGrad is the gradient of unary. Its inputs are x (or y, for functions whose fromResult is
// set) and dy.
type unaryGrad struct{ Function string }

func (r unaryGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return sameShape(in) }
func (unaryGrad) InPlace() int                                    { return 1 }
func (unaryGrad) Differentiable(n int) []bool                     { return make([]bool, n) }

func (unaryGrad) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r unaryGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	unaryBodies[r.Function].grad(c.pool, dst.Data, in[0].Data, in[1].Data)
}

func (r unaryGrad) launch(c *call) {
	cuda.UnaryGrad(c.Queue, r.Function, c.dst.Tensor, c.in[0].Tensor, c.in[1].Tensor)
}

func (unaryGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// sameShape returns the shape that all inputs have.
func sameShape(in []tensor.Shape) (tensor.Shape, error) {
	for _, s := range in[1:] {
		if !s.Eq(in[0]) {
			return nil, fmt.Errorf("shapes %v and %v differ", in[0], s)
		}
	}
	return in[0].Clone(), nil
}

// GEGLU splits the last axis of x [...,2C] and returns the first half times GELU of the second
// half: [...,C] (Shazeer 2020; the order is that of diffusers).
func GEGLU(x *gorgonia.Node) (*gorgonia.Node, error) { return Apply(geglu{}, x) }

type geglu struct{}

func (geglu) Shape(in []tensor.Shape) (tensor.Shape, error) {
	s := in[0].Clone()
	if s.Dims() < 1 || s[s.Dims()-1]%2 != 0 {
		return nil, fmt.Errorf("%v has no last axis that halves", s)
	}
	s[s.Dims()-1] /= 2
	return s, nil
}

func (geglu) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (geglu) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.GEGLU(c.pool, dst.Data, in[0].Data, dst.Shape[len(dst.Shape)-1])
}

func (geglu) launch(c *call) {
	cuda.GEGLU(c.Queue, c.dst.Tensor, c.in[0].Tensor, width(c.dst.Shape))
}

func (geglu) Differentiable(n int) []bool { return allTrue(n) }

func (geglu) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(gegluGrad{}, in[0], dout)
	return gorgonia.Nodes{dx}, err
}

// gegluGrad is the gradient of GEGLU. Its inputs are x and dy.
type gegluGrad struct{}

func (gegluGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (gegluGrad) Differentiable(n int) []bool                   { return make([]bool, n) }

func (gegluGrad) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (gegluGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	dy := in[1]
	cpu.GEGLUGrad(c.pool, dst.Data, in[0].Data, dy.Data, dy.Shape[len(dy.Shape)-1])
}

func (gegluGrad) launch(c *call) {
	x, dy := c.in[0].Tensor, c.in[1]
	cuda.GEGLUGrad(c.Queue, c.dst.Tensor, x, dy.Tensor, width(dy.Shape))
}

func (gegluGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}
