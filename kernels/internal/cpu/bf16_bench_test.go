package cpu

import (
	"fmt"
	"testing"
)

func wiggleBF16(n int, seed float64) []uint16 {
	h := make([]uint16, n)
	toBF16Generic(h, wiggle(n, seed))
	return h
}

// BenchmarkGemmBF16 and BenchmarkConvBF16 are BenchmarkGemm and BenchmarkConv for bfloat16 values.
// The peak is twice that of BenchmarkPeak where the processor has VDPBF16PS.
func BenchmarkGemmBF16(b *testing.B) {
	for _, s := range []struct {
		op      string
		m, n, k int
	}{
		{"NT", 8192, 320, 320}, {"NN", 8192, 320, 320}, {"TN", 320, 320, 8192},
		{"NN", 8192, 320, 2560}, {"NT", 2048, 640, 640}, {"NT", 2048, 5120, 640},
		{"TN", 5120, 640, 2048}, {"NT", 512, 1280, 5120}, {"TN", 1280, 1280, 512},
		{"NT", 154, 1280, 768}, {"NT", 4096, 64, 64},
	} {
		b.Run(fmt.Sprintf("%s/%dx%dx%d", s.op, s.m, s.n, s.k), func(b *testing.B) {
			p := ProductBF16{M: s.m, N: s.n, K: s.k,
				A:     MatrixBF16{Data: wiggleBF16(s.m*s.k, 1), Stride: s.k},
				B:     MatrixBF16{Data: wiggleBF16(s.k*s.n, 2), Stride: s.n},
				CBF16: make([]uint16, s.m*s.n)}
			if s.op[0] == 'T' {
				p.A.Stride, p.A.Transposed = s.m, true
				p.Whole, p.C, p.CBF16 = true, make([]float32, s.m*s.n), nil
			}
			if s.op[1] == 'T' {
				p.B.Stride, p.B.Transposed = s.k, true
			}
			ws := make([]float32, p.Workspace(Shared))
			operations := 2 * float64(s.m) * float64(s.n) * float64(s.k)
			perSecond(b, operations, func() { GemmBF16(Shared, &p, ws) })
		})
	}
}

func BenchmarkConvBF16(b *testing.B) {
	for _, s := range []struct{ n, in, out, side, kernel int }{
		{2, 320, 320, 64, 3}, {2, 640, 640, 32, 3}, {2, 1280, 1280, 16, 3}, {2, 1280, 1280, 8, 3},
		{2, 2560, 1280, 16, 3}, {2, 640, 320, 64, 1}, {64, 64, 64, 8, 3},
	} {
		pad := s.kernel / 2
		c := Conv{N: s.n, H: s.side, W: s.side, In: s.in, Out: s.out, KH: s.kernel, KW: s.kernel,
			Stride: 1, Top: pad, Bottom: pad, Left: pad, Right: pad}
		positions, taps := s.n*s.side*s.side, s.kernel*s.kernel*s.in
		x, w := wiggleBF16(positions*s.in, 1), wiggleBF16(s.out*taps, 2)
		y, dw := wiggleBF16(positions*s.out, 3), make([]float32, s.out*taps)
		ws := make([]float32, max(c.ForwardBF16Workspace(Shared), c.InputGradBF16Workspace(Shared),
			c.WeightGradBF16Workspace(Shared)))
		name := fmt.Sprintf("%dx%dx%dx%dto%d/kernel%d", s.n, s.side, s.side, s.in, s.out, s.kernel)
		for _, pass := range []struct {
			name string
			run  func()
		}{
			{"forward", func() { c.ForwardBF16(Shared, y, x, w, nil, ws) }},
			{"input", func() { c.InputGradBF16(Shared, x, y, w, ws) }},
			{"weight", func() { c.WeightGradBF16(Shared, dw, y, x, ws) }},
		} {
			b.Run(name+"/"+pass.name, func(b *testing.B) {
				perSecond(b, 2*float64(positions)*float64(s.out)*float64(taps), pass.run)
			})
		}
	}
}

func BenchmarkConversion(b *testing.B) {
	x := wiggle(1<<24, 1)
	h := make([]uint16, len(x))
	for _, c := range []struct {
		name string
		run  func()
	}{
		{"to", func() { ToBF16s(Shared, h, x) }}, {"from", func() { FromBF16s(Shared, x, h) }},
	} {
		b.Run(c.name, func(b *testing.B) { perSecond(b, 6*float64(len(x)), c.run) })
	}
}

// BenchmarkAttentionBF16 is BenchmarkAttention for bfloat16 values.
func BenchmarkAttentionBF16(b *testing.B) {
	for _, s := range attentionBenches {
		queries, keys := s.N*s.Lq*s.Heads*s.D, s.N*s.Lk*s.Heads*s.D
		q, k := wiggleBF16(queries, 1), wiggleBF16(keys, 2)
		v, dout := wiggleBF16(keys, 3), wiggleBF16(queries, 4)
		out, dq := make([]uint16, queries), make([]uint16, queries)
		dk, dv := make([]uint16, keys), make([]uint16, keys)
		ws := make([]float32, s.WorkspaceBF16(Shared))
		product := 2 * float64(queries) * float64(s.Lk)
		name := fmt.Sprintf("%dx%dx%d/heads%dx%d", s.N, s.Lq, s.Lk, s.Heads, s.D)
		b.Run(name+"/forward", func(b *testing.B) {
			perSecond(b, 2*product, func() { AttentionBF16(Shared, s, out, q, k, v, nil, ws) })
		})
		b.Run(name+"/backward", func(b *testing.B) {
			perSecond(b, 5*product, func() {
				AttentionGradBF16(Shared, s, dq, dk, dv, q, k, v, nil, dout, ws)
			})
		})
	}
}
