package cuda

import (
	"fmt"
	"math"
)

// AttentionGradWorkspace returns how many bytes of workspace AttentionGrad and AttentionGradFrom
// need for operands of type t.
func AttentionGradWorkspace(s AttentionShape, t Type) int {
	if t == Float32 {
		return AttentionGradFloat32Workspace(s)
	}
	return Float32.Size() * (2*s.stats() + s.parts())
}

// AttentionGrad is the gradient of Attention by q, k and v. It runs Attention again.
func AttentionGrad(
	q *Queue, s AttentionShape, dq, dk, dv, query, key, value, mask, dout, ws Tensor,
) {
	if dq.Type == Float32 {
		AttentionGradFloat32(q, s, dq, dk, dv, query, key, value, mask, dout, ws)
		return
	}
	g := s.gradient("AttentionGrad", dq, dk, dv, query, key, value, mask, dout, ws)
	s.forward(q, attentionForward{
		shift: g.shift, delta: g.delta, q: query, k: key, v: value, dout: dout, mask: mask,
	})
	g.queue(q)
}

// AttentionGradFrom is AttentionGrad where out and lse of Attention are at hand.
func AttentionGradFrom(
	q *Queue, s AttentionShape, dq, dk, dv, query, key, value, mask, out, lse, dout, ws Tensor,
) {
	if dq.Type == Float32 {
		AttentionGradFromFloat32(
			q, s, dq, dk, dv, query, key, value, mask, out, lse, dout, ws,
		)
		return
	}
	g := s.gradient("AttentionGradFrom", dq, dk, dv, query, key, value, mask, dout, ws)
	mustBe("AttentionGradFrom", BFloat16, s.queries(), out)
	mustBe("AttentionGradFrom", Float32, s.N*s.Heads*s.Lq, lse)
	if s.N == 0 {
		return
	}
	const threads, lanes = 256, 8 // kDeltaThreads and kDeltaLanes of attention_grad.cu
	q.add("attention_grad_delta_bf16", [3]int{s.stats() * lanes / threads, 1, 1}, threads, 0,
		[]Tensor{g.shift, g.delta}, []Tensor{out, dout, lse},
		g.shift, g.delta, out, dout, lse,
		s.Lq, s.Heads, s.D, s.padded(), aligned(out, dout))
	g.queue(q)
}

// padded returns how many queries a head has in shift and delta, which are copied in whole tiles.
func (s AttentionShape) padded() int { return ceilDiv(s.Lq, 64) * 64 }

// stats returns how many values shift and delta have.
func (s AttentionShape) stats() int { return s.N * s.Heads * s.padded() }

// gradKeysTiles are those of GradKeys in attention_grad.cu. parts is how many blocks the columns of
// a result are divided among.
func gradKeysTiles(d int) (t attentionTiles, parts int) {
	switch {
	case d <= 64:
		return attentionTiles{rows: 2, warps: 4, columns: 64}, 1
	case d <= 128:
		return attentionTiles{rows: 1, warps: 4, columns: 32}, 1
	case d <= 160:
		return attentionTiles{rows: 1, warps: 4, columns: 16}, 1
	case d < 256:
		return attentionTiles{rows: 1, warps: 4, columns: 16}, 2
	}
	return attentionTiles{rows: 1, warps: 3, columns: 16}, 2
}

// gradQueriesTiles are those of GradQueries in attention_grad.cu.
func gradQueriesTiles(d int) attentionTiles {
	switch {
	case d <= 64:
		return attentionTiles{rows: 2, warps: 4, columns: 64}
	case d <= 96:
		return attentionTiles{rows: 2, warps: 4, columns: 32}
	case d <= 128:
		return attentionTiles{rows: 1, warps: 4, columns: 32}
	}
	return attentionTiles{rows: 1, warps: 4, columns: 16}
}

// splits returns among how many blocks the queries are divided for dk and dv. Few keys are few
// blocks: with the 77 keys of a prompt one for each head of a sample. Then each of more blocks has
// some of the queries, and their results are added. There are about twice as many blocks as the
// largest devices run at once, which are two on each of 132 multiprocessors. Each has 256 queries
// at least.
func (s AttentionShape) splits() int {
	const blocks, queries = 4 * 132, 256
	t, parts := gradKeysTiles(s.D)
	have := s.blocks(s.Lk, t.block())[0] * parts
	return max(1, min(blocks/max(1, have), s.Lq/queries))
}

