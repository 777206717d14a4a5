package kernels

// order returns the values that steps compute in an order chosen for low peak memory: that of the nodes' creation,
// which for the backward pass is gradients as they come, except that a step that frees at least what it takes (a sum
// of two gradients, a bias's gradient) is hoisted to where its inputs are there. It takes linear time.
func (p *program) order() []int {
	s := scheduler{p: p, missing: make([]int, len(p.values)), pending: make([]int, len(p.values)), done: make([]bool, len(p.values))}
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

type scheduler struct {
	p       *program
	missing []int // how many computed inputs a value waits for
	pending []int // how many readers a value's memory waits for
	done    []bool
	steps   []int
}

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

// run schedules i, and then every step that has become worth doing at once.
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

// hoistable reports whether i can run and frees at least as much as it takes.
func (s *scheduler) hoistable(i int) bool {
	if s.done[i] || s.missing[i] > 0 {
		return false
	}
	v := &s.p.values[i]
	freed := 0
	for k, c := range v.in {
		r := s.p.values[c].root
		if w := &s.p.values[r]; w.runs() && !w.wanted && s.pending[r] == 1 && !repeated(s.p, v.in, k) {
			freed += w.bytes()
		}
	}
	return freed >= v.bytes()
}
