package kernels

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// A Typer is a Rule that knows other types than float32. Of all others inputs and results are
// float32 in every Machine.
type Typer interface {
	// Types returns of which type each input is taken and of which type the result is given in a
	// Machine of precision p, where the inputs are there as in. What is taken otherwise than it is
	// there is converted before. A Float32 machine does not ask.
	Types(p Precision, in []Precision) (takes []Precision, gives Precision)
}

// A TypedEvaler is a Typer with a body of its own for tensors that are not all float32. For other
// rules a Machine evaluates Eval on float32 copies of those that are not, in scratch memory, and
// rounds its result.
type TypedEvaler interface {
	// EvalTyped is Eval where an input or the result is not float32.
	EvalTyped(c *Context, dst Tensor, in []Tensor)
}

// alike is for rules of which all inputs and the result have one type: bfloat16 if an input has it.
func alike(in []Precision) (takes []Precision, gives Precision) {
	gives = Float32
	for _, t := range in {
		gives = max(gives, t)
	}
	return slices.Repeat([]Precision{gives}, len(in)), gives
}

// product is for rules that give p and take it for their first n inputs, float32 for the others.
func product(p Precision, in []Precision, n int) (takes []Precision, gives Precision) {
	takes = make([]Precision, len(in))
	for i := range takes[:n] {
		takes[i] = p
	}
	return takes, p
}

// typesOf returns the types that a value takes its inputs in, nil for float32, and has itself.
func (p *program) typesOf(v *value) (takes []Precision, gives Precision, err error) {
	if p.precision == Float32 || len(v.in) == 0 {
		return nil, Float32, nil
	}
	in := make([]Precision, len(v.in))
	for k, c := range v.in {
		in[k] = p.values[c].typ
	}
	if _, view := v.rule.(Aliaser); view {
		return in, in[0], nil
	}
	t, ok := v.rule.(Typer)
	if !ok {
		return make([]Precision, len(in)), Float32, nil
	}
	takes, gives = t.Types(p.precision, in)
	if len(takes) != len(in) || slices.Max(append(takes, gives)) > BFloat16 {
		return nil, 0, fmt.Errorf("it takes %v for its %d inputs and gives %v", takes, len(in), gives)
	}
	return takes, gives, nil
}

// as returns the value that is i's in type t: i itself, or a conversion, which is added where there
// is none. What is in memory anyway, as weights are, is converted anew for each reader: a copy
// would live from the forward pass to the backward pass, and is cheap to make.
func (p *program) as(i int, t Precision) int {
	v := p.values[i]
	if v.typ == t || v.boxed {
		return i
	}
	if c, ok := p.converted[i]; ok {
		return c
	}
	c := p.push(value{node: v.node, kind: computed, rule: convert{}, in: []int{i}, shape: v.shape, size: v.size, typ: t})
	if p.values[v.root].runs() {
		p.converted[i] = c
	}
	return c
}

// converts reports whether i is another value in another type.
func (p *program) converts(i int) bool {
	v := &p.values[i]
	_, ok := v.rule.(convert)
	return ok && v.typ != p.values[v.in[0]].typ
}

// convert is its input, in the result's type. It also copies what is read out.
type convert struct{}

func (convert) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0], nil }
func (convert) Differentiable(n int) []bool                   { return make([]bool, n) }
func (convert) Eval(_ *Context, dst Tensor, in []Tensor)      { copy(dst.Data, in[0].Data) }

func (convert) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	if dst.Type == Float32 {
		cpu.FromBF16s(c.pool, dst.Data, words(in[0].BF16))
	} else {
		cpu.ToBF16s(c.pool, words(dst.BF16), in[0].Data)
	}
}

func (convert) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// A wide is what a rule that knows float32 alone is evaluated on in place of tensors of other types.
type wide struct {
	dst Tensor
	in  []Tensor
}

// widens reports whether a value is computed on float32 copies.
func (p *program) widens(i int) bool {
	_, ok := p.values[i].rule.(TypedEvaler)
	return !ok && p.mixed(i)
}

// mixed reports whether a value or one that it is computed from is not float32.
func (p *program) mixed(i int) bool {
	v := &p.values[i]
	return v.typ != Float32 || slices.ContainsFunc(v.in, func(c int) bool { return p.values[c].typ != Float32 })
}

// widenedBytes is how much scratch memory the copies take.
func (p *program) widenedBytes(i int) int {
	if !p.widens(i) {
		return 0
	}
	n := 0
	for _, c := range append([]int{i}, p.values[i].in...) {
		if v := &p.values[c]; v.typ != Float32 {
			n += align(floats(v.size))
		}
	}
	return n
}

// widened cuts scratch memory for the copies of what k reads and gives.
func (k *task) widened(scratch []float32) *wide {
	cut := func(t Tensor) Tensor {
		if t.Type == Float32 {
			return t
		}
		n := len(t.BF16)
		w := Tensor{Shape: t.Shape, Data: scratch[:n:n]}
		scratch = scratch[align(floats(n))/floats(1):]
		return w
	}
	w := &wide{in: make([]Tensor, len(k.in))}
	w.dst = cut(k.dst)
	for i, t := range k.in {
		w.in[i] = cut(t)
	}
	return w
}

// eval evaluates rule on float32 copies and rounds the result.
func (w *wide) eval(c *Context, rule Rule, dst Tensor, in []Tensor) {
	for i, t := range in {
		if t.Type == Float32 {
			w.in[i].Data = t.Data // where an input is bound now
		} else {
			cpu.FromBF16s(c.pool, w.in[i].Data, words(t.BF16))
		}
	}
	rule.Eval(c, w.dst, w.in)
	if dst.Type != Float32 {
		cpu.ToBF16s(c.pool, words(dst.BF16), w.dst.Data)
	}
}
