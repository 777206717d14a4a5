package kernels_test

import (
	"math"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

func TestMSE(t *testing.T) {
	weighted := func(w func(in [][]float64, n int) float64) func(in [][]float64) []float64 {
		return func(in [][]float64) []float64 {
			s := 0.0
			for i, v := range in[0] {
				s += w(in, i/6) / 6 * (v - in[1][i]) * (v - in[1][i])
			}
			return []float64{s}
		}
	}
	kerneltest.Check(t, kerneltest.Case{
		Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.MSE(in[0], in[1], nil)
		},
		Shapes:     [][]int{{4, 2, 3}, {4, 2, 3}},
		Definition: weighted(func([][]float64, int) float64 { return 0.25 }),
	})
	kerneltest.Check(t, kerneltest.Case{
		Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.MSE(in[0], in[1], in[2])
		},
		Shapes:     [][]int{{4, 2, 3}, {4, 2, 3}, {4}},
		NoGrad:     []int{2},
		Definition: weighted(func(in [][]float64, n int) float64 { return in[2][n] }),
	})
}

func TestL1(t *testing.T) {
	kerneltest.Check(t, kerneltest.Case{
		Op:     binaryOp(kernels.L1),
		Shapes: [][]int{{3, 7}, {3, 7}},
		Definition: func(in [][]float64) []float64 {
			s := 0.0
			for i, v := range in[0] {
				s += math.Abs(v-in[1][i]) / 21
			}
			return []float64{s}
		},
	})
}

func TestSoftmaxCrossEntropy(t *testing.T) {
	loss := func(in [][]float64) []float64 {
		s := 0.0
		for n := range 3 {
			row, sum := in[0][5*n:5*n+5], 0.0
			for _, v := range row {
				sum += math.Exp(v)
			}
			w := 1.0 / 3
			if len(in) > 2 {
				w = in[2][n]
			}
			s += w * (math.Log(sum) - row[int(in[1][n])])
		}
		return []float64{s}
	}
	target := []float32{4, 0, 2}
	kerneltest.Check(t, kerneltest.Case{
		Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.SoftmaxCrossEntropy(in[0], in[1], nil)
		},
		Shapes:     [][]int{{3, 5}, {3}},
		Inputs:     [][]float32{nil, target},
		NoGrad:     []int{1},
		Definition: loss,
	})
	kerneltest.Check(t, kerneltest.Case{
		Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.SoftmaxCrossEntropy(in[0], in[1], in[2])
		},
		Shapes:     [][]int{{3, 5}, {3}, {3}},
		Inputs:     [][]float32{nil, target, {0, 2, 0.5}},
		NoGrad:     []int{1, 2},
		Definition: loss,
	})
}
