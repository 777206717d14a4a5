package kernels

import (
	"cmp"
	"slices"
)

// alignment of every buffer, in bytes. It is a cache line, which is also the widest vector.
const alignment = 64

// align rounds n up to a multiple of alignment.
func align(n int) int { return (n + alignment - 1) / alignment * alignment }

// A buffer is a part of the arena, from the step that fills it to the last step that reads it.
type buffer struct {
	size        int // bytes
	first, last int // steps; last is the number of all steps if the buffer outlives the run
	offset      int // bytes
}

// A step computes a value or applies an update.
type step struct {
	value  int   // the value that is computed, or none for an update
	update int   // the update that is applied, or none
	reads  []int // the values that are read
	in     []int // the buffer of each of reads, or none
	out    int   // the buffer of the result, or none
}

// none stands for no value, for no update, and for the buffer of values that are not in the arena.
const none = -1

// steps makes steps of values in the order to compute them. Each update comes behind the last step
// that reads its parameter or writes its gradient.
func (p *program) steps(order []int, updates []update) []step {
	due := make([][]int, len(order)+1) // the updates that come behind each step
	last := make([]int, len(p.values)) // 1 + the last step that touches a root
	for t, i := range order {
		last[i] = t + 1
		for _, c := range p.values[i].in {
			last[p.values[c].root] = t + 1
		}
	}
	for k, u := range updates {
		t := max(last[p.values[u.param].root], last[p.values[u.grad].root])
		due[t] = append(due[t], k)
	}
	steps := make([]step, 0, len(order)+len(updates))
	for t := range due {
		if t > 0 {
			i := order[t-1]
			steps = append(steps, step{value: i, update: none, reads: p.values[i].in})
		}
		for _, k := range due[t] {
			reads := []int{updates[k].param, updates[k].grad}
			steps = append(steps, step{value: none, update: k, reads: reads, out: none})
		}
	}
	return steps
}

// assign gives the result of every step a buffer. Where the rule allows it, the result overwrites
// an input that nothing reads any more.
func (p *program) assign(steps []step) []buffer {
	last := p.lastReads(steps)
	var buffers []buffer
	current := make([]int, len(p.values)) // the buffer that holds a root now
	for i := range current {
		current[i] = none
	}
	for t := range steps {
		s := &steps[t]
		s.in = make([]int, len(s.reads))
		for k, c := range s.reads {
			s.in[k] = current[p.values[c].root]
		}
		if s.value == none || p.values[s.value].boxed {
			s.out = none
			continue
		}
		v := &p.values[s.value]
		if k := p.overwrites(v, s.in, buffers, t); k >= 0 {
			s.out = s.in[k]
			buffers[s.out].last = last[t]
		} else {
			s.out = len(buffers)
			buffers = append(buffers, buffer{size: v.bytes(), first: t, last: last[t]})
		}
		current[s.value] = s.out
	}
	return buffers
}

// lastReads returns for each step the last step that reads its result, and the number of steps if
// the result outlives the run.
func (p *program) lastReads(steps []step) []int {
	last := make([]int, len(steps))
	writer := make([]int, len(p.values)) // the step that computed a root last
	for t := range steps {
		for _, c := range steps[t].reads {
			if r := p.values[c].root; p.values[r].runs() {
				last[writer[r]] = t
			}
		}
		last[t] = t
		if v := steps[t].value; v != none {
			writer[v] = t
		}
	}
	for i := range p.values {
		if v := &p.values[i]; v.runs() && v.wanted {
			last[writer[i]] = len(steps)
		}
	}
	return last
}

// overwrites returns the number of the input whose memory the result of v at step t may take over,
// or −1.
func (p *program) overwrites(v *value, in []int, buffers []buffer, t int) int {
	r, ok := v.rule.(InPlacer)
	if !ok {
		return -1
	}
	k := r.InPlace()
	if k < 0 || in[k] == none {
		return -1
	}
	b, c := buffers[in[k]], &p.values[v.in[k]]
	if b.last != t || b.size != v.bytes() || c.offset != 0 || c.size != v.size {
		return -1
	}
	for j := range in {
		if j != k && in[j] == in[k] {
			return -1
		}
	}
	return k
}

// place gives every buffer an offset, so that buffers that live at the same time do not overlap. It
// returns how long the arena must be. Larger buffers come first. Each goes to the place between
// those already placed that it fits best (Pisarchyk, Lee: Efficient Memory Management for Deep
// Neural Net Inference, 2020, "greedy by size"). Its time grows with the number of pairs of
// buffers, at about a nanosecond a pair.
func place(buffers []buffer) int {
	order := make([]int, len(buffers))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		return cmp.Compare(buffers[b].size, buffers[a].size)
	})
	taken := make([]block, 0, len(buffers)) // by offset
	end := 0
	for _, i := range order {
		b := &buffers[i]
		b.offset = fit(taken, b)
		at, _ := slices.BinarySearchFunc(taken, b.offset, func(p block, offset int) int {
			return cmp.Compare(p.offset, offset)
		})
		p := block{first: b.first, last: b.last, offset: b.offset, end: b.offset + align(b.size)}
		taken = slices.Insert(taken, at, p)
		end = max(end, p.end)
	}
	return end
}

// A block is a part of the arena that is taken from step first to step last.
type block struct{ first, last, offset, end int }

// fit returns the offset for b. It is the smallest gap that holds b between the blocks that live at
// the same time as b, and of equal gaps the first. If no gap holds b, it is the end of these
// blocks.
func fit(taken []block, b *buffer) int {
	need := align(b.size)
	end, best, room := 0, -1, 0
	for i := range taken {
		p := &taken[i]
		if p.last < b.first || b.last < p.first {
			continue
		}
		if gap := p.offset - end; gap >= need && (best < 0 || gap < room) {
			if best, room = end, gap; gap == need {
				return best // no gap is smaller
			}
		}
		end = max(end, p.end)
	}
	if best >= 0 {
		return best
	}
	return end
}
