package cpu

// Attention to bfloat16 values has the products of two matrices that ProductBF16 has, by the same
// bodies: sums of pairs in ascending order. So it has the same bits with every body, for finite
// values. For each head, and each query q,
//
//	s_k = (Σ_d K(k,d)·Q(q,d)) · log₂e/√D           pairs of d
//	w_k = 2^(s_k − top)
//	out = round((Σ_k V(k)·round(w_k)) / Σ_k w_k)   pairs of k
//
// in float32, where round is ToBF16. The keys come in blocks of attentionKeysBF16. top is the
// highest s so far. What was summed in earlier blocks is multiplied by 2^(old top − top) before
// more is added. With P the probabilities, the gradients are
//
//	dP_k  = Σ_d V(k,d)·dout(q,d)                   pairs of d
//	dS_k  = P_k·(dP_k − Σ_k P_k·dP_k)/√D
//	dQ(q) = round(Σ_k K(k)·round(dS_k))            pairs of k, the last block first
//	dV(k) = round(Σ_q dout(q)·round(P_k))          pairs of q
//	dK(k) = round(Σ_q Q(q)·round(dS_k))            pairs of q

const (
	// attentionKeysBF16 is how many keys a block of scores has at most. It is an even number that
	// the columns of a tile divide.
	attentionKeysBF16 = 192
	// attentionPanelsBF16 is how many panels of queries share what is packed of a block of keys.
	attentionPanelsBF16 = 8
)

// An attentionBF16Body is how one instruction set computes attention to bfloat16 values. A block of
// scores has as many queries as a tile has columns.
type attentionBF16Body struct {
	*microBF16
	attentionPairs
	passes attentionPasses
	lanes  int // divides the number of columns
}

// attentionPairs are passes that scale scores or round results. A row of scores has as many columns
// as a tile. What is not a number comes from bfloat16 values or from operations, so its lower half
// is zero. Pairs are of rows, one after another. Behind an odd last row are zeros.
type attentionPairs struct {
	// weigh is attentionPasses.weigh of x·scale. pairs are the weights, and x becomes undefined.
	weigh func(pairs []uint16, x scores, scale float32, s softmaxState, factor []float32)
	// weighGrad is attentionPasses.weighGrad of x·scale.
	weighGrad func(x, dx scores, scale float32, s softmaxState, factor []float32)
	// slopes is attentionPasses.slopes. weights are what x would be, and slopes what dx would be.
	// pairs are of slopes. x and dx become undefined.
	slopes func(
		pairs, weights, slopes []uint16, x, dx scores, factor, delta []float32, root float32,
	)
}

// attentionBF16Bodies are those that this machine has, the fastest one last.
var attentionBF16Bodies = func() (list []attentionBF16Body) {
	for i, u := range microsBF16 {
		of := attentionBodies[min(i, len(attentionBodies)-1)]
		pairs := attentionPairings[min(i, len(attentionPairings)-1)]
		list = append(list, attentionBF16Body{u, pairs, of.passes, of.lanes})
	}
	return list
}()

// attendingBF16 is what this machine computes attention to bfloat16 values with.
var attendingBF16 = &attentionBF16Bodies[len(attentionBF16Bodies)-1]

// product computes m rows of tiles, or adds to them: a has rows rs apart and pairs ks apart, in
// values; b has k pairs of rows.
func (u *attentionBF16Body) product(c []float32, a, b []uint16, m, k, rs, ks int, add bool) {
	for i := 0; i < m; i += u.mr {
		u.tile(&a[i*rs], &b[0], &c[i*u.nr], k, 2*rs, 2*ks, add)
	}
}

// rows copies k rows of D values. Behind an odd last column are zeros.
func (u *attentionBF16Body) rows(dst, src []uint16, stride, d, k int) {
	width := roundUp(d, 2)
	u.copyRows(dst, src, stride, width, d, k)
	for i := d; d < width && i < k*width; i += width {
		dst[i] = 0
	}
}

// takeHalves is take for n bfloat16 values.
func (c *carver) takeHalves(n int) []uint16 { return halves(c.take(ceilDiv(n, 2))) }

// A panelBF16 is queries side by side, as many as a tile has columns, and what is known of them.
type panelBF16 struct {
	lo, n int       // the queries [lo,lo+n)
	q     []uint16  // pairs of Q's columns
	out   []float32 // [D,stride]: sums over the keys so far
	softmaxState
}

// deep is D as a number of rows of tiles.
func (u *attentionBF16Body) deep(s *AttentionShape) int { return roundUp(s.D, u.mr) }

