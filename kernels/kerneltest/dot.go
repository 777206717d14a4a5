package kerneltest

import (
	"fmt"

	"github.com/kudos-ml/kudos/kernels"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// dot is Σ x·y, a scalar, accumulated in float64. It has no gradient by y.
type dot struct{}

func (dot) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if len(in) != 2 || !in[0].Eq(in[1]) {
		return nil, fmt.Errorf("inputs %v must be two of one shape", in)
	}
	return tensor.ScalarShape(), nil
}

func (dot) Eval(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	sum := 0.0
	for i, x := range in[0].Data {
		sum += float64(x) * float64(in[1].Data[i])
	}
	dst.Data[0] = float32(sum)
}

func (dot) Differentiable(int) []bool { return []bool{true, false} }

func (dot) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := kernels.Apply(times{}, in[1], dout)
	return gorgonia.Nodes{dx, nil}, err
}

// times is x·a for a scalar a. It has no gradient.
type times struct{}

func (times) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if len(in) != 2 || !in[1].IsScalar() {
		return nil, fmt.Errorf("inputs %v must be a tensor and a scalar", in)
	}
	return in[0], nil
}

func (times) Eval(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	a := in[1].Data[0]
	for i, x := range in[0].Data {
		dst.Data[i] = a * x
	}
}

func (times) Differentiable(n int) []bool { return make([]bool, n) }

func (times) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}
