package kernels_test

import (
	"math"
	"testing"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

func sigma(v float64) float64 { return 1 / (1 + math.Exp(-v)) }

func phi(v float64) float64 { return 0.5 * math.Erfc(-v/math.Sqrt2) }

func elementwise(f func(v float64) float64) func(in [][]float64) []float64 {
	return func(in [][]float64) []float64 {
		out := make([]float64, len(in[0]))
		for i, v := range in[0] {
			out[i] = f(v)
		}
		return out
	}
}

func TestActivations(t *testing.T) {
	for name, c := range map[string]struct {
		op unaryFunc
		f  func(v float64) float64
	}{
		"SiLU":      {kernels.SiLU, func(v float64) float64 { return v * sigma(v) }},
		"GELU":      {kernels.GELU, func(v float64) float64 { return v * phi(v) }},
		"QuickGELU": {kernels.QuickGELU, func(v float64) float64 { return v * sigma(1.702*v) }},
		"ReLU":      {kernels.ReLU, func(v float64) float64 { return max(v, 0) }},
		"Sigmoid":   {kernels.Sigmoid, sigma},
		"Exp":       {kernels.Exp, math.Exp},
		"Softplus":  {kernels.Softplus, func(v float64) float64 { return math.Log1p(math.Exp(v)) }},
		"Scale": {
			func(x *gorgonia.Node) (*gorgonia.Node, error) { return kernels.Scale(x, -2.5) },
			func(v float64) float64 { return -2.5 * v },
		},
	} {
		t.Run(name, func(t *testing.T) {
			kerneltest.Check(t, kerneltest.Case{
				Op:         unaryOp(c.op),
				Shapes:     [][]int{{5, 11}},
				Definition: elementwise(c.f),
			})
		})
	}
}

// Log is tested where it is defined. Softplus is tested where e^x would overflow, and where 1 + e^x
// is 1.
func TestLogAndSoftplusFar(t *testing.T) {
	kerneltest.Check(t, kerneltest.Case{
		Op:         unaryOp(kernels.Log),
		Shapes:     [][]int{{5}},
		Inputs:     [][]float32{{0.5, 1, 2, 40, 1e3}},
		Definition: elementwise(math.Log),
	})
	kerneltest.Check(t, kerneltest.Case{
		Op:     unaryOp(kernels.Softplus),
		Shapes: [][]int{{5}},
		Inputs: [][]float32{{-200, -30, 0, 30, 200}},
		Definition: elementwise(func(v float64) float64 {
			return max(v, 0) + math.Log1p(math.Exp(-math.Abs(v)))
		}),
	})
}

func TestGEGLU(t *testing.T) {
	kerneltest.Check(t, kerneltest.Case{
		Op:     unaryOp(kernels.GEGLU),
		Shapes: [][]int{{3, 2, 42}},
		Definition: func(in [][]float64) (out []float64) {
			for row := range 6 {
				x := in[0][42*row : 42*row+42]
				for i := range 21 {
					out = append(out, x[i]*x[21+i]*phi(x[21+i]))
				}
			}
			return out
		},
	})
}

func TestArithmetic(t *testing.T) {
	pair := func(f func(a, b float64) float64) func(in [][]float64) []float64 {
		return func(in [][]float64) (out []float64) {
			for i, v := range in[0] {
				out = append(out, f(v, in[1][i]))
			}
			return out
		}
	}
	for name, c := range map[string]kerneltest.Case{
		"Sub": {
			Op:         binaryOp(kernels.Sub),
			Shapes:     [][]int{{7, 5}, {7, 5}},
			Definition: pair(func(a, b float64) float64 { return a - b }),
		},
		"Add": {
			Op:         binaryOp(kernels.Add),
			Shapes:     [][]int{{7, 5}, {7, 5}},
			Definition: pair(func(a, b float64) float64 { return a + b }),
		},
		"Mul": {
			Op:         binaryOp(kernels.Mul),
			Shapes:     [][]int{{7, 5}, {7, 5}},
			Definition: pair(func(a, b float64) float64 { return a * b }),
		},
		"Sum": {
			Op:     unaryOp(kernels.Sum),
			Shapes: [][]int{{7, 5}},
			Definition: func(in [][]float64) []float64 {
				s := 0.0
				for _, v := range in[0] {
					s += v
				}
				return []float64{s}
			},
		},
		"L2Normalize": {
			Op:     unaryOp(kernels.L2Normalize),
			Shapes: [][]int{{4, 5}},
			Definition: func(in [][]float64) (out []float64) {
				for row := range 4 {
					x, s := in[0][5*row:5*row+5], 0.0
					for _, v := range x {
						s += v * v
					}
					for _, v := range x {
						out = append(out, v/math.Sqrt(s))
					}
				}
				return out
			},
		},
	} {
		t.Run(name, func(t *testing.T) { kerneltest.Check(t, c) })
	}
}
