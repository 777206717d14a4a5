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
	case "writes beside the workspace":
		*(*float32)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(c.Workspace())), -4)) = 1
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
		Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.Apply(square{mistake}, in...)
		},
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
		"writes beside":               "writes beside its result",
		"writes beside the workspace": "writes beside its 3 values of workspace",
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
	want := []float64{1, 2, 3, 4}
	require.NoError(t, Compare([]float32{1, 2, 3, 4}, want, s, 0))
	off := []float32{1, 2, 3, 4.04}
	require.NoError(t, Compare(off, want, s, 0.01))
	require.ErrorContains(t, Compare(off, want, s, 0.001), "value [1 1] is 4.04, not 4")
	require.Error(t, Compare([]float32{1, 2, 3}, want, s, 1))
	nan := []float32{1, 2, float32(math.NaN()), 5}
	require.ErrorContains(t, Compare(nan, want, s, 1e-3), "value [1 0] is NaN")
}

// halfSquare is x², plus a mistake if there is one. It takes and gives bfloat16, in a body of its
// own.
type halfSquare struct{ Mistake string }

func (halfSquare) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0], nil }
func (halfSquare) InPlace() int                                  { return 0 }
func (halfSquare) Differentiable(n int) []bool                   { return make([]bool, n) }

func (halfSquare) Types(
	p kernels.Precision, _ []kernels.Precision,
) ([]kernels.Precision, kernels.Precision) {
	return []kernels.Precision{p}, p
}

func (halfSquare) Eval(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	for i, x := range in[0].Data {
		dst.Data[i] = x * x
	}
}

func (r halfSquare) EvalTyped(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	if r.Mistake == "not in place" {
		clear(dst.BF16)
	}
	for i, b := range in[0].BF16 {
		x := b.Float32()
		switch {
		case r.Mistake == "adds to the result":
			x += dst.BF16[i].Float32()
		case r.Mistake == "leaves a value" && i == 4:
			continue
		case r.Mistake == "writes to the input":
			in[0].BF16[i]++
		case r.Mistake == "one value" && i == 4:
			x *= 1.02
		}
		dst.BF16[i] = kernels.NewBF16(x * x)
	}
	switch r.Mistake {
	case "writes beside":
		*(*uint16)(unsafe.Add(unsafe.Pointer(unsafe.SliceData(dst.BF16)), 2*len(dst.BF16))) = 1
	case "allocates":
		escaped = make([]float32, 1)
	}
}

func (halfSquare) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// A body for bfloat16 must keep the rules of all bodies.
func TestCheckOfBFloat16(t *testing.T) {
	check := func(mistake string) error {
		c := squareCase("")
		c.Op = func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.Apply(halfSquare{mistake}, in...)
		}
		c.NoGrad = []int{0}
		return c.check()
	}
	require.NoError(t, check(""))
	for mistake, message := range map[string]string{
		"one value":           "value [1 1] is",
		"adds to the result":  "reads memory that nobody wrote",
		"writes to the input": "writes to input 0",
		"leaves a value":      "leaves value [1 1] as it was",
		"writes beside":       "writes beside its result",
		"allocates":           "allocates 1 times",
		"not in place":        "in place of input 0 it gives something else",
	} {
		err := check(mistake)
		require.ErrorContains(t, err, "in bfloat16: ", mistake)
		require.ErrorContains(t, err, message, mistake)
	}
}

// A result may be off by as much as its roundings. Without roundings it may not.
func TestCompareOfBFloat16(t *testing.T) {
	s := tensor.Shape{2}
	want := []float64{1, 2}
	require.NoError(t, compare([]float32{1, 2 + 2*4.0/256 - 0.001}, want, s, 0, 2))
	require.Error(t, compare([]float32{1, 2 + 2*4.0/256 + 0.001}, want, s, 0, 2))
	require.NoError(t, compare([]float32{1 + 3.0/256 - 0.001, 2}, want, s, 0, 1))
	require.Error(t, compare([]float32{1 + 3.0/256 + 0.001, 2}, want, s, 0, 1))
	require.Error(t, compare([]float32{1.0001, 2}, want, s, 0, 0))
	require.Error(t, compare([]float32{1, float32(math.NaN())}, want, s, 0, 3))
}
