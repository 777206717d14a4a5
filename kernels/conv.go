package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// Conv is the stride and the padding of a convolution.
type Conv struct {
	Stride                   int // in both directions; 0 means 1
	Top, Bottom, Left, Right int // rows and columns of zeros around the image
}

// Same returns a Conv of stride 1 that keeps the size of images, for a kernel of kernel×kernel.
// kernel is odd.
func Same(kernel int) Conv {
	p := kernel / 2
	return Conv{Stride: 1, Top: p, Bottom: p, Left: p, Right: p}
}

// Conv2D returns the convolution of x [N,H,W,Cin] with w [Cout,KH,KW,Cin], plus b [Cout] unless b
// is nil. It is a cross-correlation, as everywhere in the field. The result is [N,OH,OW,Cout], with
// OH = ⌊(H + Top + Bottom − KH)/Stride⌋ + 1 and OW likewise.
func Conv2D(x, w, b *gorgonia.Node, c Conv) (*gorgonia.Node, error) {
	if c.Stride == 0 {
		c.Stride = 1
	}
	if b == nil {
		return Apply(conv2D{Conv: c}, x, w)
	}
	return Apply(conv2D{Conv: c, Bias: true}, x, w, b)
}

// geometry is the convolution c of x [N,H,W,Cin] with w [Cout,KH,KW,Cin], as package cpu has it.
func (c Conv) geometry(x, w tensor.Shape) cpu.Conv {
	return cpu.Conv{
		N: x[0], H: x[1], W: x[2], In: x[3], Out: w[0], KH: w[1], KW: w[2],
		Stride: c.Stride, Top: c.Top, Bottom: c.Bottom, Left: c.Left, Right: c.Right,
	}
}

// winogradFor reports whether the passes of a convolution use Winograd's algorithm.
func (c *Context) winogradFor(g *cpu.Conv) bool {
	if c.precision == BFloat16 {
		return c.winograd && g.WinogradBF16()
	}
	return c.winograd && g.Winograd()
}

// A weigher is a rule of which the second input are weights. Winograd's algorithm takes them in
// float32 in any case: rounding them would save nothing.
type weigher interface {
	// wholeWeights reports whether the weights are taken in float32.
	wholeWeights(c *Context, in []tensor.Shape) bool
}

func (r conv2D) wholeWeights(c *Context, in []tensor.Shape) bool {
	g := r.geometry(in[0], in[1])
	return c.winogradFor(&g)
}

func (r convInputGrad) wholeWeights(c *Context, in []tensor.Shape) bool {
	g := r.geometry(in)
	return c.winogradFor(&g)
}

// conv2D is Conv2D. Its inputs are x, w and, with Bias, b.
type conv2D struct {
	Conv
	Bias bool
}

func (r conv2D) Shape(in []tensor.Shape) (tensor.Shape, error) {
	x, w := in[0], in[1]
	if x.Dims() != 4 || w.Dims() != 4 || x[3] != w[3] {
		return nil, fmt.Errorf("x %v and w %v are not [N,H,W,Cin] and [Cout,KH,KW,Cin]", x, w)
	}
	if r.Bias && !in[2].Eq(tensor.Shape{w[0]}) {
		return nil, fmt.Errorf("bias %v is not [%d]", in[2], w[0])
	}
	g := r.geometry(x, w)
	if err := g.Check(); err != nil {
		return nil, err
	}
	oh, ow := g.OutSize()
	return tensor.Shape{x[0], oh, ow, w[0]}, nil
}

func (r conv2D) Workspace(c *Context, in []tensor.Shape) int {
	g := r.geometry(in[0], in[1])
	if c.winogradFor(&g) {
		return floats(g.WinogradForwardWorkspace(c.pool))
	}
	if c.precision == BFloat16 {
		return floats(g.ForwardBF16Workspace(c.pool))
	}
	return floats(g.ForwardWorkspace(c.pool))
}

func (conv2D) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return product(p, in, 2)
}

