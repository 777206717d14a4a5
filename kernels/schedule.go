package kernels

// order returns the values that steps compute, in an order chosen for low peak memory. It is the
// order in which the nodes were made. For the backward pass that is gradients as they come. But a
// step that frees at least the memory that it takes, such as a sum of two gradients or the gradient
// of a bias, is hoisted: it comes as soon as its inputs are there. order takes linear time.
func (p *program) order() []int {
	n := len(p.values)
	s := scheduler{
		p: p, missing: make([]int, n), pending: make([]int, n), done: make([]bool, n),
	}
	for i := range p.values {
		s.pending[i] = len(p.values[i].readers)
		if p.values[i].runs() {
			s.missing[i] = s.countMissing(i)
		}
	}
	for i := range p.values {
		if p.values[i].runs() && !s.done[i] {
			s.run(i)
		}
	}
	return s.steps
}

// A scheduler puts steps in order.
type scheduler struct {
	p       *program
	missing []int // how many computed inputs a value waits for
	pending []int // how many readers a value's memory waits for
	done    []bool
	steps   []int
}

// countMissing returns how many inputs of i are still to be computed.
func (s *scheduler) countMissing(i int) int {
	v, n := &s.p.values[i], 0
	for k, c := range v.in {
		r := s.p.values[c].root
		if s.p.values[r].runs() && !s.done[r] && !repeated(s.p, v.in, k) {
			n++
		}
	}
	return n
}

// run schedules i, and then every step that can be hoisted.
func (s *scheduler) run(i int) {
	todo := []int{i}
	for len(todo) > 0 {
		i, todo = todo[len(todo)-1], todo[:len(todo)-1]
		if s.done[i] {
			continue
		}
		s.done[i] = true
		s.steps = append(s.steps, i)
		v := &s.p.values[i]
		for _, c := range v.readers {
			s.missing[c]--
			if s.hoistable(c) {
				todo = append(todo, c)
			}
		}
		for k, c := range v.in {
			r := s.p.values[c].root
			if repeated(s.p, v.in, k) {
				continue
			}
			s.pending[r]--
			if s.pending[r] != 1 {
				continue
			}
			for _, c := range s.p.values[r].readers {
				if !s.done[c] && s.hoistable(c) {
					todo = append(todo, c)
				}
			}
		}
	}
}

// hoistable reports whether i can run and frees at least as much memory as it takes.
func (s *scheduler) hoistable(i int) bool {
	if s.done[i] || s.missing[i] > 0 {
		return false
	}
	v := &s.p.values[i]
	freed := 0
	for k, c := range v.in {
		r := s.p.values[c].root
		w := &s.p.values[r]
		if w.runs() && !w.wanted && s.pending[r] == 1 && !repeated(s.p, v.in, k) {
			freed += w.bytes()
		}
	}
	return freed >= v.bytes()
}
