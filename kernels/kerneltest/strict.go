package kerneltest

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/kernels"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// guard is how many values on each side of a piece of memory must stay as they are.
const guard = 64

// poison and poison16 are NaNs that no computation gives.
var poison = math.Float32frombits(0x7fc0dead)

const poison16 kernels.BF16 = 0x7fdb

// poisoned returns n values of memory that holds poison, with guards around it.
func poisoned[T any](n int, poison T) (values, all []T) {
	all = make([]T, n+2*guard)
	for i := range all {
		all[i] = poison
	}
	return all[guard : guard+n : guard+n], all
}

// A guarded is a tensor in poisoned memory.
type guarded struct {
	kernels.Tensor
	all   []float32
	all16 []kernels.BF16
}

func newGuarded(s tensor.Shape, p kernels.Precision) guarded {
	g := guarded{Tensor: kernels.Tensor{Shape: s, Type: p}}
	if p == kernels.Float32 {
		g.Data, g.all = poisoned(s.TotalSize(), poison)
	} else {
		g.BF16, g.all16 = poisoned(s.TotalSize(), poison16)
	}
	return g
}

// intact reports whether the guards are as they were.
func (g *guarded) intact() bool {
	isPoison16 := func(b kernels.BF16) bool { return b == poison16 }
	return guardsAre(g.all, isPoison) && guardsAre(g.all16, isPoison16)
}

func guardsAre[T any](all []T, poisoned func(T) bool) bool {
	for i := range min(guard, len(all)) {
		if !poisoned(all[i]) || !poisoned(all[len(all)-1-i]) {
			return false
		}
	}
	return true
}

// untouched returns the first value that is still poisoned, or −1.
func (g *guarded) untouched() int {
	return max(slices.IndexFunc(g.Data, isPoison), slices.Index(g.BF16, poison16))
}

func isPoison(x float32) bool { return math.Float32bits(x) == math.Float32bits(poison) }

// A strict computes every node by itself, in the order in which the nodes were made. Results and
// workspaces are poisoned and guarded. Inputs must stay as they are. A second evaluation must not
// allocate. An evaluation in place, where the rule allows it, must give the same.
//
// It is also the definition of what a machine of its precision computes. A bfloat16 operand is
// rounded, unless it is of that type already. The rule is evaluated in float32. A bfloat16 result
// is rounded.
type strict struct {
	precision kernels.Precision
	roundings []int // of the wanted values: how many bfloat16 roundings follow each other
}

// A computed is the value of a node, with the number of roundings to bfloat16 that it has behind
// it, at most.
type computed struct {
	kernels.Tensor
	roundings int
}

func (s *strict) run(g *gorgonia.ExprGraph, want gorgonia.Nodes) ([][]float32, error) {
	done := make(map[*gorgonia.Node]computed)
	for _, n := range g.AllNodes() {
		t, err := s.evaluate(n, g, done)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", n.Name(), err)
		}
		done[n] = t
	}
	values := make([][]float32, len(want))
	s.roundings = make([]int, len(want))
	for i, n := range want {
		values[i], s.roundings[i] = cast(done[n].Tensor, kernels.Float32).Data, done[n].roundings
	}
	return values, nil
}

func (s *strict) evaluate(
	n *gorgonia.Node, g *gorgonia.ExprGraph, done map[*gorgonia.Node]computed,
) (computed, error) {
	var inputs []computed
	for it := g.From(n.ID()); it.Next(); {
		inputs = append(inputs, done[it.Node().(*gorgonia.Node)])
	}
	r := kernels.RuleOf(n)
	if r == nil && (n.Op() == nil || len(inputs) == 0) {
		return computed{Tensor: kernels.Tensor{Shape: n.Shape(), Data: valuesOf(n.Value())}}, nil
	}
	takes, gives := s.types(n, inputs)
	operands := make([]kernels.Tensor, len(inputs))
	out := computed{}
	for i, x := range inputs {
		operands[i] = cast(x.Tensor, takes[i])
		back := cast(operands[i], kernels.Float32)
		if sameBits(back.Data, cast(x.Tensor, kernels.Float32).Data, x.Shape) != nil {
			x.roundings++
		}
		out.roundings = max(out.roundings, x.roundings)
		if _, ok := r.(kernels.TypedEvaler); !ok {
			operands[i] = back
		}
	}
	var err error
	if r == nil {
		out.Tensor, err = evaluateForeign(n, operands)
	} else {
		out.Tensor, err = s.evaluateRule(r, n.Shape(), operands, gives)
	}
	if _, view := r.(kernels.Aliaser); gives != kernels.Float32 && !view {
		out.roundings++
	}
	out.Tensor = cast(out.Tensor, gives)
	return out, err
}

// types returns the types that an operation takes and gives. Its rule says so. gorgonia's
// operations know float32 alone. The sum of two gradients is an exception: a machine takes it for a
// rule of its own.
func (s *strict) types(
	n *gorgonia.Node, inputs []computed,
) (takes []kernels.Precision, gives kernels.Precision) {
	r := kernels.RuleOf(n)
	types := make([]kernels.Precision, len(inputs))
	for i := range inputs {
		types[i] = inputs[i].Type
	}
	if _, ok := r.(kernels.Aliaser); ok {
		return types, types[0]
	}
	if s.precision != kernels.Float32 {
		if t, ok := r.(kernels.Typer); ok {
			return t.Types(s.precision, types)
		}
		if isSum(n) && slices.Contains(types, s.precision) {
			return slices.Repeat([]kernels.Precision{s.precision}, len(types)), s.precision
		}
	}
	return make([]kernels.Precision, len(inputs)), kernels.Float32
}

