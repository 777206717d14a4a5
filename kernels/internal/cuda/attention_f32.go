package cuda

import "math"

// An attentionF32 is how attention of float32 values is launched.
type attentionF32 struct {
	AttentionShape
	q, k, v, mask, dout Tensor
	lse, delta          Tensor
	parts               int // of delta
}

// width is how many columns of a head a block computes.
func (s AttentionShape) width() int {
	if s.D <= 64 {
		return 64
	}
	return 128
}

// chunks is how many blocks compute the columns of a head.
func (s AttentionShape) chunks() int { return ceilDiv(s.D, s.width()) }

// rows is how many rows all heads have.
func (s AttentionShape) rows() int { return s.N * s.Heads * s.Lq }

// add appends a kernel that has blocks of length queries or keys. out and second are what it
// writes.
func (a attentionF32) add(
	q *Queue, kernel string, length, weights int, out, second Tensor, writes, reads []Tensor,
) {
	const (
		threads = 128                // kAttentionThreads of attention_f32.cu
		block   = 64                 // kBlock
		stages  = 2 * 2 * block * 36 // two of kStage
	)
	width := map[int]string{64: "_64_f32", 128: "_128_f32"}[a.width()]
	blocks := a.N * a.Heads * ceilDiv(length, block) * a.chunks()
	vector := aligned(a.q, a.k, a.v, a.dout, out, second) && a.D%4 == 0
	q.add("attention_"+kernel+width, [3]int{blocks, 1, 1}, threads, (stages+weights*80)*4,
		writes, reads, a.params(out, second, vector)...)
}

// params are the fields of AttentionF32 of attention_f32.cu.
func (a attentionF32) params(out, second Tensor, vector bool) []any {
	return []any{
		out, second, a.q, a.k, a.v, orNull(a.mask), a.dout, orNull(a.lse), a.delta,
		uint64(a.rows()), a.Heads, a.Lq, a.Lk, a.D, a.chunks(), a.parts, a.Causal, vector,
		1 / math.Sqrt(float64(a.D)),
	}
}

// AttentionFloat32Workspace returns how many bytes of workspace AttentionFloat32 needs.
func AttentionFloat32Workspace(s AttentionShape) int { return 0 }

// AttentionFloat32 is Attention for float32 operands, of any D.
func AttentionFloat32(q *Queue, s AttentionShape, out, lse, q_, k, v, mask, ws Tensor) {
	s.check("AttentionFloat32", Float32, mask, []Tensor{out, q_}, []Tensor{k, v})
	if lse.Len > 0 {
		mustBe("AttentionFloat32", Float32, s.rows(), lse)
	}
	if s.N == 0 {
		return
	}
	a := attentionF32{AttentionShape: s, q: q_, k: k, v: v, mask: mask, lse: lse}
	writes := []Tensor{out}
	if lse.Len > 0 {
		writes = append(writes, lse)
	}
	a.add(q, "forward", s.Lq, 64, out, Tensor{}, writes, []Tensor{q_, k, v, mask})
}

// AttentionGradFloat32Workspace returns how many bytes of workspace AttentionGradFloat32 and
// AttentionGradFromFloat32 need.
func AttentionGradFloat32Workspace(s AttentionShape) int {
	return (1 + s.chunks()) * s.rows() * Float32.Size()
}

// AttentionGradFloat32 is AttentionGrad for float32 operands, of any D. It computes the statistics
// of the rows of scores first, then the gradient by the queries, then those by keys and values.
func AttentionGradFloat32(q *Queue, s AttentionShape, dq, dk, dv, q_, k, v, mask, dout, ws Tensor) {
	const name = "AttentionGradFloat32"
	s.check(name, Float32, mask, []Tensor{dq, q_, dout}, []Tensor{dk, dv, k, v})
	mustHold(name, ws, AttentionGradFloat32Workspace(s))
	if s.N == 0 {
		return
	}
	lse := Tensor{Address: ws.Address, Len: s.rows()}
	a := attentionF32{
		AttentionShape: s, q: q_, k: k, v: v, mask: mask, dout: dout,
		lse: lse, delta: afterF32(lse, s.chunks()*s.rows()), parts: s.chunks(),
	}
	a.add(q, "statistics", s.Lq, 64, Tensor{}, Tensor{},
		[]Tensor{a.lse, a.delta}, []Tensor{q_, k, v, mask, dout})
	a.gradients(q, dq, dk, dv)
}

// AttentionGradFromFloat32 is AttentionGradFrom for float32 operands, of any D.
func AttentionGradFromFloat32(
	q *Queue, s AttentionShape, dq, dk, dv, q_, k, v, mask, out, lse, dout, ws Tensor,
) {
	const name = "AttentionGradFromFloat32"
	s.check(name, Float32, mask, []Tensor{dq, q_, out, dout}, []Tensor{dk, dv, k, v})
	mustBe(name, Float32, s.rows(), lse)
	mustHold(name, ws, AttentionGradFloat32Workspace(s))
	if s.N == 0 {
		return
	}
	a := attentionF32{
		AttentionShape: s, q: q_, k: k, v: v, mask: mask, dout: dout,
		lse: lse, delta: Tensor{Address: ws.Address, Len: s.rows()}, parts: 1,
	}
	const threads = 128 // kAttentionThreads of attention_f32.cu
	q.add("attention_delta_f32", [3]int{ceilDiv(s.rows(), threads/32), 1, 1}, threads, 0,
		[]Tensor{a.delta}, []Tensor{out, dout}, a.params(out, Tensor{}, false)...)
	a.gradients(q, dq, dk, dv)
}

// gradients appends what computes the gradients once the statistics are there.
func (a attentionF32) gradients(q *Queue, dq, dk, dv Tensor) {
	reads := []Tensor{a.q, a.k, a.v, a.mask, a.dout, a.lse, a.delta}
	a.add(q, "grad_queries", a.Lq, 64, dq, Tensor{}, []Tensor{dq}, reads)
	weights := 2 * 64
	if a.width() == 128 {
		weights = 2 * 32
	}
	a.add(q, "grad_keys", a.Lk, weights, dk, dv, []Tensor{dk, dv}, reads)
}

// afterF32 returns n values of float32 that lie behind t.
func afterF32(t Tensor, n int) Tensor {
	return Tensor{Address: t.Address + uint64(t.bytes()), Len: n}
}
