package cpu

// A gradMemoryBF16 is the memory of one worker for the gradients.
type gradMemoryBF16 struct {
	panel        panelBF16 // its out is dq
	dout         []uint16  // the panel's, as panel.q
	qPairs       []uint16  // pairs of the panel's rows
	doutPairs    []uint16
	keys, values []uint16  // rows
	keyPairs     []uint16  // pairs of rows
	x, dx        []float32 // [Lk,queries]: see attentionPasses
	factors      []float32 // [blocks,queries]: see attentionPasses.weigh
	weights      []uint16  // of a block of keys, in rows
	slopes       []uint16
	slopePairs   []uint16  // pairs of rows
	pairs        []uint16  // of columns of weights or slopes
	dk, dv       []float32 // for each tile's width of keys: [D,keys]
	results      results
}

// divide divides ws, and returns how many values that is. A nil ws only counts.
func (m *gradMemoryBF16) divide(s *AttentionShape, ws []float32) (size int) {
	c, u := carver{ws: ws}, attendingBF16
	d, deep := roundUp(s.D, 2), u.deep(s)
	m.panel.divide(s, &c)
	m.dout = c.takeHalves(d * u.nr)
	m.qPairs, m.doutPairs = c.takeHalves(u.nr*deep), c.takeHalves(u.nr*deep)
	keys := roundUp(s.Lk, 2) + u.mr // a block's last tile may end in the next block
	m.keys, m.values = c.takeHalves(keys*d), c.takeHalves(keys*d)
	m.keyPairs = c.takeHalves(keys * deep)
	m.x, m.dx = c.take(keys*u.nr), c.take(keys*u.nr)
	m.factors = c.take(ceilDiv(s.Lk, attentionKeysBF16) * u.nr)
	block := roundUp(min(s.Lk, attentionKeysBF16), 2)
	m.weights, m.slopes = c.takeHalves(block*u.nr), c.takeHalves(block*u.nr)
	m.slopePairs, m.pairs = c.takeHalves(block*u.nr), c.takeHalves(u.nr*u.nr)
	sums := roundUp(s.Lk, u.nr) * deep
	m.dk, m.dv = c.take(sums), c.take(sums)
	m.results.divide(s, &c)
	return c.size
}

// AttentionGradBF16 is the gradient of AttentionBF16 by q, k and v. The probabilities and the
// gradients of the scores are rounded before they are multiplied, and so are the results. Otherwise
// it is float32. It panics on wrong lengths.
func AttentionGradBF16(
	pool *Pool, s AttentionShape, dq, dk, dv, q, k, v []uint16, mask []float32, dout []uint16,
	ws []float32,
) {
	s.checkBF16("AttentionGradBF16", mask, [][]uint16{dq, q, dout}, [][]uint16{dk, dv, k, v})
	mustHold("AttentionGradBF16", ws, s.WorkspaceBF16(pool))
	t := attentionBF16Task{
		AttentionShape: s, q: q, k: k, v: v, mask: mask, dout: dout, dq: dq, dk: dk, dv: dv,
	}
	runAttentionBF16(pool, t, s.N*s.Heads, new(gradMemoryBF16).divide(&s, nil), ws)
}

// gradient computes the gradients of a head.
func (t *attentionBF16Task) gradient(head int, m *gradMemoryBF16) {
	t.beginHead(head, m)
	p, u := &m.panel, attendingBF16
	for p.lo = 0; p.lo < t.Lq; p.lo += u.nr {
		p.n = min(u.nr, t.Lq-p.lo)
		t.beginGrad(head, m)
		seen := t.seen(p.lo + p.n)
		for k0 := 0; k0 < seen; k0 += attentionKeysBF16 {
			t.weighKeys(head, k0, min(k0+attentionKeysBF16, seen), m)
		}
		factor, delta := p.shares()
		last := (seen - 1) / attentionKeysBF16
		for block := last; block >= 0; block-- {
			k0, k1 := span(block, attentionKeysBF16, seen)
			x, dx := m.block(m.x, k0, k1), m.block(m.dx, k0, k1)
			u.slopes(m.slopePairs, m.weights, m.slopes, x, dx, factor, delta, t.root())
			t.addKeys(k0, k1-k0, block < last, m)
			u.passes.scale(p.block(factor, 1), m.factors[block*u.nr:])
		}
		t.unpack(t.dq, head, t.Lq, p.lo, p.n, p.out, &m.results)
	}
	deep := u.deep(&t.AttentionShape)
	for k := 0; k < t.Lk; k += u.nr {
		n := min(u.nr, t.Lk-k)
		t.unpack(t.dk, head, t.Lk, k, n, m.dk[k*deep:], &m.results)
		t.unpack(t.dv, head, t.Lk, k, n, m.dv[k*deep:], &m.results)
	}
}

