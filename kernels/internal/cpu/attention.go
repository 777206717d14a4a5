package cpu

import (
	"fmt"
	"math"
)

// An AttentionShape is the shape of attention: N samples of Lq queries and Lk keys, and Heads heads
// of D values each. Queries are [N,Lq,Heads·D]. Keys and values are [N,Lk,Heads·D].
type AttentionShape struct {
	N, Heads, Lq, Lk, D int
	Causal              bool // query i sees keys 0 to i

	// BFloat16 says that q, k, v and dout are bfloat16 values, held in float32. Then all operands
	// of products are bfloat16 values. For this, the numerators P of softmax and the gradient dS of
	// the scores are rounded before they are multiplied, and the division by √D comes after the
	// products. The sums of P's rows and of P∘dP are of values that are not rounded, in float64.
	BFloat16 bool
}

// Attention to bfloat16 values is made of products of rows of scores.
const (
	// attentionRows is how many queries are computed together. Only the scores of so many rows are
	// stored. They are whole tiles of each micro-kernel of assembly.
	attentionRows = 42
	// attentionBlocks is how many blocks of queries share the keys and values of a head, which are
	// packed for the products once.
	attentionBlocks = 8
)

func (s AttentionShape) queries() int { return s.N * s.Lq * s.Heads * s.D }
func (s AttentionShape) keys() int    { return s.N * s.Lk * s.Heads * s.D }
func (s AttentionShape) blocks() int  { return ceilDiv(s.Lq, attentionRows) }
func (s AttentionShape) parts() int   { return ceilDiv(s.blocks(), attentionBlocks) }

// check panics unless the lengths are those of s.
func (s AttentionShape) check(kernel string, mask []float32, queries, keys [][]float32) {
	if s.N < 0 || s.Heads < 1 || s.Lq < 1 || s.Lk < 1 || s.D < 1 {
		panic(fmt.Sprintf("cpu: %s: no such shape: %+v", kernel, s))
	}
	mustMatch(kernel, s.queries(), queries...)
	mustMatch(kernel, s.keys(), keys...)
	if mask != nil {
		mustMatch(kernel, s.N*s.Lk, mask)
	}
}

// byKeys is a product of a block of queries whose columns are the keys, such as Q·Kᵀ.
func (s AttentionShape) byKeys() product {
	return product{m: s.block(), n: s.Lk, k: s.D, b: rhs{matrix: Matrix{Transposed: true}}}
}

// byValues is a product of a block of queries that sums over the keys, such as P·V.
func (s AttentionShape) byValues() product { return product{m: s.block(), n: s.D, k: s.Lk} }

// overRows is a product that sums over the queries of a block, such as Pᵀ·dout.
func (s AttentionShape) overRows() product {
	return product{m: s.Lk, n: s.D, k: s.block(), a: lhs{matrix: Matrix{Transposed: true}}}
}

func (s AttentionShape) block() int { return min(attentionRows, s.Lq) }

// An attentionWorkspace is the memory of one worker, for bfloat16 values.
type attentionWorkspace struct {
	keys, values []float32 // packed
	keysAsValues []float32 // packed

	// Of a block of queries:
	weights []float32 // the numerators of softmax
	norm    []float32 // one over the sums of the numerators
	slopes  []float32 // the gradient of the scores

	ws []float32 // of products
}

// divide divides the memory of a worker, and returns how many values that is. A nil ws only counts.
func (s AttentionShape) divide(ws []float32) (m attentionWorkspace, size int) {
	a, b, c := s.byKeys(), s.byValues(), s.overRows()
	byKeys, byValues := micro.packedSize(&a), micro.packedSize(&b)
	a.b.packed, b.b.packed = []float32{}, []float32{}
	products := max(
		micro.workspace(serial, &a), micro.workspace(serial, &b), micro.workspace(serial, &c),
	)
	for _, part := range []struct {
		of *[]float32
		n  int
	}{
		{&m.keys, byKeys},
		{&m.values, max(byKeys, byValues)},
		{&m.keysAsValues, byValues},
		{&m.weights, s.block() * s.Lk},
		{&m.slopes, s.block() * s.Lk},
		{&m.norm, s.block()},
		{&m.ws, products},
	} {
		n := roundUp(part.n, 16)
		if ws != nil {
			*part.of = ws[size:][:n]
		}
		size += n
	}
	return m, size
}

// ForwardWorkspace returns how many values of workspace Attention needs.
func (s AttentionShape) ForwardWorkspace(pool *Pool) int {
	return pool.Workers()*s.perWorker(false) + 16
}

// Workspace returns how many values of workspace Attention and AttentionGrad need.
func (s AttentionShape) Workspace(pool *Pool) int {
	grad := pool.Workers()*s.perWorker(true) + s.shared(true) + 16
	return max(grad, s.ForwardWorkspace(pool))
}