// divide takes the memory of a panel of s.
func (p *panelBF16) divide(s *AttentionShape, c *carver) {
	u := attendingBF16
	p.q, p.out = c.takeHalves(roundUp(s.D, 2)*u.nr), c.take(u.deep(s)*u.nr)
	p.top, p.sum, p.delta = c.take(u.nr), c.take(u.nr), c.take(u.nr)
}

// block is the memory x as values of p's queries, in some rows.
func (p *panelBF16) block(x []float32, rows int) scores {
	u := attendingBF16
	return scores{data: x, rows: rows, n: roundUp(p.n, u.lanes), stride: u.nr}
}

// An attendMemoryBF16 is the memory of one worker for the result.
type attendMemoryBF16 struct {
	panels  [attentionPanelsBF16]panelBF16
	keys    []uint16 // rows
	values  []uint16 // pairs of rows
	scores  []float32
	pairs   []uint16 // of rows of weights
	factor  []float32
	results results
}

// divide divides ws, and returns how many values that is. A nil ws only counts.
func (m *attendMemoryBF16) divide(s *AttentionShape, ws []float32) (size int) {
	c, u := carver{ws: ws}, attendingBF16
	for i := range min(attentionPanelsBF16, ceilDiv(s.Lq, u.nr)) {
		m.panels[i].divide(s, &c)
	}
	keys := roundUp(min(s.Lk, attentionKeysBF16), 2)
	m.keys = c.takeHalves(roundUp(keys, u.mr) * roundUp(s.D, 2))
	m.values = c.takeHalves(keys * u.deep(s))
	m.scores = c.take(roundUp(keys, u.mr) * u.nr)
	m.pairs = c.takeHalves(keys * u.nr)
	m.factor = c.take(u.nr)
	m.results.divide(s, &c)
	return c.size
}

// ForwardWorkspaceBF16 returns how many values of workspace AttentionBF16 needs.
func (s AttentionShape) ForwardWorkspaceBF16(pool *Pool) int {
	return pool.Workers()*new(attendMemoryBF16).divide(&s, nil) + 16
}

// WorkspaceBF16 returns how many values of workspace AttentionBF16 and AttentionGradBF16 need.
func (s AttentionShape) WorkspaceBF16(pool *Pool) int {
	grad := pool.Workers()*new(gradMemoryBF16).divide(&s, nil) + 16
	return max(grad, s.ForwardWorkspaceBF16(pool))
}

// An attentionBF16Task computes the result for some queries of one head, or the gradients of one
// head.
type attentionBF16Task struct {
	AttentionShape
	q, k, v, out, dout, dq, dk, dv []uint16
	mask, ws                       []float32

	size int // of a worker's memory
}

var attentionBF16Tasks freeList[attentionBF16Task]

func runAttentionBF16(pool *Pool, t attentionBF16Task, parts, size int, ws []float32) {
	task := attentionBF16Tasks.get()
	*task = t
	task.ws, task.size = aligned(ws), size
	pool.Parallel(parts, task)
	attentionBF16Tasks.put(task)
}

// AttentionBF16 is Attention to bfloat16 values. The weights are rounded before they are
// multiplied, and so is the result. Otherwise it is float32. It panics on wrong lengths.
func AttentionBF16(pool *Pool, s AttentionShape, out, q, k, v []uint16, mask, ws []float32) {
	s.checkBF16("AttentionBF16", mask, [][]uint16{out, q}, [][]uint16{k, v})
	mustHold("AttentionBF16", ws, s.ForwardWorkspaceBF16(pool))
	t := attentionBF16Task{AttentionShape: s, q: q, k: k, v: v, mask: mask, out: out}
	size := new(attendMemoryBF16).divide(&s, nil)
	runAttentionBF16(pool, t, s.N*s.Heads*s.groupsBF16(), size, ws)
}

// checkBF16 panics unless the lengths are those of s.
func (s AttentionShape) checkBF16(kernel string, mask []float32, queries, keys [][]uint16) {
	s.check(kernel, mask, nil, nil)
	mustMatch(kernel, s.queries(), queries...)
	mustMatch(kernel, s.keys(), keys...)
}

// groupsBF16 is how many parts the result of a head has.
func (s AttentionShape) groupsBF16() int {
	return ceilDiv(s.Lq, attentionPanelsBF16*attendingBF16.nr)
}

