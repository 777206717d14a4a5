package kernels_test

import (
	"fmt"
	"log"
	"math"
	"sync"
	"testing"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// Snake is the activation x + sin²(a·x)/a (Ziyin, Hartwig, Ueda: Neural Networks Fail to Learn
// Periodic Functions and How to Fix It, 2020), as an operation of one's own.
func Snake(x *gorgonia.Node, a float64) (*gorgonia.Node, error) {
	return kernels.Apply(snake{Frequency: a}, x)
}

type snake struct{ Frequency float64 }

func (snake) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }

// Eval does blocks of values on all workers.
func (r snake) Eval(c *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	t := snakeTasks.Get().(*snakeTask)
	*t = snakeTask{frequency: r.Frequency, y: dst.Data, x: in[0].Data}
	c.Parallel((len(t.x)+snakeBlock-1)/snakeBlock, t)
	*t = snakeTask{}
	snakeTasks.Put(t)
}

// snakeBlock is how many values a part has: some ten microseconds of work.
const snakeBlock = 1024

// A snakeTask is the work of one Eval. Tasks are kept for the next, as Eval must not allocate.
type snakeTask struct {
	frequency float64
	y, x      []float32
}

var snakeTasks = sync.Pool{New: func() any { return new(snakeTask) }}

func (t *snakeTask) Do(_, part int) {
	lo, hi := part*snakeBlock, min((part+1)*snakeBlock, len(t.x))
	for i, x := range t.x[lo:hi] {
		s := math.Sin(t.frequency * float64(x))
		t.y[lo+i] = float32(float64(x) + s*s/t.frequency)
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
		Shapes: [][]int{{30, 70}},
		Definition: func(in [][]float64) []float64 {
			y := make([]float64, len(in[0]))
			for i, x := range in[0] {
				y[i] = x + math.Pow(math.Sin(2*x), 2)/2
			}
			return y
		},
	})
}

// An operation of one's own is a Rule. Snake, in this file, is an activation with its gradient. Its
// test is a call of kerneltest.Check.
func Example_rule() {
	g := gorgonia.NewGraph()
	values := []float32{-math.Pi / 2, 0, math.Pi / 4}
	x := tensor.New(tensor.WithShape(3), tensor.WithBacking(values))
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