// perWorker is the size of a worker's memory for the result, or for the gradients.
func (s AttentionShape) perWorker(grad bool) (size int) {
	switch {
	case s.BFloat16:
		_, size = s.divide(nil)
	case grad:
		size = new(gradMemory).divide(&s, nil)
	default:
		size = new(attendMemory).divide(&s, nil)
	}
	return size
}

// shared is the size of the memory in front of that of the workers.
func (s AttentionShape) shared(grad bool) int {
	if s.BFloat16 || !grad {
		return 0
	}
	return 2 * s.halfSize()
}

// An attentionTask computes the result for some queries of one head, or the gradients of one head
// or of half of it.
type attentionTask struct {
	AttentionShape
	q, k, v, mask, out, dout, dq, dk, dv, ws []float32

	size int // of a worker's memory
}

var attentionTasks freeList[attentionTask]

func runAttention(pool *Pool, t attentionTask, parts int, ws []float32) {
	task := attentionTasks.get()
	*task = t
	task.ws, task.size = aligned(ws), t.perWorker(t.dout != nil)
	pool.Parallel(parts, task)
	if t.dout != nil && !t.BFloat16 {
		task.join(task.ws)
	}
	attentionTasks.put(task)
}

// Attention is, for each head, softmax(Q·Kᵀ/√D)·V (Vaswani et al. 2017, eq. 1). mask is [N,Lk] or
// nil. Keys whose mask is 0 are not seen. A query that sees no key gets zeros. Only the scores of a
// few queries are stored at a time. It panics on wrong lengths.
func Attention(pool *Pool, s AttentionShape, out, q, k, v, mask, ws []float32) {
	s.check("Attention", mask, [][]float32{out, q}, [][]float32{k, v})
	t := attentionTask{AttentionShape: s, q: q, k: k, v: v, mask: mask, out: out}
	mustHold("Attention", ws, s.ForwardWorkspace(pool))
	parts := s.groups()
	if s.BFloat16 {
		parts = s.parts()
	}
	runAttention(pool, t, s.N*s.Heads*parts, ws)
}

// AttentionGrad is the gradient of Attention by q, k and v. It panics on wrong lengths.
func AttentionGrad(pool *Pool, s AttentionShape, dq, dk, dv, q, k, v, mask, dout, ws []float32) {
	s.check("AttentionGrad", mask, [][]float32{dq, q, dout}, [][]float32{dk, dv, k, v})
	t := attentionTask{
		AttentionShape: s, q: q, k: k, v: v, mask: mask, dout: dout, dq: dq, dk: dk, dv: dv,
	}
	mustHold("AttentionGrad", ws, s.Workspace(pool))
	parts := s.N * s.Heads
	if !s.BFloat16 {
		parts += s.split()
	}
	runAttention(pool, t, parts, ws)
}

func (t *attentionTask) Do(worker, part int) {
	grad := t.dout != nil
	ws := t.ws[t.shared(grad)+worker*t.size:][:t.size]
	switch {
	case t.BFloat16:
		t.doBF16(part, ws)
	case grad:
		var m gradMemory
		m.divide(&t.AttentionShape, ws)
		t.gradPart(part, t.ws, &m)
	default:
		var m attendMemory
		m.divide(&t.AttentionShape, ws)
		t.attend(part/t.groups(), part%t.groups(), &m)
	}
}

// doBF16 does a part for bfloat16 values.
func (t *attentionTask) doBF16(part int, ws []float32) {
	m, _ := t.divide(ws)
	if t.dout == nil {
		head, part := part/t.parts(), part%t.parts()
		keys := pack(t.byKeys(), t.part(t.k, head, t.Lk, 0), m.keys)
		values := pack(t.byValues(), t.part(t.v, head, t.Lk, 0), m.values)
		first, last := span(part, attentionBlocks, t.blocks())
		for block := first; block < last; block++ {
			t.forward(head, block, keys, values, &m)
		}
		return
	}
	keys := pack(t.byKeys(), t.part(t.k, part, t.Lk, 0), m.keys)
	values := pack(t.byKeys(), t.part(t.v, part, t.Lk, 0), m.values)
	keysAsValues := pack(t.byValues(), t.part(t.k, part, t.Lk, 0), m.keysAsValues)
	for block := range t.blocks() {
		t.backward(part, block, keys, values, keysAsValues, &m)
	}
}

// pack packs x as the right factor of p. Whether x is transposed is as p says.
func pack(p product, x Matrix, dst []float32) rhs {
	x.Transposed = p.b.matrix.Transposed
	p.b.matrix = x
	return micro.packWhole(&p, dst)
}

// part returns the rows of a head of x [N,L,Heads·D], from a row on.
func (t *attentionTask) part(x []float32, head, length, row int) Matrix {
	n, h := head/t.Heads, head%t.Heads
	stride := t.Heads * t.D
	return Matrix{Data: x[(n*length+row)*stride+h*t.D:], Stride: stride}
}

