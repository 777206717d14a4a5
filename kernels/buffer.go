package kernels

import (
	"cmp"
	"slices"
)

// alignment of everything in the arena, in bytes: a cache line, which is also the widest vector.
const alignment = 64

func align(n int) int { return (n + alignment - 1) / alignment * alignment }

// A buffer is a piece of the arena from the step that fills it to the step that last reads it.
type buffer struct {
	size        int // bytes
	first, last int // steps; last is the number of steps if the buffer outlives the run
	offset      int // bytes
}

// A step computes a value, or applies an update.
type step struct {
	value  int   // what is computed, or none for an update
	update int   // which update is applied, or none
	reads  []int // values
	in     []int // the buffer of each of reads, or none
	out    int   // the buffer of the result, or none
}

// none is no value, no update and the buffer of what is not in the arena.
const none = -1

// steps makes steps of values in the order to compute them, and puts each update behind the last step that reads
// its parameter or writes its gradient.
func (p *program) steps(order []int, updates []update) []step {
	due := make([][]int, len(order)+1) // updates behind each step
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
			steps = append(steps, step{value: none, update: k, reads: []int{updates[k].param, updates[k].grad}, out: none})
		}
	}
	return steps
}

// assign gives every step's result a buffer, overwriting an input that dies where the rule allows it.
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

// lastReads returns for each step the last step that reads its result.
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

// overwrites returns the input of v, computed at step t, whose memory its result may take over, or -1.
func (p *program) overwrites(v *value, in []int, buffers []buffer, t int) int {
	r, ok := v.rule.(InPlacer)
	if !ok {
		return -1
	}
	k := r.InPlace()
	if k < 0 || in[k] == none {
		return -1
	}
	c := &p.values[v.in[k]]
	if b := buffers[in[k]]; b.last != t || b.size != v.bytes() || c.offset != 0 || c.size != v.size {
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
// returns how long the arena must be. The largest buffer comes first. Each goes where it fits best
// between those already placed (Pisarchyk, Lee: Efficient Memory Management for Deep Neural Net
// Inference, 2020, "greedy by size"). This looks once at every pair of buffers.
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

// A block is the part of the arena that a buffer has, from the first to the last step of its life.
type block struct{ first, last, offset, end int }

// fit returns where b goes: the offset of the smallest gap between the blocks that live at the same
// time as b, or their end if no gap holds b. Of gaps of one size it is the first.
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
