package kernels

import (
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
)

// A fusible is a product that can be computed together with its epilogue: with operations that read
// its result, before it is stored.
type fusible interface {
	Rule
	// launchWith queues the product of c.in with an epilogue.
	launchWith(c *call, e cuda.Epilogue)
}

// The places of operations in an epilogue. A place is taken at most once, and in this order.
const (
	noPlace = iota
	timePlace
	residualPlace
	activationPlace
)

// placeOf returns the place that a rule has in epilogues.
func placeOf(r Rule) int {
	switch r := r.(type) {
	case addRepeated:
		if r.Lead == 1 {
			return timePlace
		}
	case add, sum:
		return residualPlace
	}
	return noPlace
}

// A fusion is a product and its epilogue, as numbers of values.
type fusion struct {
	product  int
	epilogue []int // the operations, each of which reads the one before
	reads    []int // the number of the input that each of them reads it by
}

// last returns the value that the fusion computes.
func (f *fusion) last() int { return f.epilogue[len(f.epilogue)-1] }

// A fused is the rule of a fusion. Its inputs are those of the product, and behind them what else
// each operation of the epilogue reads. The result has the bits that the operations have one by
// one: each of them reads what the one before gives, rounded to bfloat16 if that is its type.
type fused struct {
	product  fusible
	inputs   int          // of product
	shape    tensor.Shape // of its result
	epilogue []operation
}

// An operation is part of an epilogue.
type operation struct {
	rule  Rule
	reads int      // the number of the input that is the result of what comes before
	other int      // the number of the fused rule's input that it reads too, or none
	in    []Tensor // for its Eval
}

// name is what a profile calls the rule: the names of what is fused, such as "conv2D+add".
func (r *fused) name() string {
	names := []string{nameOfRule(r.product)}
	for _, o := range r.epilogue {
		names = append(names, nameOfRule(o.rule))
	}
	return strings.Join(names, "+")
}

func (r *fused) Shape([]tensor.Shape) (tensor.Shape, error) { return r.shape, nil }
func (r *fused) Differentiable(n int) []bool                { return make([]bool, n) }

func (r *fused) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

func (r *fused) Workspace(c *Context, in []tensor.Shape) int {
	return workspace(c, r.product, in[:r.inputs])
}

// Eval computes the product, and then does the epilogue in its place. A product that did a tile's
// epilogue while the tile is in a cache would come in here.
func (r *fused) Eval(c *Context, dst Tensor, in []Tensor) {
	x := Tensor{Shape: r.shape, Data: dst.Data}
	r.product.Eval(c, x, in[:r.inputs])
	for i := range r.epilogue {
		o := &r.epilogue[i]
		if c.precision == BFloat16 {
			cpu.RoundBF16s(c.pool, x.Data)
		}
		if o.other != none {
			o.in[1-o.reads] = in[o.other]
		}
		o.in[o.reads] = x
		o.rule.Eval(c, x, o.in)
	}
}

func (r *fused) launch(c *call) {
	of := *c
	of.in, of.dst.Shape = c.in[:r.inputs], r.shape
	var e cuda.Epilogue
	for _, o := range r.epilogue {
		switch placeOf(o.rule) {
		case timePlace:
			t := c.in[o.other]
			e.Time, e.Rows = t.Tensor, leading(r.shape)/t.Shape[0]
		case residualPlace:
			e.Residual = c.in[o.other].Tensor
		}
	}
	r.product.launchWith(&of, e)
	c.need = of.need
}

// fusing is off in tests of what fusing changes.
var fusing = true

// fuse replaces products and operations that read their results by fused ones. kept are the values
// that are results of the run. It returns the program that is left, with the numbers that updates
// and kept have there. It takes linear time.
func (p *program) fuse(updates []update, kept []bool) (*program, []update, []bool) {
	f := fuser{p: p, kept: kept, part: make([]bool, len(p.values))}
	for i := range p.values {
		if !f.part[i] {
			f.find(i)
		}
	}
	if len(f.fusions) == 0 {
		return p, updates, kept
	}
	f.rewrite()
	moved := make([]update, len(updates))
	for i, u := range updates {
		moved[i] = update{param: f.at[u.param], grad: f.at[u.grad]}
	}
	return f.to, moved, f.to.kept(moved)
}

// A fuser finds fusions and rewrites the program.
type fuser struct {
	p       *program
	kept    []bool
	fusions []fusion
	part    []bool // values that are part of a fusion

	to *program        // the program that is left
	by map[int]*fusion // the fusions, by the value that they compute
	at []int           // the number there of each value, or none
}

// find adds the fusion of product i, if there is one.
func (f *fuser) find(i int) {
	if _, ok := f.p.values[i].rule.(fusible); !ok {
		return
	}
	n := fusion{product: i}
	for last, place := i, noPlace; ; {
		e, reads := f.next(i, last, place)
		if e == none {
			break
		}
		n.epilogue, n.reads = append(n.epilogue, e), append(n.reads, reads)
		last, place = e, placeOf(f.p.values[e].rule)
	}
	if len(n.epilogue) == 0 {
		return
	}
	f.fusions = append(f.fusions, n)
	for _, e := range append(n.epilogue, i) {
		f.part[e] = true
	}
}