// multiply is c = a·b for some rows of a, or c += a·b if p accumulates.
func (m *attentionWorkspace) multiply(p product, rows int, a Matrix, b rhs, c Matrix) {
	p.m, p.a.matrix, p.b, p.c, p.ldc = rows, a, b, c.Data, c.Stride
	micro.multiply(serial, &p, m.ws)
}

// scaled is dst = a[i]·x for each row i of x. dst may be x.
func scaled(dst, x Matrix, width int, a []float32) {
	for i, v := range a {
		vec.scale(dst.Data[i*dst.Stride:][:width], x.Data[i*x.Stride:][:width], v)
	}
}

// root is 1/√D.
func (s AttentionShape) root() float32 { return float32(1 / math.Sqrt(float64(s.D))) }

// scores computes Q·Kᵀ/√D of queries [lo,hi) in m.weights.
func (t *attentionTask) scores(head, lo, hi int, keys rhs, m *attentionWorkspace) {
	weights := Matrix{Data: m.weights, Stride: t.Lk}
	m.multiply(t.byKeys(), hi-lo, t.part(t.q, head, t.Lq, lo), keys, weights)
	all := m.weights[:(hi-lo)*t.Lk]
	vec.scale(all, all, t.root())
}

// weigh computes the scores of queries [lo,hi), the numerators of their softmax in m.weights, and
// one over the sums of these in m.norm. The rows of the result are multiplied by m.norm later. They
// are shorter than those of the weights.
func (t *attentionTask) weigh(head, lo, hi int, keys rhs, m *attentionWorkspace) {
	t.scores(head, lo, hi, keys, m)
	for i := range hi - lo {
		row := m.weights[i*t.Lk:][:t.Lk]
		if t.mask != nil {
			for j, m := range t.mask[head/t.Heads*t.Lk:][:t.Lk] {
				if m == 0 {
					row[j] = float32(math.Inf(-1))
				}
			}
		}
		seen := row
		if t.Causal {
			seen = row[:min(lo+i+1, t.Lk)]
			clear(row[len(seen):])
		}
		top := vec.max(seen)
		if math.IsInf(float64(top), -1) {
			clear(seen)
			m.norm[i] = 0
			continue
		}
		m.norm[i] = float32(1 / vec.expShift(seen, top))
	}
}

// forward computes the result for a block of queries.
func (t *attentionTask) forward(head, block int, keys, values rhs, m *attentionWorkspace) {
	lo, hi := span(block, attentionRows, t.Lq)
	t.weigh(head, lo, hi, keys, m)
	roundBF16(m.weights[:(hi-lo)*t.Lk], m.weights)
	out := t.part(t.out, head, t.Lq, lo)
	m.multiply(t.byValues(), hi-lo, Matrix{Data: m.weights, Stride: t.Lk}, values, out)
	scaled(out, out, t.D, m.norm[:hi-lo])
}

// backward computes dq of a block of queries, and adds the block's part to dk and dv.
func (t *attentionTask) backward(
	head, block int, keys, values, keysAsValues rhs, m *attentionWorkspace,
) {
	lo, hi := span(block, attentionRows, t.Lq)
	rows := hi - lo
	t.weigh(head, lo, hi, keys, m)
	dout := t.part(t.dout, head, t.Lq, lo)
	over := t.overRows()
	over.k, over.accumulate = rows, block > 0
	weights, slopes := Matrix{Data: m.weights, Stride: t.Lk}, Matrix{Data: m.slopes, Stride: t.Lk}
	transposed := slopes
	transposed.Transposed = true
	scaled(weights, weights, t.Lk, m.norm[:rows])
	size := rows * t.Lk
	roundBF16(m.slopes[:size], m.weights)
	m.multiply(over, t.Lk, transposed, rhs{matrix: dout}, t.part(t.dv, head, t.Lk, 0))
	m.multiply(t.byKeys(), rows, dout, values, slopes)
	for i := range rows {
		w, dp := m.weights[i*t.Lk:][:t.Lk], m.slopes[i*t.Lk:][:t.Lk]
		vec.softmaxGrad(w, dp, float32(vec.dot(w, dp)))
	}
	roundBF16(m.slopes[:size], m.weights)
	dk := t.part(t.dk, head, t.Lk, 0)
	m.multiply(over, t.Lk, transposed, rhs{matrix: t.part(t.q, head, t.Lq, lo)}, dk)
	dq := t.part(t.dq, head, t.Lq, lo)
	m.multiply(t.byValues(), rows, slopes, keysAsValues, dq)
	t.divideByRoot(dq, rows)
	if hi == t.Lq {
		t.divideByRoot(dk, t.Lk)
	}
}

// divideByRoot divides rows of x by √D.
func (t *attentionTask) divideByRoot(x Matrix, rows int) {
	for i := range rows {
		row := x.Data[i*x.Stride:][:t.D]
		vec.scale(row, row, t.root())
	}
}
