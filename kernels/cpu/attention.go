package cpu

import (
	"fmt"
	"math"
)

// An AttentionShape is what attention is about: N samples of Lq queries and Lk keys, Heads heads of D values each. Queries
// are [N,Lq,Heads·D], keys and values [N,Lk,Heads·D].
type AttentionShape struct {
	N, Heads, Lq, Lk, D int
	Causal              bool // query i sees keys 0 to i
}

// attentionRows is how many queries are looked at together: the scores of so many rows are all that is ever stored. They are
// whole tiles of AVX-512's micro-kernel.
const attentionRows = 56

func (s AttentionShape) queries() int { return s.N * s.Lq * s.Heads * s.D }
func (s AttentionShape) keys() int    { return s.N * s.Lk * s.Heads * s.D }
func (s AttentionShape) blocks() int  { return ceilDiv(s.Lq, attentionRows) }

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

// scores is the product Q·Kᵀ of one block, and the others that are made of it.
func (s AttentionShape) scores() Product {
	return Product{M: min(attentionRows, s.Lq), N: s.Lk, K: s.D, B: Matrix{Transposed: true}}
}

func (s AttentionShape) mixed() Product {
	return Product{M: min(attentionRows, s.Lq), N: s.D, K: s.Lk}
}

func (s AttentionShape) spread() Product {
	return Product{M: s.Lk, N: s.D, K: min(attentionRows, s.Lq), A: Matrix{Transposed: true}}
}

func (s AttentionShape) strip() int { return min(attentionRows, s.Lq) * s.Lk }

// rows is how many values a block of queries has.
func (s AttentionShape) rows() int { return min(attentionRows, s.Lq) * s.D }

// perWorker is the scratch memory of one worker: two strips of scores, two blocks of queries, a number for each query and
// what products want.
func (s AttentionShape) perWorker() int {
	a, b, c := s.scores(), s.mixed(), s.spread()
	return 2*s.strip() + 2*s.rows() + attentionRows + max(a.Workspace(), b.Workspace(), c.Workspace())
}

// An attentionScratch is one worker's memory: of a block of queries, weights before they are normalized, what each query's are
// to be multiplied by, the gradient of its scores, its queries over √D and dout.
type attentionScratch struct {
	weights, norm, slopes, q, dout, ws []float32
}

func (s AttentionShape) scratch(ws []float32) attentionScratch {
	take := func(n int) []float32 {
		part := ws[:n]
		ws = ws[n:]
		return part
	}
	return attentionScratch{
		weights: take(s.strip()), slopes: take(s.strip()), q: take(s.rows()), dout: take(s.rows()), norm: take(attentionRows), ws: ws,
	}
}

// Workspace returns how many values of scratch memory attention and its gradient want.
func (s AttentionShape) Workspace() int { return Workers() * s.perWorker() }

// An attentionTask makes the result of one block of queries of one head, or the gradients of one head.
type attentionTask struct {
	AttentionShape
	q, k, v, mask, out, dout, dq, dk, dv, ws []float32
	p                                        []Product // one a worker
}

var attentionTasks freeList[attentionTask]

func runAttention(t attentionTask, parts int, ws []float32) {
	mustHold("Attention", ws, t.Workspace())
	task := attentionTasks.get()
	products := task.p
	*task = t
	for len(products) < Workers() {
		products = append(products, Product{})
	}
	task.p, task.ws = products, ws
	Parallel(parts, task)
	*task = attentionTask{p: products}
	attentionTasks.keep(task)
}

// Attention is, for each head, softmax(Q·Kᵀ/√D)·V (Vaswani et al. 2017, eq. 1). Keys whose mask [N,Lk] is 0 are not seen; a
// query that sees no key gets zeros. Only the scores of a few queries are stored at a time. It panics on wrong lengths.
func Attention(s AttentionShape, out, q, k, v, mask, ws []float32) {
	s.check("Attention", mask, [][]float32{out, q}, [][]float32{k, v})
	runAttention(attentionTask{AttentionShape: s, q: q, k: k, v: v, mask: mask, out: out}, s.N*s.Heads*s.blocks(), ws)
}

// AttentionGrad is the gradient of Attention by q, k and v.
func AttentionGrad(s AttentionShape, dq, dk, dv, q, k, v, mask, dout, ws []float32) {
	s.check("AttentionGrad", mask, [][]float32{dq, q, dout}, [][]float32{dk, dv, k, v})
	runAttention(attentionTask{AttentionShape: s, q: q, k: k, v: v, mask: mask, dout: dout, dq: dq, dk: dk, dv: dv}, s.N*s.Heads, ws)
}

