package kernels

import (
	"fmt"
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// MSE returns Σ_n w_n · mean (x_n − y_n)², a scalar. x and y are [N,...], and the mean is over the
// elements of sample n. weight is [N]. A nil weight is 1/N for each sample, which makes the loss
// the mean over all elements.
func MSE(x, y, weight *gorgonia.Node) (*gorgonia.Node, error) {
	if weight == nil {
		return Apply(mse{}, x, y)
	}
	return Apply(mse{Weighted: true}, x, y, weight)
}

// mse is MSE. Its inputs are x, y and, if Weighted, the weights.
type mse struct{ Weighted bool }

func (r mse) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if in[0].Dims() < 1 || !in[0].Eq(in[1]) {
		return nil, fmt.Errorf("x %v and y %v are not both [N,...]", in[0], in[1])
	}
	if r.Weighted && !in[2].Eq(tensor.Shape{in[0][0]}) {
		return nil, fmt.Errorf("the weights are %v, not [%d]", in[2], in[0][0])
	}
	return tensor.ScalarShape(), nil
}

func (mse) Workspace(c *Context, in []tensor.Shape) int {
	return floats(cpu.ReduceWorkspace(in[0].TotalSize()))
}

// weight returns the weight of each squared difference of sample n, which has size of them.
func (r mse) weight(in []Tensor, n, size int) float64 {
	if r.Weighted {
		return float64(in[2].Data[n]) / float64(size)
	}
	return 1 / float64(len(in[0].Data))
}

func (r mse) Eval(c *Context, dst Tensor, in []Tensor) {
	var s float64
	n := in[0].Shape[0]
	size := len(in[0].Data) / n
	for i := range n {
		x, y := in[0].Data[i*size:(i+1)*size], in[1].Data[i*size:(i+1)*size]
		s += r.weight(in, i, size) * cpu.SumSquaredDifferences(c.pool, x, y, c.Workspace())
	}
	dst.Data[0] = float32(s)
}

func (r mse) launch(c *call) {
	x, y := c.in[0].Tensor, c.in[1].Tensor
	var weight cuda.Tensor
	if r.Weighted {
		weight = c.in[2].Tensor
	}
	ws := c.workspace(cuda.MSEWorkspace(x.Len, weight.Len))
	cuda.MSE(c.Queue, c.dst.Tensor, x, y, weight, ws)
}

func (mse) Differentiable(n int) []bool {
	d := make([]bool, n)
	d[0], d[1] = true, true
	return d
}

func (r mse) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(mseGrad(r), append(append(gorgonia.Nodes{}, in...), dout)...)
	if err != nil {
		return nil, err
	}
	dy, err := Scale(dx, -1)
	return append(gorgonia.Nodes{dx, dy}, make(gorgonia.Nodes, len(in)-2)...), err
}

// mseGrad is the gradient of mse by x. Its inputs are those of mse and the scalar dout.
type mseGrad mse

