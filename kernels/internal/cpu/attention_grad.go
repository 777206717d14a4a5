package cpu

// splitQueries is the number of queries from which on the last head is computed in two halves, so
// that two workers share a single head, and the last one of an odd number.
const splitQueries = 256

// A gradMemory is the memory of one worker for the gradients.
type gradMemory struct {
	panel           panel     // its out is dq
	dout            []float32 // the panel's, as panel.q
	qRows, doutRows Matrix    // the panel's rows
	qCopy, doutCopy []float32 // [queries,width]
	weights         []float32 // [Lk,queries]
	slopes          []float32 // [Lk,queries]
	factors         []float32 // [blocks,queries]: see attentionPasses.weigh
	tmp             []float32
	width           int
}

// divide divides ws, and returns how many values that is. A nil ws only counts.
func (m *gradMemory) divide(s *AttentionShape, ws []float32) (size int) {
	c := carver{ws: ws}
	w := attending.queries
	m.panel.divide(s, &c)
	m.dout = c.take(s.D * w)
	m.width = roundUp(s.D, 8) // as multiply wants it
	m.qCopy, m.doutCopy = c.take(w*m.width), c.take(w*m.width)
	m.weights, m.slopes = c.take(s.Lk*w), c.take(s.Lk*w)
	m.factors = c.take(ceilDiv(s.Lk, attentionKeys) * w)
	m.tmp = c.take(min(s.Lk, attentionKeys) * 8)
	return c.size
}

// split is 1 if the last head is computed in two halves, and 0 if not.
func (s AttentionShape) split() int {
	if s.Lq < splitQueries || s.N == 0 {
		return 0
	}
	return 1
}

// halfSize is the number of values of dk or dv that the second half of the last head sums.
func (s AttentionShape) halfSize() int { return s.split() * roundUp(s.Lk*s.D, 16) }

// gradient computes the gradients of a head for the queries [lo,hi): their rows of dq, and the sums
// over them in dk and dv.
func (t *attentionTask) gradient(head, lo, hi int, dk, dv Matrix, m *gradMemory) {
	for i := 0; t.Causal && i < t.Lk; i++ { // not every panel sees every key
		clear(dk.Data[i*dk.Stride:][:t.D])
		clear(dv.Data[i*dv.Stride:][:t.D])
	}
	p, root := &m.panel, t.root()
	for p.lo = lo; p.lo < hi; p.lo += attending.queries {
		p.n = min(attending.queries, hi-p.lo)
		t.begin(p, head)
		t.beginGrad(head, m)
		seen := t.seen(p.lo + p.n)
		for k0 := 0; k0 < seen; k0 += attentionKeys {
			t.weighKeys(head, k0, min(k0+attentionKeys, seen), m)
		}
		factor, delta := p.shares()
		last := (seen - 1) / attentionKeys
		for block := last; block >= 0; block-- {
			k0, k1 := span(block, attentionKeys, seen)
			x := p.block(m.weights[k0*attending.queries:], k1-k0)
			dx := p.block(m.slopes[k0*attending.queries:], k1-k0)
			attending.passes.slopes(x, dx, factor, delta, root)
			add := p.lo > lo
			t.sumOverQueries(dv, k0, x, m.doutRows, add, m)
			t.sumOverQueries(dk, k0, dx, m.qRows, add, m)
			keys := transposed(t.part(t.k, head, t.Lk, k0))
			dq := p.block(p.out, t.D).matrix()
			attending.multiply(t.D, x.n, x.rows, dq, keys, dx.matrix(), block < last, nil)
			attending.passes.scale(p.block(factor, 1), m.factors[block*attending.queries:])
		}
		t.unpack(t.dq, head, p)
	}
}

// beginGrad packs dout of the panel. It copies the rows of q and dout if they are used many times,
// or have a width that multiply does not take.
func (t *attentionTask) beginGrad(head int, m *gradMemory) {
	p := &m.panel
	t.pack(m.dout, t.dout, head, p)
	m.qRows, m.doutRows = t.part(t.q, head, t.Lq, p.lo), t.part(t.dout, head, t.Lq, p.lo)
	if t.D != m.width || t.Lk > attentionKeys {
		m.qRows = t.copied(m.qCopy, m.qRows, p.n, m.width)
		m.doutRows = t.copied(m.doutCopy, m.doutRows, p.n, m.width)
	}
}

// copied returns a copy of n rows.
func (t *attentionTask) copied(dst []float32, rows Matrix, n, stride int) Matrix {
	for i := range n {
		copy(dst[i*stride:][:t.D], rows.Data[i*rows.Stride:])
	}
	return Matrix{Data: dst, Stride: stride}
}

// weighKeys computes the weights of the keys [k0,k1), and the gradients of the probabilities in
// m.slopes.
func (t *attentionTask) weighKeys(head, k0, k1 int, m *gradMemory) {
	u, p, at := attending, &m.panel, k0*attending.queries
	x, dx := p.block(m.weights[at:], k1-k0), p.block(m.slopes[at:], k1-k0)
	t.score(head, k0, p, x)
	values, dout := t.part(t.v, head, t.Lk, k0), p.block(m.dout, t.D).matrix()
	u.multiply(x.rows, x.n, t.D, dx.matrix(), values, dout, false, nil)
	u.passes.weighGrad(x, dx, p.softmaxState, m.factors[k0/attentionKeys*u.queries:])
}

// sumOverQueries is dst, from key k0 on, = the sums over the panel's queries of the products of x
// and rows. It may add them to dst.
func (t *attentionTask) sumOverQueries(
	dst Matrix, k0 int, x scores, rows Matrix, add bool, m *gradMemory,
) {
	dst.Data = dst.Data[k0*dst.Stride:]
	attending.multiply(x.rows, t.D, m.panel.n, dst, x.matrix(), rows, add, m.tmp)
}

// gradPart computes the gradients of a head. The last two parts may be the halves of the last head.
// Then the second of them sums in memory of its own.
func (t *attentionTask) gradPart(part int, ws []float32, m *gradMemory) {
	heads := t.N * t.Heads
	head := min(part, heads-1)
	lo, hi := 0, t.Lq
	dk, dv := t.part(t.dk, head, t.Lk, 0), t.part(t.dv, head, t.Lk, 0)
	if part >= heads-t.split() {
		middle := roundUp(ceilDiv(t.Lq, 2), attentionQueries)
		if hi = middle; part == heads {
			lo, hi = middle, t.Lq
			dk, dv = t.secondHalf(ws)
		}
	}
	t.gradient(head, lo, hi, dk, dv, m)
}

// secondHalf is where the second half of the last head sums.
func (t *attentionTask) secondHalf(ws []float32) (dk, dv Matrix) {
	return Matrix{Data: ws, Stride: t.D}, Matrix{Data: ws[t.halfSize():], Stride: t.D}
}

// join adds the second half of the last head to the first.
func (t *attentionTask) join(ws []float32) {
	if t.split() == 0 {
		return
	}
	head := t.N*t.Heads - 1
	dk, dv := t.secondHalf(ws)
	for i := range t.Lk {
		for _, sum := range [2][2]Matrix{
			{t.part(t.dk, head, t.Lk, i), dk}, {t.part(t.dv, head, t.Lk, i), dv},
		} {
			to := sum[0].Data[:t.D]
			vec.add(to, to, sum[1].Data[i*t.D:][:t.D])
		}
	}
}
