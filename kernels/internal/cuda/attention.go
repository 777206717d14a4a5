package cuda

import (
	"fmt"
	"math"
	"slices"
)

// An AttentionShape is the shape of attention: N samples of Lq queries and Lk keys, and Heads heads
// of D values each. Queries are [N,Lq,Heads·D]. Keys and values are [N,Lk,Heads·D].
type AttentionShape struct {
	N, Heads, Lq, Lk, D int
	Causal              bool // query i sees keys 0 to i
}

func (s AttentionShape) queries() int { return s.N * s.Lq * s.Heads * s.D }
func (s AttentionShape) keys() int    { return s.N * s.Lk * s.Heads * s.D }

// check panics unless the operands are of type t and of the lengths of s.
func (s AttentionShape) check(kernel string, t Type, mask Tensor, queries, keys []Tensor) {
	if s.N < 0 || s.Heads < 1 || s.Lq < 1 || s.Lk < 1 || s.D < 1 {
		panic(fmt.Sprintf("cuda: %s: no such shape: %+v", kernel, s))
	}
	if t == BFloat16 && !AttentionSupported(s.D) {
		panic(fmt.Sprintf("cuda: %s: no kernel for bfloat16 heads of %d values", kernel, s.D))
	}
	mustBe(kernel, t, s.queries(), queries...)
	mustBe(kernel, t, s.keys(), keys...)
	if mask.Len > 0 {
		mustBe(kernel, Float32, s.N*s.Lk, mask)
	}
}

// AttentionSupported reports whether there are kernels for bfloat16 heads of d values. Others are
// to be computed in float32.
func AttentionSupported(d int) bool {
	return d > 0 && d%8 == 0 && d <= 160 || d == 192 || d == 256
}

// AttentionWorkspace returns how many bytes of workspace Attention needs for operands of type t.
func AttentionWorkspace(s AttentionShape, t Type) int {
	if t == Float32 {
		return AttentionFloat32Workspace(s)
	}
	return 0
}

// Attention is, for each head, softmax(Q·Kᵀ/√D)·V (Vaswani et al. 2017, eq. 1). mask is [N,Lk] or
// has no values. Keys whose mask is 0 are not seen. A query that sees no key gets zeros. lse is
// [N,Heads,Lq] in float32 or has no values. It gets the logarithm of Σ exp over the scores of a
// query, which is −∞ if it sees no key.
func Attention(q *Queue, s AttentionShape, out, lse, query, key, value, mask, ws Tensor) {
	if out.Type == Float32 {
		AttentionFloat32(q, s, out, lse, query, key, value, mask, ws)
		return
	}
	s.check("Attention", BFloat16, mask, []Tensor{out, query}, []Tensor{key, value})
	if lse.Len > 0 {
		mustBe("Attention", Float32, s.N*s.Heads*s.Lq, lse)
	}
	s.forward(q, attentionForward{out: out, lse: lse, q: query, k: key, v: value, mask: mask})
}

// attentionTiles are how the work of a kernel is cut. A block has 16·rows·warps rows of one head,
// and takes so many columns at a time.
type attentionTiles struct{ rows, warps, columns int }

func (t attentionTiles) block() int { return 16 * t.rows * t.warps }

// attentionSteps and attentionStride are steps_of and stride_of of attention.cuh.
func attentionSteps(n int) int  { return ceilDiv(n, 16) * 16 }
func attentionStride(n int) int { return (n/8 | 1) * 8 }

// blocks returns the grid for blocks of the rows of each head.
func (s AttentionShape) blocks(rows, block int) [3]int {
	return [3]int{ceilDiv(rows, block) * s.Heads * s.N, 1, 1}
}

// scale returns log₂ e/√D. Scores are exponents of 2.
func (s AttentionShape) scale() float64 { return math.Log2E / math.Sqrt(float64(s.D)) }

// An attentionForward is the operands of the kernel of Attention. It writes out and lse, or shift
// and delta, which are what the gradient needs: see attentionGradient.
type attentionForward struct {
	out, lse, shift, delta, q, k, v, dout, mask Tensor
}

// forwardTiles are those of Forward in attention.cu.
func forwardTiles(d int) attentionTiles {
	switch {
	case d <= 96:
		return attentionTiles{rows: 2, warps: 4, columns: 64}
	case d < 128:
		return attentionTiles{rows: 2, warps: 4, columns: 32}
	case d == 128:
		return attentionTiles{rows: 2, warps: 4, columns: 16}
	}
	return attentionTiles{rows: 1, warps: 4, columns: 32}
}

func (s AttentionShape) forward(q *Queue, o attentionForward) {
	t := forwardTiles(s.D)
	stride, values := attentionStride(attentionSteps(s.D)), attentionStride(s.D)
	shared := 2 * (t.block()*stride + 2*t.columns*(stride+values))
	if s.N == 0 {
		return
	}
	results := []Tensor{o.out, o.lse, o.shift, o.delta}
	results = slices.DeleteFunc(results, func(x Tensor) bool { return x.Len == 0 })
	q.add(fmt.Sprintf("attention_%d_bf16", s.D), s.blocks(s.Lq, t.block()), 32*t.warps, shared,
		results, []Tensor{o.q, o.k, o.v, o.dout, o.mask},
		o.out, o.lse, o.shift, o.delta, o.q, o.k, o.v, o.dout, o.mask,
		s.Lq, s.Lk, s.Heads, s.padded(), s.Causal, aligned(o.out, o.q, o.k, o.v, o.dout), s.scale())
}