func (r conv2D) Eval(c *Context, dst Tensor, in []Tensor) {
	var bias []float32
	if r.Bias {
		bias = in[2].Data
	}
	g := r.geometry(in[0].Shape, in[1].Shape)
	if c.winogradFor(&g) {
		g.WinogradForward(c.pool, dst.Data, in[0].Data, in[1].Data, bias, c.Workspace())
		return
	}
	g.Forward(c.pool, dst.Data, in[0].Data, in[1].Data, bias, c.Workspace())
}

func (r conv2D) launch(c *call) { r.launchWith(c, cuda.Epilogue{}) }

func (r conv2D) launchWith(c *call, e cuda.Epilogue) {
	g := cuda.Conv(r.geometry(c.in[0].Shape, c.in[1].Shape))
	var bias cuda.Tensor
	if r.Bias {
		bias = c.in[2].Tensor
	}
	x, w := c.in[0].Tensor, c.in[1].Tensor
	g.Forward(c.Queue, c.dst.Tensor, x, w, bias, e, c.workspace(g.ForwardWorkspace(x.Type)))
}

func (r conv2D) Differentiable(n int) []bool { return allTrue(n) }

func (r conv2D) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	x, w := in[0].Shape(), in[1].Shape()
	dx, err := Apply(convInputGrad{Conv: r.Conv, H: x[1], W: x[2]}, dout, in[1])
	if err != nil {
		return nil, err
	}
	dw, err := Apply(convWeightGrad{Conv: r.Conv, KH: w[1], KW: w[2]}, dout, in[0])
	if err != nil {
		return nil, err
	}
	if !r.Bias {
		return gorgonia.Nodes{dx, dw}, nil
	}
	db, err := Apply(columnSums{}, dout)
	return gorgonia.Nodes{dx, dw, db}, err
}

// convInputGrad is the gradient of Conv2D by x. Its inputs are dy [N,OH,OW,Cout] and w
// [Cout,KH,KW,Cin], its result is [N,H,W,Cin].
type convInputGrad struct {
	Conv
	H, W int
}

func (r convInputGrad) geometry(in []tensor.Shape) cpu.Conv {
	return r.Conv.geometry(tensor.Shape{in[0][0], r.H, r.W, in[1][3]}, in[1])
}

func (r convInputGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	dy, w := in[0], in[1]
	if dy.Dims() != 4 || w.Dims() != 4 || dy[3] != w[0] {
		return nil, fmt.Errorf("dy %v and w %v are not [N,OH,OW,Cout] and [Cout,KH,KW,Cin]", dy, w)
	}
	g := r.geometry(in)
	if err := fitsOut(&g, dy); err != nil {
		return nil, err
	}
	return tensor.Shape{g.N, g.H, g.W, g.In}, nil
}

func (r convInputGrad) Workspace(c *Context, in []tensor.Shape) int {
	g := r.geometry(in)
	if c.winogradFor(&g) {
		return floats(g.WinogradInputGradWorkspace(c.pool))
	}
	if c.precision == BFloat16 {
		return floats(g.InputGradBF16Workspace(c.pool))
	}
	return floats(g.InputGradWorkspace(c.pool))
}

func (convInputGrad) Types(p Precision, in []Precision) ([]Precision, Precision) {
	return product(p, in, 2)
}

func (r convInputGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	g := r.Conv.geometry(dst.Shape, in[1].Shape)
	if c.winogradFor(&g) {
		g.WinogradInputGrad(c.pool, dst.Data, in[0].Data, in[1].Data, c.Workspace())
		return
	}
	g.InputGrad(c.pool, dst.Data, in[0].Data, in[1].Data, c.Workspace())
}

func (r convInputGrad) launch(c *call) { r.launchWith(c, cuda.Epilogue{}) }