// next returns the operation that goes on with value last of the epilogue of product i, behind
// place, and the number of the input that it reads it by. It is none if there is no such operation,
// or if last is needed for something else.
func (f *fuser) next(i, last, place int) (e, reads int) {
	v := &f.p.values[last]
	if f.kept[last] || len(v.readers) != 1 {
		return none, 0
	}
	e = v.readers[0]
	w := &f.p.values[e]
	at := placeOf(w.rule)
	if at <= place || w.typ != v.typ || f.part[e] {
		return none, 0
	}
	reads = none
	for k, c := range w.in {
		if r := &f.p.values[c]; r.root == last {
			if reads != none || r.offset != 0 || r.size != v.size {
				return none, 0
			}
			reads = k
		}
	}
	columns := width(f.p.values[i].shape)
	switch at {
	case timePlace:
		if reads != 0 || width(f.p.values[w.in[0]].shape) != columns {
			return none, 0
		}
	case residualPlace:
		if !f.ready(w.in[1-reads], i) {
			return none, 0
		}
	}
	return e, reads
}

// ready reports whether value c is there before i is computed. A conversion is made when it is
// needed.
func (f *fuser) ready(c, i int) bool {
	if f.p.converts(c) {
		c = f.p.values[c].in[0]
	}
	c = f.p.values[c].root
	return c < i || !f.p.values[c].runs()
}

// rewrite makes the program in which each fusion is one value. It stands where the last of its
// operations was.
func (f *fuser) rewrite() {
	n := len(f.p.values)
	f.to = &program{
		precision: f.p.precision,
		values:    make([]value, 0, n),
		index:     make(map[*gorgonia.Node]int, len(f.p.index)),
		out:       make(map[*gorgonia.Node]int, len(f.p.out)),
		converted: make(map[int]int),
	}
	f.at = slices.Repeat([]int{none}, n)
	f.by = make(map[int]*fusion, len(f.fusions))
	for k := range f.fusions {
		f.by[f.fusions[k].last()] = &f.fusions[k]
	}
	for i := range f.p.values {
		if !f.waits(i) {
			f.put(i)
		}
	}
	for i := range f.p.values {
		if !f.gone(f.p.values[i].root) {
			f.put(i) // what waits for nobody
		}
		if v := &f.p.values[i]; v.wanted {
			f.to.values[f.at[i]].wanted = true
		}
	}
	for n, i := range f.p.index {
		if f.at[i] != none {
			f.to.index[n] = f.at[i]
		}
	}
	for n, i := range f.p.out {
		f.to.out[n] = f.at[i]
	}
	for i, c := range f.p.converted {
		if f.at[i] != none {
			f.to.converted[f.at[i]] = f.at[c]
		}
	}
}

// gone reports whether value i is left in no program.
func (f *fuser) gone(i int) bool { return f.part[i] && f.by[i] == nil }

// waits reports whether value i is put before the first value that reads it: views, which move with
// what they are part of, and conversions of weights, which move with the product.
func (f *fuser) waits(i int) bool {
	v := &f.p.values[i]
	if f.gone(i) || !v.runs() && v.kind == computed {
		return true
	}
	return f.p.converts(i) && !f.p.values[f.p.values[v.in[0]].root].runs()
}

// put appends value i to the program, behind what it reads, unless it is there.
func (f *fuser) put(i int) {
	if f.at[i] != none {
		return
	}
	v := f.p.values[i]
	v.readers, v.wanted, v.offset = nil, false, 0
	if n := f.by[i]; n != nil {
		v.rule, v.in = f.rule(n)
	}
	v.in = slices.Clone(v.in)
	for k, c := range v.in {
		f.put(c)
		v.in[k] = f.at[c]
	}
	f.at[i] = f.to.push(v)
}

// rule returns the rule of a fusion, and what it reads.
func (f *fuser) rule(n *fusion) (*fused, []int) {
	product := &f.p.values[n.product]
	in := slices.Clone(product.in)
	r := &fused{product: product.rule.(fusible), inputs: len(in), shape: product.shape}
	for k, e := range n.epilogue {
		v := &f.p.values[e]
		o := operation{rule: v.rule, reads: n.reads[k], other: none, in: make([]Tensor, len(v.in))}
		if len(v.in) == 2 {
			o.other = len(in)
			in = append(in, v.in[1-o.reads])
		}
		r.epilogue = append(r.epilogue, o)
	}
	return r, in
}

// nameOfRule is the type of a rule, or what a fused one says.
func nameOfRule(r Rule) string {
	if f, ok := r.(*fused); ok {
		return f.name()
	}
	return strings.TrimPrefix(fmt.Sprintf("%T", r), "kernels.")
}