func (r mseGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (mseGrad) Differentiable(n int) []bool                     { return make([]bool, n) }

func (r mseGrad) Eval(c *Context, dst Tensor, in []Tensor) {
	n := dst.Shape[0]
	size := len(dst.Data) / n
	for i := range n {
		a := 2 * mse(r).weight(in, i, size) * float64(in[len(in)-1].Data[0])
		x, y := in[0].Data[i*size:(i+1)*size], in[1].Data[i*size:(i+1)*size]
		cpu.SubScale(c.pool, dst.Data[i*size:(i+1)*size], x, y, float32(a))
	}
}

func (r mseGrad) launch(c *call) {
	x, y, dout := c.in[0].Tensor, c.in[1].Tensor, c.in[len(c.in)-1].Tensor
	if !r.Weighted {
		cuda.SubScaleBy(c.Queue, c.dst.Tensor, x, y, 2/float64(x.Len), dout, cuda.Tensor{})
		return
	}
	weight := c.in[2].Tensor
	cuda.SubScaleBy(c.Queue, c.dst.Tensor, x, y, 2*float64(weight.Len)/float64(x.Len), dout, weight)
}

func (mseGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// L1 returns the mean of |x − y| over all elements, a scalar. x and y have one shape. The gradient
// is 0 where they are equal.
func L1(x, y *gorgonia.Node) (*gorgonia.Node, error) { return Apply(l1{}, x, y) }

type l1 struct{}

func (l1) Shape(in []tensor.Shape) (tensor.Shape, error) {
	_, err := sameShape(in)
	return tensor.ScalarShape(), err
}

func (l1) Workspace(c *Context, in []tensor.Shape) int {
	return floats(cpu.ReduceWorkspace(in[0].TotalSize()))
}
func (l1) Differentiable(n int) []bool { return allTrue(n) }

func (l1) Eval(c *Context, dst Tensor, in []Tensor) {
	sum := cpu.SumAbsDifferences(c.pool, in[0].Data, in[1].Data, c.Workspace())
	dst.Data[0] = float32(sum / float64(len(in[0].Data)))
}

func (l1) launch(c *call) {
	x, y := c.in[0].Tensor, c.in[1].Tensor
	cuda.L1(c.Queue, c.dst.Tensor, x, y, c.workspace(cuda.L1Workspace(x.Len)))
}

func (l1) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(l1Grad{}, in[0], in[1], dout)
	if err != nil {
		return nil, err
	}
	dy, err := Scale(dx, -1)
	return gorgonia.Nodes{dx, dy}, err
}

// l1Grad is the gradient of l1 by x. Its inputs are x, y and the scalar dout.
type l1Grad struct{}

func (l1Grad) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (l1Grad) Differentiable(n int) []bool                   { return make([]bool, n) }

func (l1Grad) Eval(c *Context, dst Tensor, in []Tensor) {
	cpu.SignScale(c.pool, dst.Data, in[0].Data, in[1].Data, in[2].Data[0]/float32(len(dst.Data)))
}

func (l1Grad) launch(c *call) {
	x, y, dout := c.in[0].Tensor, c.in[1].Tensor, c.in[2].Tensor
	cuda.SignScaleBy(c.Queue, c.dst.Tensor, x, y, 1/float64(x.Len), dout, cuda.Tensor{})
}

func (l1Grad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// SoftmaxCrossEntropy returns Σ_n w_n · −log softmax(logits_n)[target_n], a scalar. logits is
// [N,K]. target is [N], whole numbers in 0 to K−1. weight is [N], or nil for 1/N each. Only logits
// has a gradient.
func SoftmaxCrossEntropy(logits, target, weight *gorgonia.Node) (*gorgonia.Node, error) {
	if weight == nil {
		return Apply(crossEntropy{}, logits, target)
	}
	return Apply(crossEntropy{Weighted: true}, logits, target, weight)
}

// crossEntropy is SoftmaxCrossEntropy. Its inputs are logits, target and, if Weighted, the weights.
type crossEntropy struct{ Weighted bool }

func (r crossEntropy) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if in[0].Dims() != 2 || !in[1].Eq(tensor.Shape{in[0][0]}) || r.Weighted && !in[2].Eq(in[1]) {
		return nil, fmt.Errorf("logits %v and the others %v are not [N,K] and [N]", in[0], in[1:])
	}
	return tensor.ScalarShape(), nil
}

func (r crossEntropy) weight(in []Tensor, n int) float64 {
	if r.Weighted {
		return float64(in[2].Data[n])
	}
	return 1 / float64(in[0].Shape[0])
}

// logSum returns log Σ exp of a row.
func logSum(row []float32) float64 {
	top := math.Inf(-1)
	for _, v := range row {
		top = math.Max(top, float64(v)) // NaN stays
	}
	var s float64
	for _, v := range row {
		s += math.Exp(float64(v) - top)
	}
	return top + math.Log(s)
}

func (r crossEntropy) Eval(_ *Context, dst Tensor, in []Tensor) {
	var s float64
	n, k := in[0].Shape[0], in[0].Shape[1]
	for i := range n {
		row := in[0].Data[i*k : (i+1)*k]
		s += r.weight(in, i) * (logSum(row) - float64(row[int(in[1].Data[i])]))
	}
	dst.Data[0] = float32(s)
}

func (r crossEntropy) launch(c *call) {
	var weight cuda.Tensor
	if r.Weighted {
		weight = c.in[2].Tensor
	}
	logits, target := c.in[0], c.in[1].Tensor
	ws := c.workspace(cuda.SoftmaxCrossEntropyWorkspace(logits.Shape[0]))
	cuda.SoftmaxCrossEntropy(c.Queue, c.dst.Tensor, logits.Tensor, target, weight, ws)
}

func (crossEntropy) Differentiable(n int) []bool {
	d := make([]bool, n)
	d[0] = true
	return d
}

func (r crossEntropy) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(crossEntropyGrad(r), append(append(gorgonia.Nodes{}, in...), dout)...)
	return append(gorgonia.Nodes{dx}, make(gorgonia.Nodes, len(in)-1)...), err
}

// crossEntropyGrad is w·(softmax − one-hot)·dout. Its inputs are those of crossEntropy and the
// scalar dout.
type crossEntropyGrad crossEntropy

func (crossEntropyGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (crossEntropyGrad) Differentiable(n int) []bool                   { return make([]bool, n) }

func (r crossEntropyGrad) Eval(_ *Context, dst Tensor, in []Tensor) {
	n, k := dst.Shape[0], dst.Shape[1]
	for i := range n {
		row, d := in[0].Data[i*k:(i+1)*k], dst.Data[i*k:(i+1)*k]
		log, w := logSum(row), crossEntropy(r).weight(in, i)*float64(in[len(in)-1].Data[0])
		for j, v := range row {
			d[j] = float32(w * math.Exp(float64(v)-log))
		}
		d[int(in[1].Data[i])] -= float32(w)
	}
}

func (r crossEntropyGrad) launch(c *call) {
	var weight cuda.Tensor
	if r.Weighted {
		weight = c.in[2].Tensor
	}
	logits, target, dout := c.in[0].Tensor, c.in[1].Tensor, c.in[len(c.in)-1].Tensor
	cuda.SoftmaxCrossEntropyGrad(c.Queue, c.dst.Tensor, logits, target, weight, dout)
}

func (crossEntropyGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}
