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

// attentionRows is how many queries are looked at together: the scores of so many rows are all that is ever stored.
const attentionRows = 64

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

// perWorker is the scratch memory of one worker: two strips of scores and what products want.
func (s AttentionShape) perWorker() int {
	a, b, c := s.scores(), s.mixed(), s.spread()
	return 2*s.strip() + max(a.Workspace(), b.Workspace(), c.Workspace())
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
	ws := t.ws[worker*t.perWorker():][:t.perWorker()]
	if t.dout == nil {
		t.forward(&t.p[worker], part/t.blocks(), part%t.blocks(), ws)
		return
	}
	for block := range t.blocks() {
		t.backward(&t.p[worker], part, block, ws)
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

// probabilities writes the softmax of a block's scores to s.
func (t *attentionTask) probabilities(p *Product, head, lo, hi int, s, ws []float32) {
	k := t.part(t.k, head, t.Lk, 0)
	k.Transposed = true
	t.multiply(p, hi-lo, t.Lk, t.D, t.part(t.q, head, t.Lq, lo), k, Matrix{Data: s, Stride: t.Lk}, false, ws)
	scale := float32(1 / math.Sqrt(float64(t.D)))
	for i := range hi - lo {
		row := s[i*t.Lk:][:t.Lk]
		vec.scale(row, row, scale)
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
			continue
		}
		vec.scale(seen, seen, float32(1/vec.expShift(seen, top)))
	}
}

func (t *attentionTask) forward(p *Product, head, block int, ws []float32) {
	lo, hi := span(block, attentionRows, t.Lq)
	s, ws := ws[:t.strip()], ws[2*t.strip():]
	t.probabilities(p, head, lo, hi, s, ws)
	t.multiply(p, hi-lo, t.D, t.Lk, Matrix{Data: s, Stride: t.Lk}, t.part(t.v, head, t.Lk, 0), t.part(t.out, head, t.Lq, lo), false, ws)
}

func (t *attentionTask) backward(p *Product, head, block int, ws []float32) {
	lo, hi := span(block, attentionRows, t.Lq)
	s, ds, ws := ws[:t.strip()], ws[t.strip():2*t.strip()], ws[2*t.strip():]
	t.probabilities(p, head, lo, hi, s, ws)
	dout := t.part(t.dout, head, t.Lq, lo)
	probabilities, scores := Matrix{Data: s, Stride: t.Lk}, Matrix{Data: ds, Stride: t.Lk}
	v := t.part(t.v, head, t.Lk, 0)
	v.Transposed = true
	t.multiply(p, hi-lo, t.Lk, t.D, dout, v, scores, false, ws)
	probabilities.Transposed = true
	t.multiply(p, t.Lk, t.D, hi-lo, probabilities, dout, t.part(t.dv, head, t.Lk, 0), block > 0, ws)
	// dS = P ∘ (dP − Σ P∘dP) / √D
	scale := float32(1 / math.Sqrt(float64(t.D)))
	for i := range hi - lo {
		p, dp := s[i*t.Lk:][:t.Lk], ds[i*t.Lk:][:t.Lk]
		delta := float32(vec.dot(p, dp))
		vec.softmaxGrad(p, dp, delta)
		vec.scale(p, p, scale)
	}
	probabilities.Transposed = false
	t.multiply(p, hi-lo, t.D, t.Lk, probabilities, t.part(t.k, head, t.Lk, 0), t.part(t.dq, head, t.Lq, lo), false, ws)
	probabilities.Transposed = true
	t.multiply(p, t.Lk, t.D, hi-lo, probabilities, t.part(t.q, head, t.Lq, lo), t.part(t.dk, head, t.Lk, 0), block > 0, ws)
}
