package kernels

import (
	"fmt"
	"math"

	"gorgonia.org/tensor"
)

// A Coster is a Rule that knows what its Eval costs. For other rules the machine estimates the cost
// from their shapes. Values that cost little are computed again rather than kept.
type Coster interface {
	// Cost returns the cost of Eval for inputs of these shapes, in multiply-adds.
	Cost(in []tensor.Shape) float64
}

const (
	// valueCost is what reading or writing a float32 costs, in multiply-adds. Memory is slower than
	// arithmetic by that much.
	valueCost = 20
	// maxRecomputed is how often a value is computed on average, at most. A budget that needs more
	// is too small.
	maxRecomputed = 16
)

// withBudget returns the order with some values computed again, so that the intermediate values
// that live at once take no more than budget bytes. If that is impossible it returns an
// ActivationError.
func (p *program) withBudget(order []int, kept []bool, budget int) ([]int, error) {
	var best *rematerializer
	for _, farsighted := range []bool{true, false} {
		r := p.rematerialize(order, kept, budget, farsighted)
		if r != nil && (best == nil || r.cost < best.cost) {
			best = r
		}
	}
	if best != nil {
		return best.steps, nil
	}
	lo, hi := budget, p.peak(order, kept)
	for hi-lo > max(alignment, hi/200) {
		if mid := lo + (hi-lo)/2; p.rematerialize(order, kept, mid, true) != nil {
			hi = mid
		} else {
			lo = mid
		}
	}
	return nil, &ActivationError{Bytes: int64(budget), Least: int64(hi)}
}

// An ActivationError means that a graph does not fit Config.ActivationBytes, even if values are
// computed again.
type ActivationError struct {
	Bytes int64 // the bound that was asked for
	Least int64 // a bound that can be met, found by bisection to 0.5 %
}

// Error names both numbers.
func (e *ActivationError) Error() string {
	const wrong = "kernels: activations don't fit %d bytes; the least that can be met is %d"
	return fmt.Sprintf(wrong, e.Bytes, e.Least)
}

// peak returns the most bytes that intermediate values take at once if nothing is computed again.
func (p *program) peak(order []int, kept []bool) int {
	r := p.rematerialize(order, kept, math.MaxInt, true)
	return r.most
}

// A rematerializer plays a run in which memory is short. If a value does not fit, another one makes
// room. It is the one that costs least to compute again, for its size and for the time until it is
// needed. If a step reads a value that is gone, the value is computed again, after the values that
// it is computed from. (Kirisame et al.: Dynamic Tensor Rematerialization, 2021. Here the future is
// known.)
type rematerializer struct {
	p          *program
	kept       []bool // the results, which are not counted and never dropped
	budget     int    // bytes
	farsighted bool   // whether the time until a value is needed counts

	cost  float64 // of all that was computed again
	used  int     // bytes that are taken now
	most  int     // the most bytes that were taken at once
	now   int     // the step of the original order
	steps []int   // the new order
	live  []int   // the resident values that may be dropped

	// By value:
	costs    []float64
	uses     [][]int   // when it is read in the original order
	next     []int     // the first of uses that is not past
	need     []int     // when it is needed again, once it is dropped
	chain    []float64 // chainCost when it was dropped
	computed []bool
	resident []bool
	lost     []bool // gone for good: a foreign result, or one that needs such a result
	pins     []int  // how many computations that are under way read it
}

// never is later than any step.
const never = math.MaxInt