func (t *attentionTask) Do(worker, part int) {
	m := t.scratch(t.ws[worker*t.perWorker():][:t.perWorker()])
	if t.dout == nil {
		t.forward(&t.p[worker], part/t.blocks(), part%t.blocks(), m)
		return
	}
	for block := range t.blocks() {
		t.backward(&t.p[worker], part, block, m)
	}
}

// part is a head's rows of x [N,L,Heads·D], from row on.
func (t *attentionTask) part(x []float32, head, length, row int) Matrix {
	n, h := head/t.Heads, head%t.Heads
	stride := t.Heads * t.D
	return Matrix{Data: x[(n*length+row)*stride+h*t.D:], Stride: stride}
}

func (t *attentionTask) multiply(p *Product, m, n, k int, a, b, c Matrix, accumulate bool, ws []float32) {
	*p = Product{M: m, N: n, K: k, A: a, B: b, C: c, Accumulate: accumulate}
	Gemm(p, ws)
}

// weights computes, for a block of queries, m.q and m.weights, which are softmax's times the inverse of m.norm: rows of the size of
// the result are normalized rather than those of scores, which are long.
func (t *attentionTask) weights(p *Product, head, lo, hi int, m attentionScratch) {
	q, scale := t.part(t.q, head, t.Lq, lo), float32(1/math.Sqrt(float64(t.D)))
	for i := range hi - lo {
		vec.scale(m.q[i*t.D:][:t.D], q.Data[i*q.Stride:][:t.D], scale)
	}
	k := t.part(t.k, head, t.Lk, 0)
	k.Transposed = true
	t.multiply(p, hi-lo, t.Lk, t.D, Matrix{Data: m.q, Stride: t.D}, k, Matrix{Data: m.weights, Stride: t.Lk}, false, m.ws)
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

func (t *attentionTask) forward(p *Product, head, block int, m attentionScratch) {
	lo, hi := span(block, attentionRows, t.Lq)
	t.weights(p, head, lo, hi, m)
	out := t.part(t.out, head, t.Lq, lo)
	t.multiply(p, hi-lo, t.D, t.Lk, Matrix{Data: m.weights, Stride: t.Lk}, t.part(t.v, head, t.Lk, 0), out, false, m.ws)
	for i := range hi - lo {
		row := out.Data[i*out.Stride:][:t.D]
		vec.scale(row, row, m.norm[i])
	}
}

func (t *attentionTask) backward(p *Product, head, block int, m attentionScratch) {
	lo, hi := span(block, attentionRows, t.Lq)
	t.weights(p, head, lo, hi, m)
	dout, v := t.part(t.dout, head, t.Lq, lo), t.part(t.v, head, t.Lk, 0)
	v.Transposed = true
	t.multiply(p, hi-lo, t.Lk, t.D, dout, v, Matrix{Data: m.slopes, Stride: t.Lk}, false, m.ws)
	weights := Matrix{Data: m.weights, Stride: t.Lk, Transposed: true}
	for i, norm := range m.norm[:hi-lo] {
		vec.scale(m.dout[i*t.D:][:t.D], dout.Data[i*dout.Stride:][:t.D], norm)
	}
	t.multiply(p, t.Lk, t.D, hi-lo, weights, Matrix{Data: m.dout, Stride: t.D}, t.part(t.dv, head, t.Lk, 0), block > 0, m.ws)
	// With P the probabilities, dS = P ∘ (dP − Σ P∘dP).
	for i := range hi - lo {
		w, dp, q := m.weights[i*t.Lk:][:t.Lk], m.slopes[i*t.Lk:][:t.Lk], m.q[i*t.D:][:t.D]
		vec.softmaxGrad(w, dp, float32(vec.dot(w, dp)*float64(m.norm[i])))
		vec.scale(q, q, m.norm[i])
	}
	t.multiply(p, t.Lk, t.D, hi-lo, weights, Matrix{Data: m.q, Stride: t.D}, t.part(t.dk, head, t.Lk, 0), block > 0, m.ws)
	weights.Transposed = false
	dq := t.part(t.dq, head, t.Lq, lo)
	t.multiply(p, hi-lo, t.D, t.Lk, weights, t.part(t.k, head, t.Lk, 0), dq, false, m.ws)
	scale := float32(1 / math.Sqrt(float64(t.D)))
	for i := range hi - lo {
		row := dq.Data[i*dq.Stride:][:t.D]
		vec.scale(row, row, m.norm[i]*scale)
	}
}
