package kernels

import (
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

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
	case unary:
		switch r.Function {
		case "SiLU", "QuickGELU", "GELU", "ReLU":
			return activationPlace
		}
	case geglu:
		return activationPlace
	}
	return noPlace
}

// A fusion is a product and its epilogue, as numbers of values.
type fusion struct {
	product  int
	epilogue []int // the operations, each of which reads the one before
	reads    []int // the number of the input that each of them reads it by
	keeps    bool  // whether others read what the last operation reads
}

// last returns the value that the fusion computes, and before the one that it is computed from.
func (f *fusion) last() int { return f.epilogue[len(f.epilogue)-1] }

func (f *fusion) before() int {
	if n := len(f.epilogue); n > 1 {
		return f.epilogue[n-2]
	}
	return f.product
}

// fusing is off in tests of what fusing changes.
var fusing = true

// fuse replaces products and operations that read their results by fused ones. With keeping, what
// an activation reads may be kept for its gradient, in one piece of memory with its result. fuse
// returns the program that is left, its updates, and which of its values are results of the run.
func (p *program) fuse(updates []update, keeping bool) (*program, []update, []bool) {
	n := len(p.values)
	f := fuser{
		p: p, updates: updates, kept: p.kept(updates), keeping: keeping,
		part: make([]bool, n), held: make([]bool, n),
		scores: make(map[int]int), scored: make(map[int]int),
	}
	for i := range p.values {
		f.find(i)
		f.findScored(i)
	}
	if len(f.fusions) == 0 && len(f.scores) == 0 {
		return p, updates, f.kept
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
	updates []update
	kept    []bool
	keeping bool
	fusions []fusion
	part    []bool    // values that are part of a fusion
	held    []bool    // those of them that are kept beside the last one
	life    *lifetime // of the program as it was, if keeps has asked for it

	scores map[int]int // attention, by the gradient that reads it as scored
	scored map[int]int // the number that each such attention has in to, when it is there

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
	for last, place := i, noPlace; !n.keeps; {
		e := f.next(last)
		if e == none {
			break
		}
		reads, at := f.reads(e, last), placeOf(f.p.values[e].rule)
		if reads == none || at <= place || !f.fits(&n, e, reads) {
			break
		}
		if n.keeps = len(f.p.values[last].readers) > 1; n.keeps && !f.keeps(last, e) {
			n.keeps = false
			break
		}
		n.epilogue, n.reads = append(n.epilogue, e), append(n.reads, reads)
		last, place = e, at
	}
	if len(n.epilogue) == 0 {
		return
	}
	f.fusions = append(f.fusions, n)
	for _, e := range append(n.epilogue, i) {
		f.part[e] = true
	}
	if n.keeps {
		f.held[n.before()] = true
	}
}

// next returns the operation that may go on with a value in an epilogue, or none. It is the only
// one to read the value, or an activation, whose gradient may read the value too.
func (f *fuser) next(last int) int {
	v := &f.p.values[last]
	if f.kept[last] {
		return none
	}
	if len(v.readers) == 1 {
		return v.readers[0]
	}
	for _, e := range v.readers {
		if placeOf(f.p.values[e].rule) == activationPlace {
			return e
		}
	}
	return none
}

// reads returns the number of the input by which operation e reads all of value last, or none if it
// reads a part of it.
func (f *fuser) reads(e, last int) int {
	v, reads := &f.p.values[last], none
	for k, c := range f.p.values[e].in {
		if r := &f.p.values[c]; r.root == last {
			if r.size != v.size {
				return none
			}
			reads = k
		}
	}
	return reads
}

// fits reports whether operation e, which reads by this input what n computes so far, can be done
// together with it.
func (f *fuser) fits(n *fusion, e, reads int) bool {
	product, w := &f.p.values[n.product], &f.p.values[e]
	if w.typ != product.typ {
		return false
	}
	columns := width(product.shape)
	_, layer := product.rule.(linear)
	_, conv := product.rule.(conv2D)
	switch w.rule.(type) {
	case addRepeated:
		return reads == 0 && width(f.p.values[w.in[0]].shape) == columns && (layer || conv)
	case add, sum:
		return f.ready(w.in[1-reads], n.product)
	case unary:
		return layer || conv
	case geglu:
		return layer && len(n.epilogue) == 0 && columns%16 == 0 &&
			width(f.p.values[w.in[0]].shape) == columns
	}
	return false
}

// keeps reports whether a value that an activation and others read can be kept beside the result of
// the activation: in one piece of memory, which is free when nothing reads either of them any more.
// The peaks of the run's memory must not grow by it. Both must begin at multiples of 16 bytes, lest
// kernels are slower.
func (f *fuser) keeps(last, activation int) bool {
	v, w := &f.p.values[last], &f.p.values[activation]
	if !f.keeping || f.kept[activation] || v.bytes()%16 != 0 {
		return false
	}
	for _, r := range v.readers {
		if r < activation {
			return false
		}
	}
	if f.life == nil {
		f.life = f.p.lifetime(f.updates, f.kept)
	}
	return f.life.join(last, activation, v.bytes(), w.bytes())
}

// A lifetime is what is known of a planned run: what lives when, in bytes, and for how long.
type lifetime struct {
	curves [2][]int // at each step and at the end, of all values and of intermediate ones
	peaks  [2]int
	step   []int  // that computes a value
	last   []int  // the last step that reads the result of each step
	reused []bool // whether a later result takes over the memory of the result of each step
}

// lifetime plans a run.
func (p *program) lifetime(updates []update, kept []bool) *lifetime {
	steps := p.steps(p.order(), updates)
	buffers := p.assign(steps)
	l := &lifetime{
		step: make([]int, len(p.values)), last: p.lastReads(steps),
		reused: make([]bool, len(steps)),
	}
	l.curves[0], l.curves[1] = p.lives(steps, buffers, kept)
	for i, c := range l.curves {
		l.peaks[i] = slices.Max(c)
	}
	for t, s := range steps {
		if s.value != none {
			l.step[s.value] = t
			l.reused[t] = s.out != none && buffers[s.out].last > l.last[t]
		}
	}
	return l
}

// join lets results a and b live until the last of them is read, if the peaks allow for it, and
// reports whether it does. The time that this takes is that by which one of them lives longer.
func (l *lifetime) join(a, b, bytesA, bytesB int) bool {
	s, t := l.step[a], l.step[b]
	if l.reused[s] || l.reused[t] {
		return false
	}
	first, last, more := l.last[s], l.last[t], align(bytesA)
	if first > last {
		first, last, more = last, first, align(bytesB)
	}
	for i, c := range l.curves {
		if slices.Max(c[first:last+1])+more > l.peaks[i] {
			return false
		}
	}
	for _, c := range l.curves {
		for i := first; i <= last; i++ {
			c[i] += more
		}
	}
	return true
}

// ready reports whether value c is there before i is computed, and is not i. A conversion is made
// when it is needed.
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
		context:  f.p.context,
		values:   make([]value, 0, n),
		index:    make(map[*gorgonia.Node]int, len(f.p.index)),
		out:      make(map[*gorgonia.Node]int, len(f.p.out)),
		resident: f.p.resident,
		onDevice: f.p.onDevice,
	} // without converted and halves: nothing is converted any more
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
}

