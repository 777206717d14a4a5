package kerneltest

import (
	"fmt"
	"math"
	"runtime"
	"slices"

	"github.com/kudos-ml/kudos/kernels"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// guard is how many values on both sides of a piece of memory must stay as they are.
const guard = 64

// poison is a NaN that no computation gives.
var poison = math.Float32frombits(0x7fc0dead)

// poisoned returns n values of memory that is poisoned, with guards around it.
func poisoned(n int) (values, all []float32) {
	all = make([]float32, n+2*guard)
	for i := range all {
		all[i] = poison
	}
	return all[guard : guard+n : guard+n], all
}

// intact reports whether the guards are.
func intact(all []float32) bool {
	for i := range guard {
		if !isPoison(all[i]) || !isPoison(all[len(all)-1-i]) {
			return false
		}
	}
	return true
}

func isPoison(x float32) bool { return math.Float32bits(x) == math.Float32bits(poison) }

// runStrict computes every node by itself, in the order of their creation. Results and scratch memory are poisoned and
// guarded, inputs must stay as they are, a second evaluation must not allocate, and one in place, where the rule allows it,
// must give the same.
func runStrict(g *gorgonia.ExprGraph, want gorgonia.Nodes) ([][]float32, error) {
	done := make(map[*gorgonia.Node]kernels.Tensor)
	for _, n := range g.AllNodes() {
		t, err := evaluate(n, g, done)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name(), err)
		}
		done[n] = t
	}
	values := make([][]float32, len(want))
	for i, n := range want {
		values[i] = done[n].Data
	}
	return values, nil
}

func evaluate(n *gorgonia.Node, g *gorgonia.ExprGraph, done map[*gorgonia.Node]kernels.Tensor) (kernels.Tensor, error) {
	var in []kernels.Tensor
	for it := g.From(n.ID()); it.Next(); {
		in = append(in, done[it.Node().(*gorgonia.Node)])
	}
	if r := kernels.RuleOf(n); r != nil {
		return evaluateRule(r, n.Shape(), in)
	}
	if n.Op() == nil || len(in) == 0 {
		return kernels.Tensor{Shape: n.Shape(), Data: valuesOf(n.Value())}, nil
	}
	args := make([]gorgonia.Value, len(in))
	for i, t := range in {
		if args[i] = gorgonia.Value(gorgonia.NewF32(t.Data[0])); !t.Shape.IsScalar() {
			args[i] = tensor.New(tensor.WithShape(t.Shape...), tensor.WithBacking(slices.Clone(t.Data)))
		}
	}
	v, err := n.Op().Do(args...)
	return kernels.Tensor{Shape: n.Shape(), Data: valuesOf(v)}, err
}

func evaluateRule(r kernels.Rule, s tensor.Shape, in []kernels.Tensor) (kernels.Tensor, error) {
	shapes := make([]tensor.Shape, len(in))
	before := make([][]float32, len(in))
	for i := range in {
		shapes[i], before[i] = in[i].Shape, slices.Clone(in[i].Data)
	}
	dst, dstAll := poisoned(s.TotalSize())
	ws, wsAll := poisoned(workspace(r, shapes))
	c, out := kernels.NewContext(ws), kernels.Tensor{Shape: s, Data: dst}
	r.Eval(c, out, in)
	switch {
	case !intact(dstAll):
		return out, fmt.Errorf("writes beside its result")
	case !intact(wsAll):
		return out, fmt.Errorf("writes beside its %d values of scratch memory", len(ws))
	}
	for i, x := range dst {
		if isPoison(x) {
			return out, fmt.Errorf("leaves value %v as it was, or reads memory that nobody wrote", Index(s, i))
		}
	}
	for i := range in {
		if err := sameBits(in[i].Data, before[i], in[i].Shape); err != nil {
			return out, fmt.Errorf("writes to input %d: %w", i, err)
		}
	}
	if err := evaluateInPlace(c, r, out, in); err != nil {
		return out, err
	}
	first := slices.Clone(dst)
	if n := allocations(func() { r.Eval(c, out, in) }); n > 0 {
		return out, fmt.Errorf("allocates %d times", n)
	}
	if err := sameBits(dst, first, s); err != nil {
		return out, fmt.Errorf("the second run differs from the first: %w", err)
	}
	return out, nil
}

// workspace is how many float32 values of scratch memory a rule wants.
func workspace(r kernels.Rule, in []tensor.Shape) int {
	w, ok := r.(kernels.Workspacer)
	if !ok {
		return 0
	}
	return (w.Workspace(kernels.NewContext(nil), in) + 3) / 4
}

// evaluateInPlace lets the result overwrite the input that it may.
func evaluateInPlace(c *kernels.Context, r kernels.Rule, want kernels.Tensor, in []kernels.Tensor) error {
	p, ok := r.(kernels.InPlacer)
	if !ok || p.InPlace() < 0 {
		return nil
	}
	k := p.InPlace()
	if len(in[k].Data) != len(want.Data) {
		return nil
	}
	shared := slices.Clone(in)
	shared[k].Data = slices.Clone(in[k].Data)
	r.Eval(c, kernels.Tensor{Shape: want.Shape, Data: shared[k].Data}, shared)
	if err := sameBits(shared[k].Data, want.Data, want.Shape); err != nil {
		return fmt.Errorf("in place of input %d it gives something else: %w", k, err)
	}
	return nil
}

// allocations returns how many objects f allocates: the least of some runs, since others allocate too.
func allocations(f func()) uint64 {
	least := uint64(math.MaxUint64)
	var before, after runtime.MemStats
	for range 5 {
		runtime.ReadMemStats(&before)
		f()
		runtime.ReadMemStats(&after)
		if least = min(least, after.Mallocs-before.Mallocs); least == 0 {
			return 0
		}
	}
	return least
}
