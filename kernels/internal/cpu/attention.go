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
}

func (s AttentionShape) queries() int { return s.N * s.Lq * s.Heads * s.D }
func (s AttentionShape) keys() int    { return s.N * s.Lk * s.Heads * s.D }

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
func (s AttentionShape) perWorker(grad bool) int {
	if grad {
		return new(gradMemory).divide(&s, nil)
	}
	return new(attendMemory).divide(&s, nil)
}

// shared is the size of the memory in front of that of the workers.
func (s AttentionShape) shared(grad bool) int {
	if !grad {
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
	if t.dout != nil {
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
	runAttention(pool, t, s.N*s.Heads*s.groups(), ws)
}

// AttentionGrad is the gradient of Attention by q, k and v. It panics on wrong lengths.
func AttentionGrad(pool *Pool, s AttentionShape, dq, dk, dv, q, k, v, mask, dout, ws []float32) {
	s.check("AttentionGrad", mask, [][]float32{dq, q, dout}, [][]float32{dk, dv, k, v})
	t := attentionTask{
		AttentionShape: s, q: q, k: k, v: v, mask: mask, dout: dout, dq: dq, dk: dk, dv: dv,
	}
	mustHold("AttentionGrad", ws, s.Workspace(pool))
	runAttention(pool, t, s.N*s.Heads+s.split(), ws)
}

func (t *attentionTask) Do(worker, part int) {
	grad := t.dout != nil
	ws := t.ws[t.shared(grad)+worker*t.size:][:t.size]
	if grad {
		var m gradMemory
		m.divide(&t.AttentionShape, ws)
		t.gradPart(part, t.ws, &m)
		return
	}
	var m attendMemory
	m.divide(&t.AttentionShape, ws)
	t.attend(part/t.groups(), part%t.groups(), &m)
}

// part returns the rows of a head of x [N,L,Heads·D], from a row on.
func (t *attentionTask) part(x []float32, head, length, row int) Matrix {
	n, h := head/t.Heads, head%t.Heads
	stride := t.Heads * t.D
	return Matrix{Data: x[(n*length+row)*stride+h*t.D:], Stride: stride}
}

// root is 1/√D.
func (s AttentionShape) root() float32 { return float32(1 / math.Sqrt(float64(s.D))) }

// toPower is log₂e/√D: softmax is computed with powers of 2.
func (s AttentionShape) toPower() float32 {
	return float32(math.Log2E / math.Sqrt(float64(s.D)))
}