// gone reports whether value i is left in no program.
func (f *fuser) gone(i int) bool { return f.part[i] && f.by[i] == nil && !f.held[i] }

// waits reports whether value i is put before the first value that reads it: views, which move with
// what they are part of, and conversions of weights, which move with the product.
func (f *fuser) waits(i int) bool {
	v := &f.p.values[i]
	if f.gone(i) || f.held[i] || !v.runs() && v.kind == computed {
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
	if n := f.by[i]; n != nil && n.keeps {
		f.putBoth(n, v)
		return
	}
	if _, ok := f.scored[i]; ok {
		f.putScored(i, v)
		return
	}
	if a, ok := f.scores[i]; ok {
		f.put(a)
		v.rule, v.in = scoredGrad{v.rule.(attentionGrad)}, append(v.in, f.scored[a])
	}
	f.at[i] = f.to.push(v)
}

// putBoth appends a value v for the last operation of n and for what it reads, and both of these as
// views of it.
func (f *fuser) putBoth(n *fusion, v value) {
	last, before := n.last(), n.before()
	size := f.p.values[before].size
	v.size += size
	v.shape = tensor.Shape{v.size}
	root, offset := f.to.push(v), 0
	for _, i := range []int{before, last} {
		w := &f.p.values[i]
		f.at[i] = f.to.push(value{
			node: w.node, kind: computed, rule: view{Offset: offset, To: w.shape}, in: []int{root},
			shape: w.shape, size: w.size, typ: w.typ,
		})
		offset += size
	}
}

// rule returns the rule of a fusion, and what it reads.
func (f *fuser) rule(n *fusion) (*fused, []int) {
	product := &f.p.values[n.product]
	in := slices.Clone(product.in)
	r := &fused{
		product: product.rule.(fusible), inputs: len(in), shape: product.shape, keeps: n.keeps,
	}
	if last := &f.p.values[n.last()]; last.size < product.size && !n.keeps {
		x := f.p.values[in[0]].shape
		r.blocks = cut(x, width(product.shape), width(last.shape))
	}
	for k, e := range n.epilogue {
		v := &f.p.values[e]
		o := operation{
			rule: v.rule, reads: n.reads[k], other: none, shape: v.shape,
			in: make([]Tensor, len(v.in)),
		}
		if len(v.in) == 2 {
			o.other = len(in)
			in = append(in, v.in[1-o.reads])
		}
		r.epilogue = append(r.epilogue, o)
	}
	return r, in
}