func (t *attentionBF16Task) Do(worker, part int) {
	ws := t.ws[worker*t.size:][:t.size]
	if t.dout != nil {
		var m gradMemoryBF16
		m.divide(&t.AttentionShape, ws)
		t.gradient(part, &m)
		return
	}
	var m attendMemoryBF16
	m.divide(&t.AttentionShape, ws)
	t.attend(part/t.groupsBF16(), part%t.groupsBF16(), &m)
}

// part returns the rows of a head of x [N,L,Heads·D], from a row on, and the stride.
func (t *attentionBF16Task) part(x []uint16, head, length, row int) (rows []uint16, stride int) {
	n, h := head/t.Heads, head%t.Heads
	stride = t.Heads * t.D
	return x[(n*length+row)*stride+h*t.D:], stride
}

// attend computes the result for a group of queries of a head.
func (t *attentionBF16Task) attend(head, group int, m *attendMemoryBF16) {
	u := attendingBF16
	lo, hi := span(group, attentionPanelsBF16*u.nr, t.Lq)
	for k0 := 0; k0 < t.seen(hi); k0 += attentionKeysBF16 {
		n := min(attentionKeysBF16, t.seen(hi)-k0)
		keys, stride := t.part(t.k, head, t.Lk, k0)
		u.rows(m.keys, keys, stride, t.D, n)
		values, stride := t.part(t.v, head, t.Lk, k0)
		deep := u.deep(&t.AttentionShape)
		u.interleave(m.values, values, stride, deep, deep, t.D, n)
		for q0 := lo; q0 < hi; q0 += u.nr {
			p := &m.panels[(q0-lo)/u.nr]
			if k0 == 0 {
				p.lo, p.n = q0, min(u.nr, hi-q0)
				t.begin(p, head)
			}
			t.attendKeys(head, k0, p, m)
		}
	}
}

// begin packs the queries of p. No keys are known yet.
func (t *attentionBF16Task) begin(p *panelBF16, head int) {
	t.pack(p.q, t.q, head, p)
	p.reset()
}

// pack packs pairs of the columns of x [N,Lq,Heads·D] that are p's. Columns beyond are zero.
func (t *attentionBF16Task) pack(dst, x []uint16, head int, p *panelBF16) {
	rows, stride := t.part(x, head, t.Lq, p.lo)
	attendingBF16.pairColumns(dst, rows, stride, attendingBF16.nr, p.n, t.D)
}

// A results is memory for the results of a panel.
type results struct {
	whole   []float32 // [queries,D]
	rounded []uint16  // [queries,D]
}

func (r *results) divide(s *AttentionShape, c *carver) {
	n := attendingBF16.nr * s.D
	r.whole, r.rounded = c.take(n), c.takeHalves(n)
}

// unpack rounds columns of sums, of n rows of a head from a row on.
func (t *attentionBF16Task) unpack(
	x []uint16, head, length, row, n int, sums []float32, r *results,
) {
	u := attendingBF16
	u.passes.transpose(r.whole, sums, t.D, u.nr, t.D, n)
	conversion.to(r.rounded[:n*t.D], r.whole[:n*t.D])
	dst, stride := t.part(x, head, length, row)
	u.copyRows(dst, r.rounded, t.D, stride, t.D, n)
}

// score computes what makes the scores of p and some keys, before they are scaled. keys are rows.
func (t *attentionBF16Task) score(head, k0 int, p *panelBF16, keys []uint16, x scores) {
	d := roundUp(t.D, 2)
	attendingBF16.product(x.data, keys, p.q, x.rows, d/2, d, 2, false)
	t.hide(t.mask, head, k0, p.lo, x)
}

// attendKeys adds what the keys from k0 on give to the result of p. With the last ones the result
// is written.
func (t *attentionBF16Task) attendKeys(head, k0 int, p *panelBF16, m *attendMemoryBF16) {
	seen := t.seen(p.lo + p.n)
	if seen <= k0 {
		return
	}
	u, n := attendingBF16, min(attentionKeysBF16, seen-k0)
	x, out := p.block(m.scores, n), p.block(p.out, t.D)
	t.score(head, k0, p, m.keys, x)
	u.weigh(m.pairs, x, t.toPower(), p.softmaxState, m.factor)
	if k0 > 0 && !ones(m.factor[:x.n]) {
		u.passes.scale(out, m.factor)
	}
	deep := u.deep(&t.AttentionShape)
	u.product(p.out, m.values, m.pairs, deep, ceilDiv(n, 2), 2, 2*deep, k0 > 0)
	if k0+n == seen {
		p.invert()
		u.passes.scale(out, p.delta)
		t.unpack(t.out, head, t.Lq, p.lo, p.n, p.out, &m.results)
	}
}
