// Package kerneltest checks operations of package kernels against their definitions.
//
// A definition is a plain function over float64 values, in row-major order. [Check] runs the
// operation in gorgonia's own TapeMachine and in [kernels.Machine]. These must agree to the last
// bit. It compares the value with the definition's, and the gradients with the central differences
// of the definition.
//
// It also runs each operation by itself, those of the gradients too. There it uses memory that
// shows four mistakes of a rule: to leave a value of the result as it was, to write beside the
// result or the workspace, to write to an input, and to allocate.
//
// All of that is done in a Float32 machine and in one of BFloat16. For the latter, inputs that have
// a gradient, and the cotangent, are rounded to bfloat16 first. The definition gets the rounded
// values.
//
// Last it runs the operation, in both precisions, in a machine on an emulated GPU, if GPUs have a
// kernel for it. For that it needs g++: where there is none it logs so.
//
// # Tolerance
//
// A float32 result differs from the float64 definition by rounding. Each value is rounded, relative
// to itself. The terms of sums are rounded, relative to what is typical for the result. So an
// element w of a result may be off by Tolerance · (|w| + rms of the result). A NaN always fails.
//
// In a BFloat16 machine the result is rounded once more, by 2⁻⁸·|w| at most. Its terms may be
// rounded too, and they may be as large as the largest value of the result. For example, an earlier
// operation has rounded them, or they are the probabilities in [kernels.Attention]. So
// n · 2⁻⁸ · (|w| + largest value) is added to the tolerance, where n is the number of roundings
// that follow each other until the result is there. The gradient of a weight alone has no such
// rounding, because products of bfloat16 values are summed in float32. So it has the tolerance of
// float32.
package kerneltest

import (
	"fmt"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// DefaultTolerance is a hundred roundings of float32. Sums of a few thousand terms stay far below
// it, and any error of a formula is far above it.
const DefaultTolerance = 100.0 / (1 << 24)

// bfloat16Rounding is by how much rounding to bfloat16 changes a value at most, relative to the
// value.
const bfloat16Rounding = 1.0 / (1 << 8)

// A Case is an operation at fixed shapes, with its definition.
type Case struct {
	// Op applies the operation, or several. It gets one node for each input.
	Op func(in ...*gorgonia.Node) (*gorgonia.Node, error)

	// Shapes are the shapes of the inputs. An empty shape is a scalar.
	Shapes [][]int

	// Inputs are the values of the inputs. An input without values here gets standard normal ones.
	Inputs [][]float32

	// Definition returns the values of the result.
	Definition func(in [][]float64) []float64

	// Gradient returns the gradients of Σ result·cotangent by each input, nil for those in NoGrad.
	// If Gradient itself is nil, central differences of the definition take its place.
	Gradient func(in [][]float64, cotangent []float64) [][]float64

	// NoGrad are the inputs whose gradient is not asked for.
	NoGrad []int

	// Tolerance is explained in the package comment. 0 means DefaultTolerance.
	Tolerance float64
}

// Normal returns n standard normal values. They depend on n and name alone.
func Normal(n int, name string) []float32 {
	x := make([]float32, n)
	rng.Normal(x, 1, "kerneltest "+name, 0, 0)
	return x
}

// Check fails the test if the operation's value, or the gradient of Σ result·cotangent for a random
// cotangent, is not that of the definition. It also fails the test if gorgonia's machine and this
// module's disagree, if a second run gives other bits than the first, or if a rule makes a mistake
// that the package comment names.
func Check(t testing.TB, c Case) {
	t.Helper()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	c.checkOnDevice(t)
}

// checkOnDevice checks the operation on an emulated GPU, if it is an operation that GPUs have a
// kernel for, and if the emulation can be compiled here.
func (c Case) checkOnDevice(t testing.TB) {
	t.Helper()
	in, err := c.inputs()
	if err != nil {
		t.Fatal(err)
	}
	cotangent := Normal(len(c.Definition(doubles(in))), "cotangent")
	dry := newRecorder()
	if _, err := c.run(in, cotangent, machine{device: dry}.compile); err != nil {
		t.Fatal(err)
	}
	if dry.launches == 0 {
		return
	}
	device := cudatest.ForMachines(t)
	if device == nil {
		return
	}
	for _, p := range []kernels.Precision{kernels.Float32, kernels.BFloat16} {
		if p == kernels.BFloat16 {
			for i := range in {
				if c.wantsGrad(i) {
					in[i] = rounded(in[i])
				}
			}
			cotangent = rounded(cotangent)
		}
		each := &strict{precision: p}
		if _, err := c.run(in, cotangent, each.run); err != nil {
			t.Fatal(err)
		}
		results, err := c.run(in, cotangent, machine{p, device}.run)
		if err == nil {
			err = c.compareAll(results, in, cotangent, each.roundings)
		}
		if err != nil {
			t.Fatalf("in %v on %v: %v", p, device, err)
		}
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

// rounded returns x with each value rounded to the nearest bfloat16.
func rounded(x []float32) []float32 {
	y := make([]float32, len(x))
	for i, v := range x {
		y[i] = kernels.NewBF16(v).Float32()
	}
	return y
}

// checkIn checks the operation in machines of a precision, and returns their results.
func (c Case) checkIn(p kernels.Precision, in [][]float32, cotangent []float32) ([]result, error) {
	results, err := c.run(in, cotangent, machine{precision: p}.run)
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
	return results, c.compareAll(results, in, cotangent, each.roundings)
}

// compareAll compares results with the definition and its gradients. roundings are how many
// roundings to bfloat16 each result has behind it.
func (c Case) compareAll(
	results []result, in [][]float32, cotangent []float32, roundings []int,
) error {
	compare := func(i int, want []float64) error {
		return compare(results[i].data, want, results[i].shape, c.tolerance(), roundings[i])
	}
	if err := compare(0, c.Definition(doubles(in))); err != nil {
		return fmt.Errorf("%s: %w", results[0].name, err)
	}
	gradients := c.gradients(doubles(in), double(cotangent))
	for i, r := range results[2:] {
		if err := compare(2+i, gradients[r.input]); err != nil {
			return fmt.Errorf("%s: %s: %w", results[0].name, r.name, err)
		}
	}
	return nil
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
			const wrong = "kerneltest: input %d of shape %v has %d values"
			return nil, fmt.Errorf(wrong, i, s, len(in[i]))
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

// gradients returns the gradient of each input that has one.
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

// differences returns the central differences of Σ definition·cotangent by an input. Their own
// error is about 1e-8.
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

// nodes builds the graph: the result, Σ result·cotangent, and its gradient by every input that has
// one.
func (c Case) nodes(
	g *gorgonia.ExprGraph, in []*gorgonia.Node, cotangent []float32,
) (all gorgonia.Nodes, err error) {
	out, err := c.Op(in...)
	if err != nil {
		return nil, err
	}
	if n := out.Shape().TotalSize(); n != len(cotangent) {
		const wrong = "the result is %v, the definition has %d values"
		return nil, fmt.Errorf(wrong, out.Shape(), len(cotangent))
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

// node adds an input to g and binds it to a copy of values.
func node(g *gorgonia.ExprGraph, name string, s tensor.Shape, values []float32) *gorgonia.Node {
	if s.IsScalar() {
		n := gorgonia.NewScalar(g, tensor.Float32, gorgonia.WithName(name))
		gorgonia.Let(n, gorgonia.NewF32(values[0]))
		return n
	}
	data := append([]float32(nil), values...)
	return kernels.Input(g, name, tensor.New(tensor.WithShape(s...), tensor.WithBacking(data)))
}