// block is the keys [k0,k1) of x, values of the panel's queries.
func (m *gradMemoryBF16) block(x []float32, k0, k1 int) scores {
	return m.panel.block(x[k0*attendingBF16.nr:], k1-k0)
}

// beginHead packs the keys and values of a head. No queries are known yet.
func (t *attentionBF16Task) beginHead(head int, m *gradMemoryBF16) {
	u := attendingBF16
	keys, stride := t.part(t.k, head, t.Lk, 0)
	u.rows(m.keys, keys, stride, t.D, t.Lk)
	deep := u.deep(&t.AttentionShape)
	u.interleave(m.keyPairs, keys, stride, deep, deep, t.D, t.Lk)
	values, stride := t.part(t.v, head, t.Lk, 0)
	u.rows(m.values, values, stride, t.D, t.Lk)
	clear(m.dk)
	clear(m.dv)
}

// beginGrad packs what belongs to the panel.
func (t *attentionBF16Task) beginGrad(head int, m *gradMemoryBF16) {
	u, p := attendingBF16, &m.panel
	t.begin(p, head)
	t.pack(m.dout, t.dout, head, p)
	deep := u.deep(&t.AttentionShape)
	q, stride := t.part(t.q, head, t.Lq, p.lo)
	u.interleave(m.qPairs, q, stride, deep, deep, t.D, p.n)
	dout, stride := t.part(t.dout, head, t.Lq, p.lo)
	u.interleave(m.doutPairs, dout, stride, deep, deep, t.D, p.n)
}

// weighKeys computes the weights of the keys [k0,k1) in m.x, and the gradients of the probabilities
// in m.dx.
func (t *attentionBF16Task) weighKeys(head, k0, k1 int, m *gradMemoryBF16) {
	u, p, d := attendingBF16, &m.panel, roundUp(t.D, 2)
	x, dx := m.block(m.x, k0, k1), m.block(m.dx, k0, k1)
	t.score(head, k0, p, m.keys[k0*d:], x)
	u.product(dx.data, m.values[k0*d:], m.dout, dx.rows, d/2, d, 2, false)
	u.weighGrad(x, dx, t.toPower(), p.softmaxState, m.factors[k0/attentionKeysBF16*u.nr:])
}

// addKeys adds what the panel's queries and n keys from k0 on give to the gradients.
func (t *attentionBF16Task) addKeys(k0, n int, add bool, m *gradMemoryBF16) {
	u, deep := attendingBF16, attendingBF16.deep(&t.AttentionShape)
	t.sumOverQueries(m.dv[k0*deep:], m.doutPairs, m.weights, n, m)
	t.sumOverQueries(m.dk[k0*deep:], m.qPairs, m.slopes, n, m)
	u.product(m.panel.out, m.keyPairs[k0*deep:], m.slopePairs, deep, ceilDiv(n, 2), 2, 2*deep, add)
}

// sumOverQueries adds the products of x, of some keys in rows, and pairs of the panel's rows to
// sums.
func (t *attentionBF16Task) sumOverQueries(
	sums []float32, rows, x []uint16, keys int, m *gradMemoryBF16,
) {
	u, p := attendingBF16, &m.panel
	deep := u.deep(&t.AttentionShape)
	for k := 0; k < keys; k += u.nr {
		u.pairColumns(m.pairs, x[k*u.nr:], u.nr, u.nr, min(u.nr, keys-k), p.n)
		u.product(sums[k*deep:], rows, m.pairs, deep, ceilDiv(p.n, 2), 2, 2*deep, true)
	}
}
