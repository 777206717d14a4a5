package cpu

import (
	"fmt"
	"testing"
)

// Benchmarks of what networks spend their time in, for benchstat:
//
//	go test -run '^$' -bench . -count 10 ./kernels/internal/cpu
//
// Shapes are those of Stable Diffusion 1.5 for one picture of 512×512 and, at the end of each
// list, of examples/tiny for 64. Rates are in GFLOP/s; BenchmarkPeak is what the processor does
// at most.

// perSecond runs f and reports its rate, for so many operations in a run.
func perSecond(b *testing.B, operations float64, f func()) {
	f() // the first touch of memory
	for b.Loop() {
		f()
	}
	b.ReportMetric(operations*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
}

func BenchmarkPeak(b *testing.B) {
	if multiplyAddLanes == 0 {
		b.Skip("there is no assembly")
	}
	n := Shared.Workers()
	operations := n * probeCalls * probeRounds * accumulators * 2 * multiplyAddLanes
	task := arithmeticProbe{multiplyAdds}
	perSecond(b, float64(operations), func() { Shared.Parallel(n, task) })
}

// BenchmarkGemm is C = A·B, [M,K]·[K,N], where T marks a factor that is stored transposed: a
// layer is NT, the gradient of its input NN, that of its weights TN.
func BenchmarkGemm(b *testing.B) {
	for _, s := range []struct {
		op      string
		m, n, k int
	}{
		{"NT", 4096, 320, 320}, {"TN", 320, 320, 4096}, {"NN", 1024, 5120, 640},
		{"NT", 1024, 640, 2560}, {"NT", 77, 1280, 768}, {"NN", 4096, 40, 4096},
		{"NT", 4096, 64, 64}, {"NT", 1024, 1024, 128},
	} {
		b.Run(fmt.Sprintf("%s/%dx%dx%d", s.op, s.m, s.n, s.k), func(b *testing.B) {
			p := Product{M: s.m, N: s.n, K: s.k,
				A: Matrix{Data: wiggle(s.m*s.k, 1), Stride: s.k},
				B: Matrix{Data: wiggle(s.k*s.n, 2), Stride: s.n},
				C: Matrix{Data: make([]float32, s.m*s.n), Stride: s.n}}
			if s.op[0] == 'T' {
				p.A.Stride, p.A.Transposed = s.m, true
			}
			if s.op[1] == 'T' {
				p.B.Stride, p.B.Transposed = s.k, true
			}
			ws := make([]float32, p.Workspace(Shared))
			perSecond(b, 2*float64(s.m)*float64(s.n)*float64(s.k), func() { Gemm(Shared, &p, ws) })
		})
	}
}

// BenchmarkConv makes the three passes of a convolution that keeps the size of its pictures.
func BenchmarkConv(b *testing.B) {
	for _, s := range []struct{ n, in, out, side, kernel int }{
		{1, 320, 320, 64, 3}, {1, 1280, 1280, 16, 3}, {1, 640, 320, 64, 1},
		{1, 4, 320, 64, 3}, {1, 320, 4, 64, 3}, {1, 960, 320, 64, 3}, {1, 640, 640, 32, 3},
		{1, 1280, 1280, 8, 3}, {64, 4, 32, 16, 3}, {64, 32, 32, 16, 3}, {64, 96, 32, 16, 3},
		{64, 32, 4, 16, 3}, {64, 64, 64, 8, 3}, {64, 128, 128, 4, 3}, {64, 256, 128, 4, 3},
	} {
		pad := s.kernel / 2
		c := Conv{N: s.n, H: s.side, W: s.side, In: s.in, Out: s.out, KH: s.kernel, KW: s.kernel,
			Stride: 1, Top: pad, Bottom: pad, Left: pad, Right: pad}
		positions, taps := s.n*s.side*s.side, s.kernel*s.kernel*s.in
		x, w, y := wiggle(positions*s.in, 1), wiggle(s.out*taps, 2), wiggle(positions*s.out, 3)
		ws := make([]float32, c.largestWorkspace())
		name := fmt.Sprintf("%dx%dx%dx%dto%d/kernel%d", s.n, s.side, s.side, s.in, s.out, s.kernel)
		for _, pass := range []struct {
			name string
			run  func()
		}{
			{"forward", func() { c.Forward(Shared, y, x, w, nil, ws) }},
			{"input", func() { c.InputGrad(Shared, x, y, w, ws) }},
			{"weight", func() { c.WeightGrad(Shared, w, y, x, ws) }},
		} {
			b.Run(name+"/"+pass.name, func(b *testing.B) {
				perSecond(b, 2*float64(positions)*float64(s.out)*float64(taps), pass.run)
			})
		}
	}
}

var attentionBenches = []AttentionShape{
	{N: 1, Lq: 4096, Lk: 4096, Heads: 1, D: 40}, {N: 1, Lq: 4096, Lk: 77, Heads: 8, D: 40},
	{N: 1, Lq: 1024, Lk: 1024, Heads: 8, D: 80}, {N: 1, Lq: 1024, Lk: 77, Heads: 8, D: 80},
	{N: 1, Lq: 256, Lk: 256, Heads: 8, D: 160}, {N: 1, Lq: 256, Lk: 77, Heads: 8, D: 160},
	{N: 1, Lq: 1024, Lk: 1024, Heads: 8, D: 64}, {N: 1, Lq: 1024, Lk: 1024, Heads: 1, D: 512},
	{N: 64, Lq: 64, Lk: 64, Heads: 4, D: 16}, {N: 64, Lq: 64, Lk: 16, Heads: 4, D: 16},
	{N: 64, Lq: 16, Lk: 16, Heads: 4, D: 32},
}

// BenchmarkAttention counts products alone: two forward, and five backward, where scores are made
// again.
func BenchmarkAttention(b *testing.B) {
	for _, s := range attentionBenches {
		queries, keys := s.N*s.Lq*s.Heads*s.D, s.N*s.Lk*s.Heads*s.D
		q, k, v, dout := wiggle(queries, 1), wiggle(keys, 2), wiggle(keys, 3), wiggle(queries, 4)
		out, dq := make([]float32, queries), make([]float32, queries)
		dk, dv := make([]float32, keys), make([]float32, keys)
		ws := make([]float32, s.Workspace(Shared))
		product := 2 * float64(queries) * float64(s.Lk)
		name := fmt.Sprintf("%dx%dx%d/heads%dx%d", s.N, s.Lq, s.Lk, s.Heads, s.D)
		b.Run(name+"/forward", func(b *testing.B) {
			perSecond(b, 2*product, func() { Attention(Shared, s, out, q, k, v, nil, ws) })
		})
		b.Run(name+"/backward", func(b *testing.B) {
			perSecond(b, 5*product, func() {
				AttentionGrad(Shared, s, dq, dk, dv, q, k, v, nil, dout, ws)
			})
		})
	}
}

// BenchmarkNorm is group norm with SiLU. Its rate counts every value that is read or written once.
func BenchmarkNorm(b *testing.B) {
	for _, s := range []NormShape{
		{N: 1, P: 4096, C: 320, Groups: 32, Eps: 1e-5, SiLU: true},
		{N: 64, P: 64, C: 64, Groups: 8, Eps: 1e-5, SiLU: true},
	} {
		n := s.N * s.P * s.C
		x, dy, y := wiggle(n, 1), wiggle(n, 2), make([]float32, n)
		scale, shift := wiggle(s.C, 3), wiggle(s.C, 4)
		dscale, dshift := make([]float32, s.C), make([]float32, s.C)
		ws := make([]float32, s.Workspace())
		for _, pass := range []struct {
			name  string
			reads int
			run   func()
		}{
			{"forward", 2, func() { Norm(Shared, s, y, x, scale, shift, ws) }},
			{"input", 3, func() { NormInputGrad(Shared, s, y, x, scale, shift, dy, ws) }},
			{"parameters", 2, func() {
				NormParamGrad(Shared, s, dscale, dshift, x, scale, shift, dy, ws)
			}},
		} {
			b.Run(fmt.Sprintf("%dx%dx%d/%s", s.N, s.P, s.C, pass.name), func(b *testing.B) {
				b.SetBytes(int64(4 * n * pass.reads))
				for b.Loop() {
					pass.run()
				}
			})
		}
	}
}

// BenchmarkWinograd is BenchmarkConv by Winograd's algorithm, for the shapes of Stable Diffusion
// 1.5. The rate counts the multiply-adds of the convolution itself.
func BenchmarkWinograd(b *testing.B) {
	for _, s := range []struct{ n, in, out, side int }{
		{1, 320, 320, 64}, {2, 320, 320, 64}, {1, 960, 320, 64}, {1, 640, 640, 32},
		{2, 640, 640, 32}, {1, 1280, 1280, 16}, {2, 1280, 1280, 16}, {1, 1280, 1280, 8},
	} {
		c := Conv{N: s.n, H: s.side, W: s.side, In: s.in, Out: s.out, KH: 3, KW: 3, Stride: 1,
			Top: 1, Bottom: 1, Left: 1, Right: 1}
		positions := s.n * s.side * s.side
		x, y := wiggle(positions*s.in, 1), wiggle(positions*s.out, 3)
		w := wiggle(s.out*9*s.in, 2)
		ws := make([]float32, max(c.WinogradForwardWorkspace(Shared),
			c.WinogradInputGradWorkspace(Shared), c.WinogradWeightGradWorkspace(Shared)))
		name := fmt.Sprintf("%dx%dx%dx%dto%d", s.n, s.side, s.side, s.in, s.out)
		for _, pass := range []struct {
			name string
			run  func()
		}{
			{"forward", func() { c.WinogradForward(Shared, y, x, w, nil, ws) }},
			{"input", func() { c.WinogradInputGrad(Shared, x, y, w, ws) }},
			{"weight", func() { c.WinogradWeightGrad(Shared, w, y, x, ws) }},
		} {
			b.Run(name+"/"+pass.name, func(b *testing.B) {
				perSecond(b, 18*float64(positions)*float64(s.out)*float64(s.in), pass.run)
			})
		}
	}
}
