package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// An Activation is what a norm applies to its result as part of the same operation.
type Activation uint8

const (
	// Identity is no activation. It is the zero value.
	Identity Activation = iota
	// SiLUActivation is SiLU, x·σ(x).
	SiLUActivation
)

// String is the activation's name in lower case, such as "silu".
func (a Activation) String() string {
	switch a {
	case Identity:
		return "identity"
	case SiLUActivation:
		return "silu"
	}
	return fmt.Sprintf("Activation(%d)", uint8(a))
}

// GroupNorm normalizes x [N,...,C] and returns act(x̂·scale + shift) [N,...,C], where x̂ is x
// normalized and scale and shift are [C] (Wu and He 2018). The channels are cut into groups of
// C/groups neighbours. x̂ has mean 0 and variance 1 in each group of each sample, over all
// positions. eps is added to the variance and is positive. It is an error if groups does not divide
// C.
func GroupNorm(
	x, scale, shift *gorgonia.Node, groups int, eps float64, act Activation,
) (*gorgonia.Node, error) {
	if groups < 1 {
		return nil, fmt.Errorf("kernels: GroupNorm: %d groups", groups)
	}
	return Apply(norm{Groups: groups, Eps: eps, Activation: act}, x, scale, shift)
}

// LayerNorm normalizes each row of the last axis of x [...,C] and returns act(x̂·scale + shift)
// [...,C], where x̂ is x normalized and scale and shift are [C] (Ba et al. 2016). x̂ has mean 0 and
// variance 1 in each row. eps is added to the variance and is positive.
func LayerNorm(
	x, scale, shift *gorgonia.Node, eps float64, act Activation,
) (*gorgonia.Node, error) {
	return Apply(norm{Eps: eps, Activation: act}, x, scale, shift)
}

// norm is a group norm, or a layer norm if Groups is 0. Its inputs are x, scale and shift.
type norm struct {
	Groups     int
	Eps        float64
	Activation Activation
}

// of is r for x of this shape, as package cpu has it.
func (r norm) of(x tensor.Shape) cpu.NormShape {
	c := x[x.Dims()-1]
	s := cpu.NormShape{
		N: leading(x), P: 1, C: c, Groups: 1, Eps: r.Eps, SiLU: r.Activation == SiLUActivation,
	}
	if r.Groups > 0 {
		s.N, s.P, s.Groups = x[0], leading(x)/x[0], r.Groups
	}
	return s
}

func (r norm) Shape(in []tensor.Shape) (tensor.Shape, error) {
	x := in[0]
	if x.Dims() < 1 || r.Groups > 0 && x.Dims() < 2 {
		return nil, fmt.Errorf("x %v has too few dimensions", x)
	}
	c := tensor.Shape{x[x.Dims()-1]}
	if !in[1].Eq(c) || !in[2].Eq(c) {
		return nil, fmt.Errorf("scale %v and shift %v are not %v", in[1], in[2], c)
	}
	if r.Groups < 0 || r.Groups > 0 && c[0]%r.Groups != 0 {
		return nil, fmt.Errorf("%d channels are not divided by %d groups", c[0], r.Groups)
	}
	if !(r.Eps > 0) {
		return nil, fmt.Errorf("eps is %v", r.Eps)
	}
	if r.Activation > SiLUActivation {
		return nil, fmt.Errorf("norms have no %v", r.Activation)
	}
	return x.Clone(), nil
}

func (r norm) Workspace(c *Context, in []tensor.Shape) int {
	return floats(r.of(in[0]).Workspace())
}

func (norm) Differentiable(n int) []bool { return allTrue(n) }

func (norm) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return product(p, in, 1)
}

func (r norm) Eval(c *Context, dst Tensor, in []Tensor) {
	x, scale, shift := in[0].Data, in[1].Data, in[2].Data
	cpu.Norm(c.pool, r.of(dst.Shape), dst.Data, x, scale, shift, c.Workspace())
}