// rematerialize plays the run in this order. It returns nil if the budget cannot be met.
func (p *program) rematerialize(
	order []int, kept []bool, budget int, farsighted bool,
) *rematerializer {
	n := len(p.values)
	r := &rematerializer{
		p:          p,
		kept:       kept,
		budget:     budget,
		farsighted: farsighted,
		costs:      make([]float64, n),
		uses:       make([][]int, n),
		next:       make([]int, n),
		need:       make([]int, n),
		chain:      make([]float64, n),
		computed:   make([]bool, n),
		resident:   make([]bool, n),
		lost:       make([]bool, n),
		pins:       make([]int, n),
	}
	for t, i := range order {
		r.costs[i] = p.costOf(i)
		for k := range p.values[i].in {
			if c := p.root(i, k); p.values[c].runs() && !repeated(p, p.values[i].in, k) {
				r.uses[c] = append(r.uses[c], t)
			}
		}
	}
	for t, i := range order {
		r.now = t
		if !r.compute(i) {
			return nil
		}
		for k := range p.values[i].in {
			if c := p.root(i, k); p.values[c].runs() {
				for r.next[c] < len(r.uses[c]) && r.uses[c][r.next[c]] <= t {
					r.next[c]++
				}
			}
		}
	}
	return r
}

// root returns the value that holds the memory of the k-th input of i.
func (p *program) root(i, k int) int { return p.values[p.values[i].in[k]].root }

// compute makes the inputs of i resident, then makes room for its result and appends i to the
// steps. It reports whether that is within the budget.
func (r *rematerializer) compute(i int) bool {
	for k := range r.p.values[i].in {
		c := r.p.root(i, k)
		if r.p.values[c].runs() && !r.resident[c] && !r.compute(c) {
			return false
		}
		r.pins[c]++
	}
	r.pin(i, -1, none)
	// The inputs stay until the result is there, except for one that it overwrites.
	over := r.overwritten(i)
	if over >= 0 {
		r.drop(over)
	}
	r.pin(i, 1, over)
	ok := r.makeRoom(r.size(i))
	r.pin(i, -1, over)
	if !ok || len(r.steps) >= maxRecomputed*len(r.p.values) {
		return false
	}
	if r.computed[i] {
		r.cost += r.costs[i]
	}
	r.steps = append(r.steps, i)
	r.computed[i], r.resident[i], r.lost[i] = true, true, false
	r.used += r.size(i)
	r.most = max(r.most, r.used)
	if r.droppable(i) {
		r.live = append(r.live, i)
	}
	return true
}

// pin adds by to the pins of the inputs of i, but not to those of except.
func (r *rematerializer) pin(i, by, except int) {
	for k := range r.p.values[i].in {
		if c := r.p.root(i, k); c != except {
			r.pins[c] += by
		}
	}
}

// overwritten returns the value whose memory the result of i takes over, or −1.
func (r *rematerializer) overwritten(i int) int {
	v := &r.p.values[i]
	rule, ok := v.rule.(InPlacer)
	if !ok || rule.InPlace() < 0 {
		return -1
	}
	k := rule.InPlace()
	c := r.p.root(i, k)
	w := &r.p.values[c]
	if !r.droppable(c) || !r.spare(c, i) || r.pins[c] > 0 {
		return -1
	}
	if w.bytes() != v.bytes() || r.p.values[v.in[k]].size != v.size {
		return -1
	}
	if n := len(r.uses[c]); n > 0 && r.uses[c][n-1] > r.now {
		return -1 // read later
	}
	for j := range v.in {
		if j != k && r.p.root(i, j) == c {
			return -1
		}
	}
	return c
}

// size returns how many bytes of the budget i takes.
func (r *rematerializer) size(i int) int {
	if v := &r.p.values[i]; !r.kept[i] && !v.boxed {
		return align(v.bytes())
	}
	return 0
}

// droppable reports whether i takes part in the budget: whether it is an intermediate value in the
// arena.
func (r *rematerializer) droppable(i int) bool {
	return r.p.values[i].runs() && !r.kept[i] && !r.p.values[i].boxed
}

// spare reports whether c can be computed again, or will not be needed by others than reader.
func (r *rematerializer) spare(c, reader int) bool {
	if r.again(c) {
		return true
	}
	for _, d := range r.p.values[c].readers {
		if d != reader && (!r.computed[d] || !r.resident[d] && r.need[d] != never) {
			return false
		}
	}
	return true
}

