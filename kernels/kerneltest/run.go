package kerneltest

import (
	"fmt"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/kernels"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A result is the value of a node after a run.
type result struct {
	name  string
	input int // of a gradient
	shape tensor.Shape
	data  []float32
}

// A runner runs g and returns copies of the values of the wanted nodes.
type runner func(g *gorgonia.ExprGraph, want gorgonia.Nodes) ([][]float32, error)

// run builds the graph and runs it. It returns the result, the loss and the gradients.
func (c Case) run(in [][]float32, cotangent []float32, machine runner) ([]result, error) {
	g := gorgonia.NewGraph()
	leaves := make([]*gorgonia.Node, len(in))
	for i := range in {
		leaves[i] = node(g, fmt.Sprint("input ", i), c.Shapes[i], in[i])
	}
	want, err := c.nodes(g, leaves, cotangent)
	if err != nil {
		return nil, err
	}
	values, err := machine(g, want)
	if err != nil {
		return nil, err
	}
	results := make([]result, 0, len(want))
	for i, n := range want {
		results = append(results, result{shape: n.Shape(), data: values[i]})
	}
	results[0].name, results[1].name = want[0].Name(), "loss"
	k := 2
	for i := range in {
		if !c.wantsGrad(i) {
			continue
		}
		results[k].name, results[k].input = fmt.Sprintf("gradient by input %d", i), i
		if got := results[k].shape; !slices.Equal(got, c.Shapes[i]) {
			return nil, fmt.Errorf("gradient by input %d is %v, the input %v", i, got, c.Shapes[i])
		}
		k++
	}
	for i, n := range leaves {
		if err := sameBits(valuesOf(n.Value()), in[i], n.Shape()); err != nil {
			return nil, fmt.Errorf("input %d was written to: %w", i, err)
		}
	}
	return results, nil
}

// runTape runs g in gorgonia's own machine.
func runTape(g *gorgonia.ExprGraph, want gorgonia.Nodes) ([][]float32, error) {
	read := make([]gorgonia.Value, len(want))
	for i, n := range want {
		gorgonia.Read(n, &read[i])
	}
	vm := gorgonia.NewTapeMachine(g)
	defer vm.Close()
	if err := vm.RunAll(); err != nil {
		return nil, err
	}
	values := make([][]float32, len(want))
	for i, v := range read {
		values[i] = valuesOf(v)
	}
	return values, nil
}

// A machine is a kernels.Machine of a precision, on a device or, if that is nil, on the processor.
type machine struct {
	precision kernels.Precision
	device    kernels.Device
}

// config is what a machine that computes these nodes is made of.
func (p machine) config(want gorgonia.Nodes) kernels.Config {
	return kernels.Config{Want: want, Precision: p.precision, Device: p.device}
}

// compile makes a machine and does not run it.
func (p machine) compile(g *gorgonia.ExprGraph, want gorgonia.Nodes) ([][]float32, error) {
	m, err := kernels.NewMachine(g, p.config(want))
	if err != nil {
		return nil, err
	}
	return make([][]float32, len(want)), m.Close()
}

// A recorder is a device that does nothing but count launches.
type recorder struct {
	kernels.Device
	launches int
}

func newRecorder() *recorder { return &recorder{Device: kernels.Planning(nil)} }

func (r *recorder) String() string { return "recorder" }

func (r *recorder) Compile(l []kernels.Launch) (kernels.Runner, error) {
	r.launches += len(l)
	return r.Device.Compile(l)
}

// run runs g in a kernels.Machine, twice. The contents of the result's memory and of the workspace
// before a run must not matter.
func (p machine) run(g *gorgonia.ExprGraph, want gorgonia.Nodes) ([][]float32, error) {
	m, err := kernels.NewMachine(g, p.config(want))
	if err != nil {
		return nil, err
	}
	defer m.Close()
	var values [][]float32
	for run := range 2 {
		if err := m.RunAll(); err != nil {
			return nil, err
		}
		for i, n := range want {
			if run == 0 {
				values = append(values, valuesOf(m.Value(n)))
			} else if err := sameBits(valuesOf(m.Value(n)), values[i], n.Shape()); err != nil {
				return nil, fmt.Errorf("the second run differs from the first: %w", err)
			}
		}
	}
	return values, nil
}

// valuesOf returns a copy of a value's memory.
func valuesOf(v gorgonia.Value) []float32 {
	switch v := v.(type) {
	case *gorgonia.F32:
		return []float32{float32(*v)}
	case *tensor.Dense:
		return append([]float32(nil), v.Float32s()...)
	}
	return nil
}

func sameResults(got, want []result) error {
	for i := range want {
		if err := sameBits(got[i].data, want[i].data, want[i].shape); err != nil {
			return fmt.Errorf("%s: %w", want[i].name, err)
		}
	}
	return nil
}

// sameBits compares bit by bit. So a NaN equals itself: Compare says whether a NaN is wrong.
func sameBits(got, want []float32, s tensor.Shape) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d values, not %d", len(got), len(want))
	}
	for i, w := range want {
		if math.Float32bits(got[i]) != math.Float32bits(w) {
			return fmt.Errorf("value %v is %v, not %v", Index(s, i), got[i], w)
		}
	}
	return nil
}

// Compare returns an error that names the worst element if got differs from want by more than the
// tolerance. The package comment says how the tolerance is applied.
func Compare(got []float32, want []float64, s tensor.Shape, tolerance float64) error {
	return compare(got, want, s, tolerance, 0)
}

// compare is Compare for results that have so many roundings to bfloat16 behind them.
func compare(
	got []float32, want []float64, s tensor.Shape, tolerance float64, roundings int,
) error {
	if len(got) != len(want) {
		return fmt.Errorf("%d values, not %d", len(got), len(want))
	}
	rms, top := 0.0, 0.0
	for _, w := range want {
		rms += w * w
		top = max(top, math.Abs(w))
	}
	rms = math.Sqrt(rms / float64(max(1, len(want))))
	worst, excess := -1, 1.0
	for i, w := range want {
		allowed := tolerance*(math.Abs(w)+rms) + differenceError
		if roundings > 0 {
			allowed += float64(roundings) * bfloat16Rounding * (math.Abs(w) + top)
		}
		e := math.Abs(float64(got[i])-w) / allowed
		if math.IsNaN(e) {
			e = math.Inf(1)
		}
		if !(e <= excess) {
			worst, excess = i, e
		}
	}
	if worst < 0 {
		return nil
	}
	off := math.Abs(float64(got[worst]) - want[worst])
	return fmt.Errorf("value %v is %v, not %v: off by %.3g, %.3g times what is allowed (rms %.3g)",
		Index(s, worst), got[worst], want[worst], off, excess, rms)
}

// differenceError is the error that central differences may have where a gradient is zero.
const differenceError = 1e-9

// Index returns the coordinates of the i-th value of a tensor of shape s.
func Index(s tensor.Shape, i int) []int {
	at := make([]int, len(s))
	for d := len(s) - 1; d >= 0; d-- {
		at[d] = i % s[d]
		i /= s[d]
	}
	return at
}
