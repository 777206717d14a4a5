package kerneltest

import (
	"math"
	"testing"
	"unsafe"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// square is x² plus a mistake, if there is one.
type square struct{ Mistake string }

func (square) Shape(in []tensor.Shape) (tensor.Shape, error)  { return in[0], nil }
func (square) Workspace(*kernels.Context, []tensor.Shape) int { return 4 * 3 }
func (square) Differentiable(int) []bool                      { return []bool{true} }

func (r square) InPlace() int {
	if r.Mistake == "not in place" {
		return 0
	}
	return -1
}

var escaped []float32

func (r square) Eval(c *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	if r.Mistake == "not in place" {
		clear(dst.Data)
	}
	for i, x := range in[0].Data {
		switch {
		case r.Mistake == "adds to the result":
			dst.Data[i] += x * x
			continue
		case r.Mistake == "leaves a value" && i == 4:
			continue
		case r.Mistake == "writes to the input":
			in[0].Data[i]++
		}
		dst.Data[i] = x * x
	}
	switch r.Mistake {
	case "writes beside":
		*(*float32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(dst.Data)), 4*len(dst.Data))) = 1
	case "writes beside scratch":
		*(*float32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(c.Scratch())), -4)) = 1
	case "allocates":
		escaped = make([]float32, 1)
	case "one value":
		dst.Data[4] *= 1.001
	case "not a number":
		dst.Data[4] = float32(math.NaN())
	case "infinite":
		dst.Data[4] = float32(math.Inf(1))
	}
}

func (r square) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	a := float32(2)
	if r.Mistake == "gradient" {
		a = 2.001
	}
	dx, err := kernels.Apply(scaledProduct{a}, in[0], dout)
	return gorgonia.Nodes{dx}, err
}

// scaledProduct is A·x·y.
type scaledProduct struct{ A float32 }

func (scaledProduct) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0], nil }
func (scaledProduct) Differentiable(n int) []bool                   { return make([]bool, n) }

func (r scaledProduct) Eval(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	for i, x := range in[0].Data {
		dst.Data[i] = r.A * x * in[1].Data[i]
	}
}

func (scaledProduct) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

func squareCase(mistake string) Case {
	return Case{
		Op:     func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return kernels.Apply(square{mistake}, in...) },
		Shapes: [][]int{{2, 3}},
		Definition: func(in [][]float64) []float64 {
			y := make([]float64, len(in[0]))
			for i, x := range in[0] {
				y[i] = x * x
			}
			return y
		},
	}
}

func TestCheckPasses(t *testing.T) {
	Check(t, squareCase(""))
	c := squareCase("")
	c.Shapes = [][]int{{}}
	Check(t, c)
	c = squareCase("")
	c.Gradient = func(in [][]float64, cotangent []float64) [][]float64 {
		g := make([]float64, len(in[0]))
		for i, x := range in[0] {
			g[i] = 2 * x * cotangent[i]
		}
		return [][]float64{g}
	}
	Check(t, c)
	c.NoGrad = []int{0}
	Check(t, c)
}

// Every kind of mistake is found, and the message says where.
func TestCheckFails(t *testing.T) {
	for mistake, message := range map[string]string{
		"one value":           "value [1 1] is",
		"not a number":        "value [1 1] is NaN",
		"infinite":            "value [1 1] is +Inf",
		"gradient":            "gradient by input 0: value",
		"adds to the result":  "the second run differs from the first: value [0 0]",
		"writes to the input": "input 0 was written to",
		"leaves a value":      "leaves value [1 1] as it was",
		"allocates":           "allocates 1 times",
		"not in place":        "in place of input 0 it gives something else",
	} {
		require.ErrorContains(t, squareCase(mistake).check(), message, mistake)
	}
	for mistake, message := range map[string]string{
		"writes beside":         "writes beside its result",
		"writes beside scratch": "writes beside its 3 values of scratch memory",
	} {
		c := squareCase(mistake)
		in, err := c.inputs()
		require.NoError(t, err)
		_, err = c.run(in, Normal(6, "cotangent"), new(strict).run)
		require.ErrorContains(t, err, message)
	}
	c := squareCase("")
	c.Definition = func(in [][]float64) []float64 { return in[0][:5] }
	require.ErrorContains(t, c.check(), "the definition has 5 values")
	c = squareCase("")
	c.Definition = func(in [][]float64) []float64 { return []float64{0, 1, 2, 3, math.NaN(), 5} }
	require.ErrorContains(t, c.check(), "rms NaN")
	c = squareCase("")
	c.Inputs = [][]float32{{1, 2}}
	require.ErrorContains(t, c.check(), "has 2 values")
}

func TestCompare(t *testing.T) {
	s := tensor.Shape{2, 2}
	require.NoError(t, Compare([]float32{1, 2, 3, 4}, []float64{1, 2, 3, 4}, s, 0))
	require.NoError(t, Compare([]float32{1, 2, 3, 4.04}, []float64{1, 2, 3, 4}, s, 0.01))
	require.ErrorContains(t, Compare([]float32{1, 2, 3, 4.04}, []float64{1, 2, 3, 4}, s, 0.001), "value [1 1] is 4.04, not 4")
	require.Error(t, Compare([]float32{1, 2, 3}, []float64{1, 2, 3, 4}, s, 1))
	require.ErrorContains(t, Compare([]float32{1, 2, float32(math.NaN()), 5}, []float64{1, 2, 3, 4}, s, 1e-3), "value [1 0] is NaN")
}