// again reports whether c can be computed again.
func (r *rematerializer) again(c int) bool {
	if r.p.values[c].kind != computed {
		return false
	}
	for k := range r.p.values[c].in {
		if d := r.p.root(c, k); r.lost[d] {
			return false
		}
	}
	return true
}

// lose marks the values that are gone for good if c is.
func (r *rematerializer) lose(c int) {
	r.lost[c] = true
	for _, d := range r.p.values[c].readers {
		if r.computed[d] && !r.resident[d] && !r.lost[d] {
			r.lose(d)
		}
	}
}

// makeRoom drops values until n more bytes fit. It reports whether they do.
func (r *rematerializer) makeRoom(n int) bool {
	for r.used+n > r.budget {
		best, lowest := -1, math.Inf(1)
		for _, c := range r.live {
			if r.pins[c] > 0 {
				continue
			}
			if s := r.score(c); s < lowest {
				best, lowest = c, s
			}
		}
		if best < 0 {
			return false
		}
		r.drop(best)
	}
	return true
}

// score is low for values that are better dropped.
func (r *rematerializer) score(c int) float64 {
	need := r.needed(c)
	if need == never {
		return -float64(r.size(c))
	}
	if !r.again(c) {
		return math.Inf(1)
	}
	s := r.chainCost(c) / float64(r.size(c))
	if r.farsighted {
		s /= float64(1 + need - r.now)
	}
	return s
}

// needed returns when c is needed next: by a step, or to compute a dropped value again.
func (r *rematerializer) needed(c int) int {
	need := never
	if n := r.next[c]; n < len(r.uses[c]) {
		need = r.uses[c][n]
	}
	for _, d := range r.p.values[c].readers {
		if r.computed[d] && !r.resident[d] {
			need = min(need, r.need[d])
		}
	}
	return need
}

// chainCost returns the cost of computing c again, with everything before it that is gone.
func (r *rematerializer) chainCost(c int) float64 {
	cost := r.costs[c]
	for k := range r.p.values[c].in {
		if d := r.p.root(c, k); r.p.values[d].runs() && !r.resident[d] {
			cost += r.chain[d]
		}
	}
	return cost
}

// drop frees the memory of c.
func (r *rematerializer) drop(c int) {
	r.chain[c] = r.chainCost(c)
	r.need[c] = r.needed(c)
	r.resident[c] = false
	if !r.again(c) {
		r.lose(c)
	}
	r.used -= r.size(c)
	for k, d := range r.live {
		if d == c {
			r.live[k] = r.live[len(r.live)-1]
			r.live = r.live[:len(r.live)-1]
			break
		}
	}
	r.hasten(c)
}

// hasten tells the values that c is computed from, if they are gone too, that they are needed as
// early as c.
func (r *rematerializer) hasten(c int) {
	for k := range r.p.values[c].in {
		if d := r.p.root(c, k); r.p.values[d].runs() && !r.resident[d] && r.need[d] > r.need[c] {
			r.need[d] = r.need[c]
			r.hasten(d)
		}
	}
}

// costOf estimates the cost of Eval of i, in multiply-adds. It is the traffic of the inputs and the
// result. If an input is a matrix of weights [out,…], it is also a product with that matrix.
func (p *program) costOf(i int) float64 {
	v := &p.values[i]
	if c, ok := v.rule.(Coster); ok {
		return c.Cost(p.shapes(p.values[i].in))
	}
	traffic := v.bytes()
	product, size, factors := 0.0, v.size, len(v.in)
	if f, ok := v.rule.(*fused); ok {
		size, factors = f.shape.TotalSize(), f.inputs
	}
	for k, c := range v.in {
		w := &p.values[c]
		traffic += w.bytes()
		if p.converts(c) {
			w = &p.values[w.in[0]]
		}
		if k < factors && !p.values[w.root].runs() && w.shape.Dims() >= 2 {
			product = max(product, float64(size)*float64(w.size/w.shape[0]))
		}
	}
	return valueCost*float64(traffic)/float64(floats(1)) + product
}
