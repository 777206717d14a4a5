package kernels_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// linearDefinition is x·wᵀ + b for inputs x, w and, if there is one, b.
func linearDefinition(rows, in, out int) func([][]float64) []float64 {
	return func(t [][]float64) []float64 {
		y := make([]float64, rows*out)
		for i := range y {
			r, o := i/out, i%out
			for k := range in {
				y[i] += t[0][r*in+k] * t[1][o*in+k]
			}
			if len(t) == 3 {
				y[i] += t[2][o]
			}
		}
		return y
	}
}

func linearOp(in ...*gorgonia.Node) (*gorgonia.Node, error) {
	if len(in) == 2 {
		return kernels.Linear(in[0], in[1], nil)
	}
	return kernels.Linear(in[0], in[1], in[2])
}

func TestLinear(t *testing.T) {
	for _, lead := range [][]int{{}, {1}, {7}, {2, 3}, {2, 3, 2}} {
		for _, bias := range []bool{false, true} {
			t.Run(fmt.Sprint(lead, bias), func(t *testing.T) {
				rows := tensor.Shape(lead).TotalSize()
				const in, out = 5, 4
				shapes := [][]int{append(append([]int(nil), lead...), in), {out, in}}
				if bias {
					shapes = append(shapes, []int{out})
				}
				kerneltest.Check(t, kerneltest.Case{
					Op: linearOp, Shapes: shapes, Definition: linearDefinition(rows, in, out),
				})
			})
		}
	}
}

func TestLinearOfManyRows(t *testing.T) {
	const rows, in, out = 300, 35, 18
	kerneltest.Check(t, kerneltest.Case{
		Op:         linearOp,
		Shapes:     [][]int{{rows, in}, {out, in}, {out}},
		Definition: linearDefinition(rows, in, out),
		Gradient: func(t [][]float64, dy []float64) [][]float64 {
			dx, dw, db := make([]float64, rows*in), make([]float64, out*in), make([]float64, out)
			for i, d := range dy {
				r, o := i/out, i%out
				db[o] += d
				for k := range in {
					dx[r*in+k] += d * t[1][o*in+k]
					dw[o*in+k] += d * t[0][r*in+k]
				}
			}
			return [][]float64{dx, dw, db}
		},
	})
}

// The gradients of a linear layer are linear layers too, with gradients of their own.
func TestLinearTwice(t *testing.T) {
	kerneltest.Check(t, kerneltest.Case{
		Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			h, err := kernels.Linear(in[0], in[1], nil)
			if err != nil {
				return nil, err
			}
			return kernels.Linear(h, in[1], in[2])
		},
		Shapes: [][]int{{3, 4}, {4, 4}, {4}},
		Definition: func(t [][]float64) []float64 {
			h := linearDefinition(3, 4, 4)(t[:2])
			return linearDefinition(3, 4, 4)([][]float64{h, t[1], t[2]})
		},
	})
}

func node(g *gorgonia.ExprGraph, name string, shape ...int) *gorgonia.Node {
	return gorgonia.NewTensor(
		g, gorgonia.Float32, len(shape), gorgonia.WithShape(shape...), gorgonia.WithName(name),
	)
}

func TestLinearRefuses(t *testing.T) {
	g := gorgonia.NewGraph()
	x, w := node(g, "x", 2, 5), node(g, "w", 4, 5)
	_, err := kernels.Linear(x, node(g, "w6", 4, 6), nil)
	require.ErrorContains(t, err, "(2, 5)")
	require.ErrorContains(t, err, "(4, 6)")
	_, err = kernels.Linear(x, node(g, "w3", 4, 5, 1), nil)
	require.Error(t, err)
	_, err = kernels.Linear(x, w, node(g, "b", 5))
	require.ErrorContains(t, err, "bias")
	_, err = kernels.Linear(nil, w, nil)
	require.Error(t, err)
}
