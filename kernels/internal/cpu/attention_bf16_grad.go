package cpu

// A gradMemoryBF16 is the memory of one worker for the gradients.
type gradMemoryBF16 struct {
	panel        panelBF16 // its out is dq
	dout         []uint16  // the panel's, as panel.q
	qPairs       []uint16  // pairs of the panel's rows
	doutPairs    []uint16
	keys, values []uint16  // rows
	keyPairs     []uint16  // pairs of rows
	weights      []float32 // [Lk,queries]
	slopes       []float32 // [Lk,queries]
	factors      []float32 // [blocks,queries]: see attentionPasses.weigh
	rounded      []uint16  // a block of weights or slopes
	pairs        []uint16  // of rows or of columns of rounded
	dk, dv       []float32 // for each tile's width of keys: [D,keys]
	rows         []float32 // [keys or queries,D]
	toPower      []float32
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
	m.weights, m.slopes = c.take(keys*u.nr), c.take(keys*u.nr)
	m.factors = c.take(ceilDiv(s.Lk, attentionKeysBF16) * u.nr)
	block := roundUp(min(s.Lk, attentionKeysBF16), 2)
	m.rounded, m.pairs = c.takeHalves(block*u.nr), c.takeHalves(max(block, u.nr)*u.nr)
	sums := roundUp(s.Lk, u.nr) * deep
	m.dk, m.dv = c.take(sums), c.take(sums)
	m.rows, m.toPower = c.take(u.nr*s.D), c.take(u.nr)
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
			x, dx := m.block(m.weights, k0, k1), m.block(m.slopes, k0, k1)
			u.passes.slopes(x, dx, factor, delta, t.root())
			t.sumOverKeys(k0, x, dx, block < last, m)
			u.passes.scale(p.block(factor, 1), m.factors[block*u.nr:])
		}
		t.unpack(t.dq, head, t.Lq, p.lo, p.n, p.out, m.rows)
	}
	deep := u.deep(&t.AttentionShape)
	for k := 0; k < t.Lk; k += u.nr {
		n := min(u.nr, t.Lk-k)
		t.unpack(t.dk, head, t.Lk, k, n, m.dk[k*deep:], m.rows)
		t.unpack(t.dv, head, t.Lk, k, n, m.dv[k*deep:], m.rows)
	}
}

// block is the keys [k0,k1) of x, values of the panel's queries.
func (m *gradMemoryBF16) block(x []float32, k0, k1 int) scores {
	return m.panel.block(x[k0*attendingBF16.nr:], k1-k0)
}

// beginHead packs the keys and values of a head. No queries are known yet.
func (t *attentionBF16Task) beginHead(head int, m *gradMemoryBF16) {
	u := attendingBF16
	fill(m.toPower, t.toPower())
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

// weighKeys computes the weights of the keys [k0,k1), and the gradients of the probabilities in
// m.slopes.
func (t *attentionBF16Task) weighKeys(head, k0, k1 int, m *gradMemoryBF16) {
	u, p, d := attendingBF16, &m.panel, roundUp(t.D, 2)
	x, dx := m.block(m.weights, k0, k1), m.block(m.slopes, k0, k1)
	t.score(head, k0, p, m.keys[k0*d:], x, m.toPower)
	u.product(dx.data, m.values[k0*d:], m.dout, dx.rows, d/2, d, 2, false)
	u.passes.weighGrad(x, dx, p.softmaxState, m.factors[k0/attentionKeysBF16*u.nr:])
}

// sumOverKeys adds what the panel's queries and a block of keys give to the gradients. x are the
// probabilities, and dx the gradients of the scores.
func (t *attentionBF16Task) sumOverKeys(k0 int, x, dx scores, add bool, m *gradMemoryBF16) {
	u, n := attendingBF16, x.rows*attendingBF16.nr
	deep := u.deep(&t.AttentionShape)
	conversion.to(m.rounded[:n], x.data[:n])
	t.sumOverQueries(m.dv[k0*deep:], m.doutPairs, x.rows, m)
	conversion.to(m.rounded[:n], dx.data[:n])
	t.sumOverQueries(m.dk[k0*deep:], m.qPairs, x.rows, m)
	u.interleave(m.pairs, m.rounded, u.nr, u.nr, u.nr, u.nr, x.rows)
	u.product(m.panel.out, m.keyPairs[k0*deep:], m.pairs, deep, ceilDiv(x.rows, 2), 2, 2*deep, add)
}

// sumOverQueries adds the products of m.rounded and pairs of the panel's rows to sums of some keys.
func (t *attentionBF16Task) sumOverQueries(
	sums []float32, rows []uint16, keys int, m *gradMemoryBF16,
) {
	u, p := attendingBF16, &m.panel
	deep := u.deep(&t.AttentionShape)
	for k := 0; k < keys; k += u.nr {
		u.pairColumns(m.pairs, m.rounded[k*u.nr:], u.nr, u.nr, min(u.nr, keys-k), p.n)
		u.product(sums[k*deep:], rows, m.pairs, deep, ceilDiv(p.n, 2), 2, 2*deep, true)
	}
}
