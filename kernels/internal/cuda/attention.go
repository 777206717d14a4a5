package cuda

import "fmt"

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
	mustBe(kernel, t, s.queries(), queries...)
	mustBe(kernel, t, s.keys(), keys...)
	if mask.Len > 0 {
		mustBe(kernel, Float32, s.N*s.Lk, mask)
	}
}

// AttentionSupported reports whether there are kernels for bfloat16 heads of d values. Others are
// computed in float32.
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

// AttentionGradWorkspace returns how many bytes of workspace AttentionGrad and AttentionGradFrom
// need for operands of type t.
func AttentionGradWorkspace(s AttentionShape, t Type) int {
	if t == Float32 {
		return AttentionGradFloat32Workspace(s)
	}
	panic("cuda: AttentionGrad: not yet")
}

// Attention is, for each head, softmax(Q·Kᵀ/√D)·V (Vaswani et al. 2017, eq. 1). mask is [N,Lk] or
// has no values. Keys whose mask is 0 are not seen. A query that sees no key gets zeros. lse is
// [N,Heads,Lq] in float32, or has no values. It gets the logarithm of the sum of exp(Q·Kᵀ/√D) over
// the keys that are seen.
func Attention(q *Queue, s AttentionShape, out, lse, q_, k, v, mask, ws Tensor) {
	if out.Type == Float32 {
		AttentionFloat32(q, s, out, lse, q_, k, v, mask, ws)
		return
	}
	panic("cuda: Attention: not yet")
}

// AttentionGrad is the gradient of Attention by q, k and v.
func AttentionGrad(q *Queue, s AttentionShape, dq, dk, dv, q_, k, v, mask, dout, ws Tensor) {
	if dq.Type == Float32 {
		AttentionGradFloat32(q, s, dq, dk, dv, q_, k, v, mask, dout, ws)
		return
	}
	panic("cuda: AttentionGrad: not yet")
}

// AttentionGradFrom is AttentionGrad where Attention's out and lse are at hand.
func AttentionGradFrom(
	q *Queue, s AttentionShape, dq, dk, dv, q_, k, v, mask, out, lse, dout, ws Tensor,
) {
	if dq.Type == Float32 {
		AttentionGradFloat32(q, s, dq, dk, dv, q_, k, v, mask, dout, ws)
		return
	}
	panic("cuda: AttentionGradFrom: not yet")
}
