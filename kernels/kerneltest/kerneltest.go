// Package kerneltest checks operations of package kernels against their definitions.
//
// A definition is a plain function over float64 values, in row-major order. [Check] runs the operation in gorgonia's
// own TapeMachine and in [kernels.Machine], which must agree to the last bit, and compares its value with the
// definition's and its gradients with the definition's central differences. It also runs each operation by itself, the
// gradients' too, in memory that shows what a body must not do: leave a value of the result as it was, write beside the
// result or the scratch memory or to an input, allocate.
//
// All of that is done in a Float32 machine and in one of BFloat16. For the latter, inputs that have a
// gradient, and the cotangent, are rounded to bfloat16 first; the definition sees them so.
//
// # Tolerance
//
// A float32 result differs from the float64 definition by rounding: of each value, relative to it, and of the terms of
// sums, relative to what is typical for the result. So an element w of a result may be off by
// Tolerance · (|w| + rms of the result). What is not a number always fails.
//
// In a BFloat16 machine the result is rounded once more, by 2⁻⁸·|w| at most, and so may be its terms,
// which may be as large as the result's largest value: what an operation before has rounded, or the
// probabilities in [kernels.Attention]. So n · 2⁻⁸ · (|w| + largest) is added to what is allowed, n
// being the number of roundings that follow each other until the result is there. The gradient of a
// weight alone has none behind it: products of bfloat16 values are summed in float32, so it is held
// to what float32 is held to.
package kerneltest

import (
	"fmt"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// DefaultTolerance is a hundred roundings of float32: sums of a few thousand terms stay far below it, and any error
// of a formula is far above.
const DefaultTolerance = 100.0 / (1 << 24)

// bfloat16Rounding is by how much rounding to bfloat16 changes a value at most, relative to it.
const bfloat16Rounding = 1.0 / (1 << 8)

// A Case is an operation at fixed shapes, with its definition.
type Case struct {
	// Op applies the operation, or several, to one node an input.
	Op func(in ...*gorgonia.Node) (*gorgonia.Node, error)

	// Shapes are the inputs' shapes; an empty one is a scalar.
	Shapes [][]int

	// Inputs are the inputs' values. Where it is nil or has no values for an input they are standard normal.
	Inputs [][]float32

	// Definition returns the values of the result.
	Definition func(in [][]float64) []float64

	// Gradient returns the gradients of Σ result·cotangent by each input, nil for those in NoGrad. If it is
	// nil itself, central differences of the definition take its place.
	Gradient func(in [][]float64, cotangent []float64) [][]float64

	// NoGrad are the inputs whose gradient is not asked for.
	NoGrad []int

	// Tolerance is explained in the package comment; 0 means DefaultTolerance.
	Tolerance float64
}

// Normal returns n standard normal values, the same for the same name.
func Normal(n int, name string) []float32 {
	x := make([]float32, n)
	rng.Normal(x, 1, "kerneltest "+name, 0, 0)
	return x
}

// Check fails the test if the operation's value, or the gradient of Σ result·cotangent for a random cotangent, is not what
// the definition says, if gorgonia's machine and ours disagree, if a second run gives other bits than the first, or if a
// body breaks a rule of the package comment.
func Check(t testing.TB, c Case) {
	t.Helper()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
}

func (c Case) check() error {
	in, err := c.inputs()
	if err != nil {
		return err
	}
	cotangent := Normal(len(c.Definition(doubles(in))), "cotangent")
	tape, err := c.run(in, cotangent, runTape)
	if err != nil {
		return fmt.Errorf("in gorgonia.TapeMachine: %w", err)
	}
	results, err := c.checkIn(kernels.Float32, in, cotangent)
	if err != nil {
		return err
	}
	if err := sameResults(results, tape); err != nil {
		return fmt.Errorf("kernels.Machine and gorgonia.TapeMachine differ: %w", err)
	}
	for i := range in {
		if c.wantsGrad(i) {
			in[i] = rounded(in[i])
		}
	}
	if _, err = c.checkIn(kernels.BFloat16, in, rounded(cotangent)); err != nil {
		return fmt.Errorf("in bfloat16: %w", err)
	}
	return nil
}

// rounded returns x, each value rounded to the nearest bfloat16.
func rounded(x []float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = kernels.NewBF16(v).Float32()
	}
	return y
}

