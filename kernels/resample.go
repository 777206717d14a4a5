package kernels

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// UpsampleNearest2x doubles the height and width of images: [N,H,W,C] → [N,2H,2W,C]. Each value is
// there four times.
func UpsampleNearest2x(x *gorgonia.Node) (*gorgonia.Node, error) {
	if x == nil || x.Dims() != 4 {
		return Apply(upsample{}, x)
	}
	return UpsampleNearest(x, 2*x.Shape()[1], 2*x.Shape()[2])
}

// UpsampleNearest makes images h high and w wide: [N,H,W,C] → [N,h,w,C]. The value at (i,j) is the
// value of x at (⌊i·H/h⌋, ⌊j·W/w⌋). This is as in diffusers where one size is not a multiple
// of the other.
func UpsampleNearest(x *gorgonia.Node, h, w int) (*gorgonia.Node, error) {
	return Apply(upsample{H: h, W: w}, x)
}

// upsample is UpsampleNearest.
type upsample struct{ H, W int }

func (r upsample) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if err := mustBeImages(in[0]); err != nil {
		return nil, err
	}
	if r.H < 1 || r.W < 1 {
		return nil, fmt.Errorf("a size of %d×%d", r.H, r.W)
	}
	return tensor.Shape{in[0][0], r.H, r.W, in[0][3]}, nil
}

func (upsample) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (upsample) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.UpsampleNearest(c.pool, dst.Data, in[0].Data, resampling(in[0].Shape, dst.Shape))
}

func (upsample) launch(c *call) {
	r := cuda.Resampling(resampling(c.in[0].Shape, c.dst.Shape))
	cuda.UpsampleNearest(c.Queue, c.dst.Tensor, c.in[0].Tensor, r)
}

func (upsample) Differentiable(n int) []bool { return allTrue(n) }

func (upsample) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	x := in[0].Shape()
	dx, err := Apply(upsampleGrad{H: x[1], W: x[2]}, dout)
	return gorgonia.Nodes{dx}, err
}

// upsampleGrad is the gradient of upsample by images H high and W wide.
type upsampleGrad struct{ H, W int }

func (r upsampleGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	return upsample(r).Shape(in)
}

func (upsampleGrad) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (upsampleGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.UpsampleNearestGrad(c.pool, dst.Data, in[0].Data, resampling(dst.Shape, in[0].Shape))
}

func (upsampleGrad) launch(c *call) {
	r := cuda.Resampling(resampling(c.dst.Shape, c.in[0].Shape))
	cuda.UpsampleNearestGrad(c.Queue, c.dst.Tensor, c.in[0].Tensor, r)
}

func (upsampleGrad) Differentiable(n int) []bool { return allTrue(n) }

func (upsampleGrad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dy := in[0].Shape()
	dx, err := UpsampleNearest(dout, dy[1], dy[2])
	return gorgonia.Nodes{dx}, err
}

// AveragePool returns the means of windows of k×k that are k apart:
// [N,H,W,C] → [N,⌊H/k⌋,⌊W/k⌋,C]. Rows and columns that fill no window do not count.
func AveragePool(x *gorgonia.Node, k int) (*gorgonia.Node, error) {
	return Apply(averagePool{K: k}, x)
}

// averagePool is AveragePool.
type averagePool struct{ K int }

func (r averagePool) Shape(in []tensor.Shape) (tensor.Shape, error) {
	x := in[0]
	if err := mustBeImages(x); err != nil {
		return nil, err
	}
	if r.K < 1 || r.K > x[1] || r.K > x[2] {
		return nil, fmt.Errorf("windows of %d do not fit in %v", r.K, x)
	}
	return tensor.Shape{x[0], x[1] / r.K, x[2] / r.K, x[3]}, nil
}

func (averagePool) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (r averagePool) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.AveragePool(c.pool, dst.Data, in[0].Data, resampling(in[0].Shape, dst.Shape), r.K)
}

func (r averagePool) launch(c *call) {
	x := c.in[0]
	shape := cuda.Resampling(resampling(x.Shape, c.dst.Shape))
	cuda.AveragePool(c.Queue, c.dst.Tensor, x.Tensor, shape, r.K)
}

func (averagePool) Differentiable(n int) []bool { return allTrue(n) }

func (r averagePool) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	x := in[0].Shape()
	dx, err := Apply(averagePoolGrad{K: r.K, H: x[1], W: x[2]}, dout)
	return gorgonia.Nodes{dx}, err
}

// averagePoolGrad is the gradient of averagePool by images H high and W wide.
type averagePoolGrad struct{ K, H, W int }

func (r averagePoolGrad) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if err := mustBeImages(in[0]); err != nil {
		return nil, err
	}
	return tensor.Shape{in[0][0], r.H, r.W, in[0][3]}, nil
}

func (averagePoolGrad) Types(_ Precision, in []Precision) ([]Precision, Precision) {
	return alike(in)
}

func (r averagePoolGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.AveragePoolGrad(c.pool, dst.Data, in[0].Data, resampling(dst.Shape, in[0].Shape), r.K)
}

func (r averagePoolGrad) launch(c *call) {
	dy := c.in[0]
	shape := cuda.Resampling(resampling(c.dst.Shape, dy.Shape))
	cuda.AveragePoolGrad(c.Queue, c.dst.Tensor, dy.Tensor, shape, r.K)
}

func (averagePoolGrad) Differentiable(n int) []bool { return allTrue(n) }

func (r averagePoolGrad) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := AveragePool(dout, r.K)
	return gorgonia.Nodes{dx}, err
}

func mustBeImages(x tensor.Shape) error {
	if x.Dims() != 4 {
		return fmt.Errorf("%v is not [N,H,W,C]", x)
	}
	return nil
}

// resampling is from images of shape x to images of shape y.
func resampling(x, y tensor.Shape) cpu.Resampling {
	return cpu.Resampling{N: x[0], H: x[1], W: x[2], OH: y[1], OW: y[2], C: x[3]}
}