func (r convInputGrad) launchWith(c *call, e cuda.Epilogue) {
	g := cuda.Conv(r.Conv.geometry(c.dst.Shape, c.in[1].Shape))
	dy, w := c.in[0].Tensor, c.in[1].Tensor
	g.InputGrad(c.Queue, c.dst.Tensor, w, dy, e, c.workspace(g.InputGradWorkspace(w.Type)))
}

func (r convInputGrad) Differentiable(n int) []bool { return allTrue(n) }

func (r convInputGrad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	w := in[1].Shape()
	return grads(
		func() (*gorgonia.Node, error) { return Apply(conv2D{Conv: r.Conv}, dout, in[1]) },
		func() (*gorgonia.Node, error) {
			return Apply(convWeightGrad{Conv: r.Conv, KH: w[1], KW: w[2]}, in[0], dout)
		},
	)
}

// convWeightGrad is the gradient of Conv2D by w. Its inputs are dy [N,OH,OW,Cout] and x
// [N,H,W,Cin], its result is [Cout,KH,KW,Cin].
type convWeightGrad struct {
	Conv
	KH, KW int
}

func (r convWeightGrad) geometry(in []tensor.Shape) cpu.Conv {
	dy, x := in[0], in[1]
	return r.Conv.geometry(x, tensor.Shape{dy[3], r.KH, r.KW, x[3]})
}

func (r convWeightGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	dy, x := in[0], in[1]
	if dy.Dims() != 4 || x.Dims() != 4 {
		return nil, fmt.Errorf("dy %v and x %v are not [N,OH,OW,Cout] and [N,H,W,Cin]", dy, x)
	}
	g := r.geometry(in)
	if err := fitsOut(&g, dy); err != nil {
		return nil, err
	}
	return tensor.Shape{g.Out, g.KH, g.KW, g.In}, nil
}

func (r convWeightGrad) Workspace(c *Context, in []tensor.Shape) int {
	g := r.geometry(in)
	if c.winogradFor(&g) {
		return floats(g.WinogradWeightGradWorkspace(c.pool))
	}
	if c.precision == BFloat16 {
		return floats(g.WeightGradBF16Workspace(c.pool))
	}
	return floats(g.WeightGradWorkspace(c.pool))
}

// Types says that the gradient of a parameter is float32.
func (convWeightGrad) Types(p Precision, in []Precision) ([]Precision, Precision) {
	takes, _ := product(p, in, 2)
	return takes, Float32
}

func (r convWeightGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	g := r.Conv.geometry(in[1].Shape, dst.Shape)
	if c.winogradFor(&g) {
		g.WinogradWeightGrad(c.pool, dst.Data, in[0].Data, in[1].Data, c.Workspace())
		return
	}
	g.WeightGrad(c.pool, dst.Data, in[0].Data, in[1].Data, c.Workspace())
}

func (r convWeightGrad) launch(c *call) {
	g := cuda.Conv(r.Conv.geometry(c.in[1].Shape, c.dst.Shape))
	dy, x := c.in[0].Tensor, c.in[1].Tensor
	g.WeightGrad(c.Queue, c.dst.Tensor, x, dy, c.workspace(g.WeightGradWorkspace(x.Type)))
}

func (r convWeightGrad) Differentiable(n int) []bool { return allTrue(n) }

func (r convWeightGrad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	x := in[1].Shape()
	return grads(
		func() (*gorgonia.Node, error) { return Apply(conv2D{Conv: r.Conv}, in[1], dout) },
		func() (*gorgonia.Node, error) {
			return Apply(convInputGrad{Conv: r.Conv, H: x[1], W: x[2]}, in[0], dout)
		},
	)
}

// fitsOut returns an error unless g is a convolution whose result has the shape of dy.
func fitsOut(g *cpu.Conv, dy tensor.Shape) error {
	if err := g.Check(); err != nil {
		return err
	}
	if oh, ow := g.OutSize(); !dy.Eq(tensor.Shape{g.N, oh, ow, g.Out}) {
		return fmt.Errorf("dy %v is not [%d,%d,%d,%d]", dy, g.N, oh, ow, g.Out)
	}
	return nil
}