// isSum reports whether n is gorgonia's sum of two tensors, which it puts where gradients meet.
func isSum(n *gorgonia.Node) bool { return strings.HasPrefix(n.Op().String(), "+ ") }

// cast returns the values of t in another type.
func cast(t kernels.Tensor, p kernels.Precision) kernels.Tensor {
	if t.Type == p {
		return t
	}
	to := kernels.Tensor{Shape: t.Shape, Type: p}
	for _, x := range t.Data {
		to.BF16 = append(to.BF16, kernels.NewBF16(x))
	}
	for _, b := range t.BF16 {
		to.Data = append(to.Data, b.Float32())
	}
	return to
}

func evaluateForeign(n *gorgonia.Node, in []kernels.Tensor) (kernels.Tensor, error) {
	args := make([]gorgonia.Value, len(in))
	for i, t := range in {
		if args[i] = gorgonia.Value(gorgonia.NewF32(t.Data[0])); !t.Shape.IsScalar() {
			data := tensor.WithBacking(slices.Clone(t.Data))
			args[i] = tensor.New(tensor.WithShape(t.Shape...), data)
		}
	}
	v, err := n.Op().Do(args...)
	return kernels.Tensor{Shape: n.Shape(), Data: valuesOf(v)}, err
}

// evaluateRule returns the result that Eval of the rule gives.
func (s *strict) evaluateRule(
	r kernels.Rule, shape tensor.Shape, in []kernels.Tensor, gives kernels.Precision,
) (kernels.Tensor, error) {
	eval := r.Eval
	isBF16 := func(t kernels.Tensor) bool { return t.Type != kernels.Float32 }
	if t, ok := r.(kernels.TypedEvaler); !ok {
		gives = kernels.Float32
	} else if gives != kernels.Float32 || slices.ContainsFunc(in, isBF16) {
		eval = t.EvalTyped
	}
	shapes := make([]tensor.Shape, len(in))
	before := make([]kernels.Tensor, len(in))
	for i := range in {
		shapes[i], before[i] = in[i].Shape, clone(in[i])
	}
	out := newGuarded(shape, gives)
	ws, wsAll := poisoned(s.workspace(r, shapes), poison)
	c := kernels.NewContext(ws, s.precision)
	eval(c, out.Tensor, in)
	switch {
	case !out.intact():
		return out.Tensor, fmt.Errorf("writes beside its result")
	case !guardsAre(wsAll, isPoison):
		return out.Tensor, fmt.Errorf("writes beside its %d values of workspace", len(ws))
	}
	if i := out.untouched(); i >= 0 {
		const wrong = "leaves value %v as it was, or reads memory that nobody wrote"
		return out.Tensor, fmt.Errorf(wrong, Index(shape, i))
	}
	for i := range in {
		if err := sameValues(in[i], before[i]); err != nil {
			return out.Tensor, fmt.Errorf("writes to input %d: %w", i, err)
		}
	}
	if err := evaluateInPlace(c, r, eval, out.Tensor, in); err != nil {
		return out.Tensor, err
	}
	first := clone(out.Tensor)
	if n := allocations(func() { eval(c, out.Tensor, in) }); n > 0 {
		return out.Tensor, fmt.Errorf("allocates %d times", n)
	}
	if err := sameValues(out.Tensor, first); err != nil {
		return out.Tensor, fmt.Errorf("the second run differs from the first: %w", err)
	}
	return out.Tensor, nil
}

func clone(t kernels.Tensor) kernels.Tensor {
	t.Data, t.BF16 = slices.Clone(t.Data), slices.Clone(t.BF16)
	return t
}

// sameValues compares tensors of one type bit by bit.
func sameValues(got, want kernels.Tensor) error {
	return sameBits(cast(got, kernels.Float32).Data, cast(want, kernels.Float32).Data, want.Shape)
}

// workspace returns how many float32 values of workspace a rule needs.
func (s *strict) workspace(r kernels.Rule, in []tensor.Shape) int {
	w, ok := r.(kernels.Workspacer)
	if !ok {
		return 0
	}
	return (w.Workspace(kernels.NewContext(nil, s.precision), in) + 3) / 4
}

// evaluateInPlace lets the result overwrite the input that it may overwrite.
func evaluateInPlace(
	c *kernels.Context,
	r kernels.Rule,
	eval func(*kernels.Context, kernels.Tensor, []kernels.Tensor),
	want kernels.Tensor,
	in []kernels.Tensor,
) error {
	p, ok := r.(kernels.InPlacer)
	if !ok || p.InPlace() < 0 {
		return nil
	}
	k := p.InPlace()
	if in[k].Type != want.Type || in[k].Shape.TotalSize() != want.Shape.TotalSize() {
		return nil
	}
	shared := slices.Clone(in)
	shared[k] = clone(in[k])
	out := shared[k]
	out.Shape = want.Shape
	eval(c, out, shared)
	if err := sameValues(out, want); err != nil {
		return fmt.Errorf("in place of input %d it gives something else: %w", k, err)
	}
	return nil
}

// allocations returns how many objects f allocates. It takes the least of several runs, since
// others allocate too.
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
