package cpu

import "math"

// attentionQueries is how many queries of a head are a part of the result. They share the keys and
// values that are in the cache.
const attentionQueries = 128

// A carver divides memory. If it has none it only counts.
type carver struct {
	ws   []float32
	size int
}

// take returns the next n values.
func (c *carver) take(n int) (part []float32) {
	if c.ws != nil {
		part = c.ws[c.size:][:n]
	}
	c.size += roundUp(n, 16)
	return part
}

// A panel is queries side by side, a block of scores wide, and what is known of them.
type panel struct {
	lo, n int       // the queries [lo,lo+n)
	q     []float32 // [D,stride]: they times log₂e/√D
	out   []float32 // [D,stride]: sums over the keys so far
	softmaxState
}

// divide takes the memory of a panel of s.
func (p *panel) divide(s *AttentionShape, c *carver) {
	w := attending.queries
	p.q, p.out = c.take(s.D*w), c.take(s.D*w)
	p.top, p.sum, p.delta = c.take(w), c.take(w), c.take(w)
}

// An attendMemory is the memory of one worker for the result.
type attendMemory struct {
	panels [attentionQueries / 16]panel // no body has smaller ones
	scores []float32
	factor []float32
}

// divide divides ws, and returns how many values that is. A nil ws only counts.
func (m *attendMemory) divide(s *AttentionShape, ws []float32) (size int) {
	c := carver{ws: ws}
	w := attending.queries
	for i := range ceilDiv(min(s.Lq, attentionQueries), w) {
		m.panels[i].divide(s, &c)
	}
	m.scores = c.take(min(s.Lk, attentionKeys) * w)
	m.factor = c.take(w)
	return c.size
}

// groups is how many parts the result of a head has.
func (s AttentionShape) groups() int { return ceilDiv(s.Lq, attentionQueries) }

// attend computes the result for a group of queries of a head.
func (t *attentionTask) attend(head, group int, m *attendMemory) {
	lo, hi := span(group, attentionQueries, t.Lq)
	for k0 := 0; k0 < t.seen(hi); k0 += attentionKeys {
		for q0 := lo; q0 < hi; q0 += attending.queries {
			p := &m.panels[(q0-lo)/attending.queries]
			if k0 == 0 {
				p.lo, p.n = q0, min(attending.queries, hi-q0)
				t.begin(p, head)
			}
			t.attendKeys(head, k0, p, m)
		}
	}
}

// seen is how many keys the queries up to hi see, if no mask hides them.
func (s AttentionShape) seen(hi int) int {
	if s.Causal {
		return min(hi, s.Lk)
	}
	return s.Lk
}

// begin packs the queries of p. No keys are known yet.
func (t *attentionTask) begin(p *panel, head int) {
	t.pack(p.q, t.q, head, p)
	all := p.q[:t.D*attending.queries]
	vec.scale(all, all, t.toPower())
	p.reset()
}

// pack copies the rows of x [N,Lq,Heads·D] that are p's to the columns of dst. Columns beyond keep
// their contents. What is computed from them goes nowhere.
func (t *attentionTask) pack(dst, x []float32, head int, p *panel) {
	rows := t.part(x, head, t.Lq, p.lo)
	attending.passes.transpose(dst, rows.Data, attending.queries, rows.Stride, p.n, t.D)
}

// unpack copies the columns of p.out to the rows of x [N,Lq,Heads·D] that are p's.
func (t *attentionTask) unpack(x []float32, head int, p *panel) {
	rows := t.part(x, head, t.Lq, p.lo)
	attending.passes.transpose(rows.Data, p.out, rows.Stride, attending.queries, t.D, p.n)
}

// block is the memory x as values of p's queries, in some rows.
func (p *panel) block(x []float32, rows int) scores {
	n := roundUp(p.n, attending.lanes)
	return scores{data: x, rows: rows, n: n, stride: attending.queries}
}

// score computes the scores of p and the keys [k0,k1) in x, times log₂e.
func (t *attentionTask) score(head, k0 int, p *panel, x scores) {
	q := p.block(p.q, t.D).matrix()
	attending.multiply(x.rows, x.n, t.D, x.matrix(), t.part(t.k, head, t.Lk, k0), q, false, nil)
	t.hide(t.mask, head, k0, p.lo, x)
}

// hide makes scores x −Inf where the key is not seen. x has the keys from k0 on and the queries
// from lo on.
func (s AttentionShape) hide(mask []float32, head, k0, lo int, x scores) {
	unseen := float32(math.Inf(-1))
	if mask != nil {
		for i, m := range mask[head/s.Heads*s.Lk+k0:][:x.rows] {
			if m == 0 {
				fill(x.data[i*x.stride:][:x.n], unseen)
			}
		}
	}
	if s.Causal {
		for i := max(lo-k0, 0); i < x.rows; i++ {
			fill(x.data[i*x.stride:][:min(k0+i-lo, x.n)], unseen)
		}
	}
}

// fill makes all of x one value.
func fill(x []float32, value float32) {
	for i := range x {
		x[i] = value
	}
}

// attendKeys adds what the keys from k0 on give to the result of p. With the last ones the result
// is written.
func (t *attentionTask) attendKeys(head, k0 int, p *panel, m *attendMemory) {
	seen := t.seen(p.lo + p.n)
	if seen <= k0 {
		return
	}
	k1 := min(k0+attentionKeys, seen)
	u, x, out := attending, p.block(m.scores, k1-k0), p.block(p.out, t.D)
	t.score(head, k0, p, x)
	u.passes.weigh(x, p.softmaxState, m.factor)
	if k0 > 0 && !ones(m.factor[:x.n]) {
		u.passes.scale(out, m.factor)
	}
	values := transposed(t.part(t.v, head, t.Lk, k0))
	u.multiply(t.D, x.n, x.rows, out.matrix(), values, x.matrix(), k0 > 0, nil)
	if k1 == seen {
		t.normalize(p)
		t.unpack(t.out, head, p)
	}
}

// ones reports whether all of x is 1.
func ones(x []float32) bool {
	for _, v := range x {
		if v != 1 {
			return false
		}
	}
	return true
}

// normalize divides p.out by the sums of the weights. A query that sees no key gets zeros.
func (t *attentionTask) normalize(p *panel) {
	p.invert()
	attending.passes.scale(p.block(p.out, t.D), p.delta)
}