// checkIn checks the operation in machines of a precision, and returns what they give.
func (c Case) checkIn(p kernels.Precision, in [][]float32, cotangent []float32) ([]result, error) {
	want := c.Definition(doubles(in))
	results, err := c.run(in, cotangent, machine{p}.run)
	if err != nil {
		return nil, fmt.Errorf("in kernels.Machine: %w", err)
	}
	each := &strict{precision: p}
	apart, err := c.run(in, cotangent, each.run)
	if err != nil {
		return nil, err
	}
	if err := sameResults(results, apart); err != nil {
		return nil, fmt.Errorf("kernels.Machine and one operation after the other differ: %w", err)
	}
	compare := func(i int, want []float64) error {
		return compare(results[i].data, want, results[i].shape, c.tolerance(), each.roundings[i])
	}
	if err := compare(0, want); err != nil {
		return nil, fmt.Errorf("%s: %w", results[0].name, err)
	}
	gradients := c.gradients(doubles(in), double(cotangent))
	for i, r := range results[2:] {
		if err := compare(2+i, gradients[r.input]); err != nil {
			return nil, fmt.Errorf("%s: %s: %w", results[0].name, r.name, err)
		}
	}
	return results, nil
}

func (c Case) tolerance() float64 {
	if c.Tolerance == 0 {
		return DefaultTolerance
	}
	return c.Tolerance
}

// inputs returns the values of all inputs.
func (c Case) inputs() ([][]float32, error) {
	in := make([][]float32, len(c.Shapes))
	for i, s := range c.Shapes {
		n := tensor.Shape(s).TotalSize()
		if i < len(c.Inputs) && c.Inputs[i] != nil {
			in[i] = c.Inputs[i]
		} else {
			in[i] = Normal(n, fmt.Sprint("input ", i))
		}
		if len(in[i]) != n {
			return nil, fmt.Errorf("kerneltest: input %d of shape %v has %d values", i, s, len(in[i]))
		}
	}
	return in, nil
}

func (c Case) wantsGrad(input int) bool {
	for _, i := range c.NoGrad {
		if i == input {
			return false
		}
	}
	return true
}

// gradients returns the wanted gradient of each input.
func (c Case) gradients(in [][]float64, cotangent []float64) [][]float64 {
	if c.Gradient != nil {
		return c.Gradient(in, cotangent)
	}
	g := make([][]float64, len(in))
	for i := range in {
		if c.wantsGrad(i) {
			g[i] = c.differences(in, i, cotangent)
		}
	}
	return g
}

// differences returns the central differences of Σ definition·cotangent by an input. Their own error is about 1e-8.
func (c Case) differences(in [][]float64, input int, cotangent []float64) []float64 {
	x := in[input]
	g := make([]float64, len(x))
	for k, v := range x {
		h := 1e-4 * max(1, math.Abs(v))
		x[k] = v + h
		up := c.Definition(in)
		x[k] = v - h
		down := c.Definition(in)
		x[k] = v
		for j, w := range cotangent {
			g[k] += w * (up[j] - down[j])
		}
		g[k] /= 2 * h
	}
	return g
}

func doubles(x [][]float32) [][]float64 {
	d := make([][]float64, len(x))
	for i := range x {
		d[i] = double(x[i])
	}
	return d
}

func double(x []float32) []float64 {
	d := make([]float64, len(x))
	for i, v := range x {
		d[i] = float64(v)
	}
	return d
}

// nodes builds the graph: the result, Σ result·cotangent and its gradient by every input that has one.
func (c Case) nodes(g *gorgonia.ExprGraph, in []*gorgonia.Node, cotangent []float32) (all gorgonia.Nodes, err error) {
	out, err := c.Op(in...)
	if err != nil {
		return nil, err
	}
	if n := out.Shape().TotalSize(); n != len(cotangent) {
		return nil, fmt.Errorf("the result is %v, the definition has %d values", out.Shape(), len(cotangent))
	}
	loss, err := kernels.Apply(dot{}, out, node(g, "cotangent", out.Shape(), cotangent))
	if err != nil {
		return nil, err
	}
	var by []*gorgonia.Node
	for i, n := range in {
		if c.wantsGrad(i) {
			by = append(by, n)
		}
	}
	all = gorgonia.Nodes{out, loss}
	if len(by) == 0 {
		return all, nil
	}
	grads, err := gorgonia.Grad(loss, by...)
	return append(all, grads...), err
}

// node adds an input to g. It is bound to a copy of the values.
func node(g *gorgonia.ExprGraph, name string, s tensor.Shape, values []float32) *gorgonia.Node {
	if s.IsScalar() {
		n := gorgonia.NewScalar(g, tensor.Float32, gorgonia.WithName(name))
		gorgonia.Let(n, gorgonia.NewF32(values[0]))
		return n
	}
	return kernels.Input(g, name, tensor.New(tensor.WithShape(s...), tensor.WithBacking(append([]float32(nil), values...))))
}