func (r norm) launch(c *call) {
	s := cuda.NormShape(r.of(c.dst.Shape))
	x, scale, shift := c.in[0].Tensor, c.in[1].Tensor, c.in[2].Tensor
	cuda.Norm(c.Queue, s, c.dst.Tensor, x, scale, shift, c.workspace(cuda.NormWorkspace(s)))
}

func (r norm) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(normInputGrad(r), in[0], in[1], in[2], dout)
	if err != nil {
		return nil, err
	}
	packed, err := Apply(normParamGrad(r), in[0], in[1], in[2], dout)
	if err != nil {
		return nil, err
	}
	return unpack(packed, gorgonia.Nodes{dx}, in[1].Shape(), in[2].Shape())
}

// unpack returns nodes and, after them, the tensors of the given shapes that follow each other in
// packed.
func unpack(
	packed *gorgonia.Node, nodes gorgonia.Nodes, shapes ...tensor.Shape,
) (gorgonia.Nodes, error) {
	offset := 0
	for _, s := range shapes {
		n, err := View(packed, offset, s...)
		if err != nil {
			return nil, err
		}
		nodes = append(nodes, n)
		offset += s.TotalSize()
	}
	return nodes, nil
}

// normInputGrad is the gradient of norm by x. Its inputs are those of norm and dy.
type normInputGrad norm

func (r normInputGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	return sameShape([]tensor.Shape{in[0], in[3]})
}

func (r normInputGrad) Workspace(c *Context, in []tensor.Shape) int {
	return floats(norm(r).of(in[0]).Workspace())
}
func (normInputGrad) Differentiable(n int) []bool { return make([]bool, n) }

func (normInputGrad) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return []Precision{p, Float32, Float32, p}, p
}

func (r normInputGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	s := norm(r).of(dst.Shape)
	x, scale, shift, dy := in[0].Data, in[1].Data, in[2].Data, in[3].Data
	cpu.NormInputGrad(c.pool, s, dst.Data, x, scale, shift, dy, c.Workspace())
}

func (r normInputGrad) launch(c *call) {
	s := cuda.NormShape(norm(r).of(c.dst.Shape))
	x, scale, shift, dy := c.in[0].Tensor, c.in[1].Tensor, c.in[2].Tensor, c.in[3].Tensor
	ws := c.workspace(cuda.NormInputGradWorkspace(s))
	cuda.NormInputGrad(c.Queue, s, c.dst.Tensor, x, scale, shift, dy, ws)
}

func (normInputGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// normParamGrad is the gradient of norm by scale and by shift, one after the other: [2C]. Its
// inputs are those of norm and dy.
type normParamGrad norm

func (r normParamGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	return tensor.Shape{2 * in[1][0]}, nil
}

func (r normParamGrad) Workspace(c *Context, in []tensor.Shape) int {
	return floats(norm(r).of(in[0]).Workspace())
}
func (normParamGrad) Differentiable(n int) []bool { return make([]bool, n) }

// Types says that the gradient of a parameter is float32.
func (normParamGrad) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return []Precision{p, Float32, Float32, p}, Float32
}

func (r normParamGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	n := len(dst.Data) / 2
	dscale, dshift := dst.Data[:n], dst.Data[n:]
	s := norm(r).of(in[0].Shape)
	x, scale, shift, dy := in[0].Data, in[1].Data, in[2].Data, in[3].Data
	cpu.NormParamGrad(c.pool, s, dscale, dshift, x, scale, shift, dy, c.Workspace())
}

func (r normParamGrad) launch(c *call) {
	s := cuda.NormShape(norm(r).of(c.in[0].Shape))
	n := c.dst.Len / 2
	dscale, dshift := c.dst.First(n), c.dst.From(n)
	x, scale, shift, dy := c.in[0].Tensor, c.in[1].Tensor, c.in[2].Tensor, c.in[3].Tensor
	ws := c.workspace(cuda.NormParamGradWorkspace(s))
	cuda.NormParamGrad(c.Queue, s, dscale, dshift, x, scale, shift, dy, ws)
}

func (normParamGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}