// parts returns how many values of workspace the results of all splits have.
func (s AttentionShape) parts() int {
	if s.splits() == 1 {
		return 0
	}
	return 2 * s.splits() * s.keys()
}

// An attentionGradient is a gradient of attention of which shift and delta are known. shift is the
// logarithm of base 2 of Σ exp over the scores of a query, or ∞ if it sees no key. delta is
// Σ out·dout of a query. Both are [N,Heads,padded].
type attentionGradient struct {
	AttentionShape
	dq, dk, dv, q, k, v, mask, dout, shift, delta, parts Tensor
}

// gradient checks operands, and divides the workspace.
func (s AttentionShape) gradient(
	kernel string, dq, dk, dv, q, k, v, mask, dout, ws Tensor,
) attentionGradient {
	s.check(kernel, BFloat16, mask, []Tensor{dq, q, dout}, []Tensor{dk, dv, k, v})
	if n := AttentionGradWorkspace(s, BFloat16); ws.bytes() < n || ws.Address%16 != 0 {
		const wrong = "cuda: %s: a workspace of %d bytes at %x is not one of %d at a multiple of 16"
		panic(fmt.Sprintf(wrong, kernel, ws.bytes(), ws.Address, n))
	}
	all := Tensor{Address: ws.Address, Type: Float32, Len: ws.bytes() / Float32.Size()}
	g := attentionGradient{
		AttentionShape: s, dq: dq, dk: dk, dv: dv, q: q, k: k, v: v, mask: mask, dout: dout,
		shift: all.First(s.stats()), delta: all.From(s.stats()).First(s.stats()),
	}
	if n := s.parts(); n > 0 {
		g.parts = all.From(2 * s.stats()).First(n)
	}
	return g
}

// queue appends what computes the gradient.
func (g attentionGradient) queue(q *Queue) {
	if g.N == 0 {
		return
	}
	results := []Tensor{g.dk, g.dv}
	if g.parts.Len > 0 {
		results = []Tensor{g.parts}
	}
	keys, parts := gradKeysTiles(g.D)
	grid := g.blocks(g.Lk, keys.block())
	grid[0] *= parts * g.splits()
	g.add(q, "keys", grid, keys, 4*4*keys.columns, results)
	if g.parts.Len > 0 {
		const threads = 128 // kSumThreads of attention_grad.cu
		q.add("attention_grad_sum_bf16", [3]int{ceilDiv(g.keys(), 8*threads), 1, 1}, threads, 0,
			[]Tensor{g.dk, g.dv}, []Tensor{g.parts},
			g.dk, g.dv, g.parts, uint64(g.keys()), g.splits(), aligned(g.dk, g.dv))
	}
	queries := gradQueriesTiles(g.D)
	g.add(q, "queries", g.blocks(g.Lq, queries.block()), queries, 0, []Tensor{g.dq})
}

// add appends a kernel with tiles of two operands each for rows and columns. The latter are twice
// in shared memory. beside is how many more bytes of it the kernel needs.
func (g attentionGradient) add(
	q *Queue, of string, grid [3]int, t attentionTiles, beside int, results []Tensor,
) {
	shared := 2*(2*t.block()+4*t.columns)*attentionStride(attentionSteps(g.D)) + beside
	q.add(fmt.Sprintf("attention_grad_%s_%d_bf16", of, g.D), grid, 32*t.warps, shared,
		results, []Tensor{g.q, g.k, g.v, g.dout, g.shift, g.delta, g.mask},
		g.dq, g.dk, g.dv, g.parts, g.q, g.k, g.v, g.dout, g.shift, g.delta, g.mask,
		g.N, g.Lq, g.Lk, g.Heads, g.padded(), g.splits(), g.Causal,
		aligned(g.dq, g.dk, g.dv, g.q, g.k, g.v, g.dout), g.scale(), 1/math.Sqrt(float64(g.D)))
}
