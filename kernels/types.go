package kernels

import (
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A Typer is a Rule that knows other types than float32. For all other rules inputs and results are
// float32 in every Machine.
type Typer interface {
	// Types returns the type that the rule takes each input in, and the type of its result, in a
	// Machine of precision p. in holds the types that the inputs have. An input whose type is not
	// the one that the rule takes is converted first. A Float32 machine does not ask.
	Types(p Precision, in []Precision) (takes []Precision, gives Precision)
}

// A TypedEvaler is a Typer with an evaluation of its own for tensors that are not all float32. For
// other rules a Machine makes float32 copies of those that are not, in the workspace. It calls Eval
// on the copies and rounds the result.
type TypedEvaler interface {
	// EvalTyped is Eval for an input or a result that is not float32.
	EvalTyped(c *Context, dst Tensor, in []Tensor)
}

// alike is for rules whose inputs and result all have one type. It is bfloat16 if an input is, and
// float32 otherwise.
func alike(in []Precision) (takes []Precision, gives Precision) {
	gives = Float32
	for _, t := range in {
		gives = max(gives, t)
	}
	return slices.Repeat([]Precision{gives}, len(in)), gives
}

// product is for rules that take their first n inputs in p and the others in float32, and give p.
func product(p Precision, in []Precision, n int) (takes []Precision, gives Precision) {
	takes = make([]Precision, len(in))
	for i := range takes[:n] {
		takes[i] = p
	}
	return takes, p
}

// typesOf returns the types that a value takes its inputs in, and its own type. takes is nil if all
// are float32.
func (p *program) typesOf(v *value) (takes []Precision, gives Precision, err error) {
	if p.context.precision == Float32 || len(v.in) == 0 {
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
	takes, gives = t.Types(p.context.precision, in)
	if len(takes) != len(in) || slices.Max(append(takes, gives)) > BFloat16 {
		const wrong = "it takes %v for its %d inputs and gives %v"
		return nil, 0, fmt.Errorf(wrong, takes, len(in), gives)
	}
	if w, ok := v.rule.(weigher); ok && w.wholeWeights(&p.context, p.shapes(v.in)) {
		takes[1] = Float32
	}
	return takes, gives, nil
}

// as returns value i in type t: i itself, or a conversion of it. The conversion is added if there
// is none. Memory that is there anyway, such as weights, is converted for each reader again: a copy
// would live from the forward pass to the backward pass, and is cheap to make. A device keeps
// copies of its parameters in bfloat16, and so does the processor of constant ones.
func (p *program) as(i int, t Precision) int {
	v := p.values[i]
	if v.typ == t || v.boxed {
		return i
	}
	if root := &p.values[v.root]; t == BFloat16 && root.kind == input && p.resident(root.node) {
		return p.half(i)
	}
	if c, ok := p.converted[i]; ok {
		return c
	}
	c := p.push(value{
		node: v.node, kind: computed, rule: convert{}, in: []int{i}, shape: v.shape, size: v.size,
		typ: t,
	})
	if p.values[v.root].runs() {
		p.converted[i] = c
	}
	return c
}

// half returns the copy in bfloat16 of value i, which is a parameter or a part of one, that is kept
// from run to run.
func (p *program) half(i int) int {
	v := p.values[i]
	h, ok := p.halves[v.root]
	if !ok {
		r := &p.values[v.root]
		h = p.push(value{
			node: r.node, kind: input, shape: r.shape, size: r.size, typ: BFloat16, half: true,
		})
		p.halves[v.root] = h
	}
	if i == v.root {
		return h
	}
	return p.push(value{
		node: v.node, kind: computed, rule: view{Offset: v.offset, To: v.shape}, in: []int{h},
		shape: v.shape, size: v.size, typ: BFloat16,
	})
}

// converts reports whether i is another value in another type.
func (p *program) converts(i int) bool {
	v := &p.values[i]
	_, ok := v.rule.(convert)
	return ok && v.typ != p.values[v.in[0]].typ
}

// convert is its input in the type of the result. It also copies inputs whose values are wanted.
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

func (convert) launch(c *call) {
	switch dst, x := c.dst.Tensor, c.in[0].Tensor; {
	case dst.Type == x.Type:
		cuda.CopyRows(c.Queue, dst, x, 1, x.Len, x.Len, x.Len)
	case dst.Type == cuda.BFloat16:
		cuda.ToBF16s(c.Queue, dst, x)
	default:
		cuda.FromBF16s(c.Queue, dst, x)
	}
}

func (convert) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// A wide holds the float32 copies that a rule is evaluated on in place of tensors of other types.
type wide struct {
	dst Tensor
	in  []Tensor
}

// widens reports whether a value is computed on float32 copies.
func (p *program) widens(i int) bool {
	_, ok := p.values[i].rule.(TypedEvaler)
	return !ok && p.mixed(i)
}

// mixed reports whether a value, or a value that it is computed from, is not float32.
func (p *program) mixed(i int) bool {
	v := &p.values[i]
	return v.typ != Float32 ||
		slices.ContainsFunc(v.in, func(c int) bool { return p.values[c].typ != Float32 })
}

// widenedBytes returns how many bytes the copies take.
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

// widened divides memory among the copies of what k reads and writes.
func (k *task) widened(workspace []float32) *wide {
	cut := func(t Tensor) Tensor {
		if t.Type == Float32 {
			return t
		}
		n := len(t.BF16)
		w := Tensor{Shape: t.Shape, Data: workspace[:n:n]}
		workspace = workspace[align(floats(n))/floats(1):]
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
