package kernels_test

import (
	"fmt"
	"log"
	"math"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// Snake is the activation x + sin²(a·x)/a (Ziyin, Hartwig, Ueda: Neural Networks Fail to Learn Periodic Functions and
// How to Fix It, 2020), as an operation of one's own.
func Snake(x *gorgonia.Node, a float64) (*gorgonia.Node, error) {
	return kernels.Apply(snake{Frequency: a}, x)
}

type snake struct{ Frequency float64 }

func (snake) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }

func (r snake) Eval(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	for i, x := range in[0].Data {
		s := math.Sin(r.Frequency * float64(x))
		dst.Data[i] = float32(float64(x) + s*s/r.Frequency)
	}
}

func (snake) Differentiable(int) []bool { return []bool{true} }

func (r snake) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := kernels.Apply(snakeGrad(r), in[0], dout)
	return gorgonia.Nodes{dx}, err
}

// snakeGrad is dy·(1 + sin(2a·x)). It has no gradient of its own.
type snakeGrad struct{ Frequency float64 }

func (snakeGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }

func (r snakeGrad) Eval(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	for i, x := range in[0].Data {
		dst.Data[i] = float32(float64(in[1].Data[i]) * (1 + math.Sin(2*r.Frequency*float64(x))))
	}
}

func (snakeGrad) Differentiable(n int) []bool { return make([]bool, n) }

func (snakeGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

func TestSnake(t *testing.T) {
	kerneltest.Check(t, kerneltest.Case{
		Op:     func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return Snake(in[0], 2) },
		Shapes: [][]int{{3, 4}},
		Definition: func(in [][]float64) []float64 {
			y := make([]float64, len(in[0]))
			for i, x := range in[0] {
				y[i] = x + math.Pow(math.Sin(2*x), 2)/2
			}
			return y
		},
	})
}

// An operation of one's own is a Rule: Snake, in this file, is an activation with its gradient, and its test a call
// of kerneltest.Check.
func Example_rule() {
	g := gorgonia.NewGraph()
	x := tensor.New(tensor.WithShape(3), tensor.WithBacking([]float32{-math.Pi / 2, 0, math.Pi / 4}))
	y, err := Snake(kernels.Input(g, "x", x), 1)
	if err != nil {
		log.Fatal(err)
	}
	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{y}})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Close()
	if err := m.RunAll(); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.4f\n", m.Value(y).Float32s())
	// Output: [-0.5708 0.0000 1.2854]
}
