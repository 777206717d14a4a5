package cuda_test

import (
	"fmt"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

func TestMiddle(t *testing.T) {
	const scale = 0.3
	for _, typ := range types {
		for _, s := range []struct{ a, b, c, offset int }{
			{1, 1, 1, 0}, {2, 3, 64, 0}, {1, 5, 72, 0}, {3, 70, 8, 0}, {3, 7, 5, 0}, {2, 1, 24, 0},
			{5, 4, 1, 0}, {2, 3, 64, 1}, {4, 3, 12, 0}, {1, 700, 4, 0}, {40, 1, 16, 0},
		} {
			t.Run(fmt.Sprint(typ, s), func(t *testing.T) {
				n := s.a * s.b * s.c
				xs := normals(n, s.a*s.c)
				x, y := rounded(typ, xs[0]), rounded(typ, xs[1])
				sum, repeated := make([]float32, n), make([]float32, n)
				for i := range n {
					v := y[i/(s.b*s.c)*s.c+i%s.c]
					sum[i] = cudatest.Round(typ, x[i]+v)
					repeated[i] = cudatest.Round(typ, scale*v)
				}
				in := cudatest.In(typ, y)
				in.Offset = s.offset
				same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.AddMiddle(q, at[0], at[1], at[2], s.a, s.b, s.c)
				}, cudatest.Out(typ, n), cudatest.In(typ, x), in)[0], sum)
				same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.AddMiddle(q, at[0], at[0], at[1], s.a, s.b, s.c)
				}, cudatest.In(typ, x), in)[0], sum)
				same(t, cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.RepeatMiddle(q, at[0], at[1], s.a, s.b, s.c, scale)
				}, cudatest.Out(typ, n), in)[0], repeated)
			})
		}
	}
}

func TestCopyRows(t *testing.T) {
	for _, typ := range types {
		for _, s := range []struct {
			rows, dstStride, srcStride, n int
			to, from                      int    // where rows of dst and of src begin
			units                         [2]int // the bytes that are moved at once, by type
		}{
			{1, 1, 1, 1, 0, 0, [2]int{4, 2}},
			{1, 5, 9, 2048, 8, 0, [2]int{16, 16}},
			{9, 40, 24, 16, 16, 0, [2]int{16, 16}},
			{9, 40, 16, 16, 16, 0, [2]int{16, 16}},
			{9, 8, 8, 8, 0, 0, [2]int{16, 16}}, // contiguous
			{3, 7, 7, 7, 0, 0, [2]int{4, 2}},   // contiguous, and odd
			{4, 7, 7, 7, 0, 0, [2]int{16, 8}},  // contiguous, and even
			{9, 40, 24, 14, 2, 0, [2]int{8, 4}},
			{9, 42, 24, 16, 4, 0, [2]int{8, 4}},
			{9, 24, 38, 16, 4, 0, [2]int{8, 4}},
			{9, 40, 24, 13, 0, 0, [2]int{4, 2}},
			{700, 5, 3, 3, 2, 0, [2]int{4, 2}},
			{700, 2, 3, 1, 0, 0, [2]int{4, 2}},
			{2, 1104, 1101, 1100, 1, 0, [2]int{4, 2}},
			{9, 16, 24, 16, 0, 8, [2]int{16, 16}}, // contiguous in dst alone
			{9, 24, 16, 16, 8, 0, [2]int{16, 16}}, // contiguous in src alone
			{9, 16, 24, 16, 0, 2, [2]int{8, 4}},
			{9, 16, 24, 16, 0, 3, [2]int{4, 2}},
		} {
			t.Run(fmt.Sprint(typ, s), func(t *testing.T) {
				x := rounded(typ, normal(s.from+(s.rows-1)*s.srcStride+s.n))
				n := s.to + (s.rows-1)*s.dstStride + s.n + 5
				want := rounded(typ, normal(n))
				was := cudatest.In(typ, append([]float32(nil), want...))
				for i := range s.rows {
					copy(want[s.to+i*s.dstStride:], x[s.from+i*s.srcStride:][:s.n])
				}
				got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					dst, src := at[0].From(s.to), at[1].From(s.from)
					cuda.CopyRows(q, dst, src, s.rows, s.dstStride, s.srcStride, s.n)
					want := fmt.Sprintf("copy_rows_%d", s.units[typ])
					if k := q.Launches[0].Kernel; k != want {
						t.Errorf("the kernel is %s, not %s", k, want)
					}
				}, was, cudatest.In(typ, x))[0]
				same(t, got, want)
			})
		}
	}
}

// A block of a UNet gets its channels side by side, and its gradient is cut again.
func TestCopyRowsOfChannels(t *testing.T) {
	const rows, c1, c2 = 300, 320, 640
	x := normals(rows*c1, rows*c2)
	for _, typ := range types {
		got := cudatest.CheckPlain(t, func(q *cuda.Queue, at []cuda.Tensor) {
			cuda.CopyRows(q, at[0], at[1], rows, c1+c2, c1, c1)
			cuda.CopyRows(q, at[0].From(c1), at[2], rows, c1+c2, c2, c2)
			cuda.CopyRows(q, at[3], at[0].From(c1), rows, c2, c1+c2, c2)
		}, cudatest.Out(typ, rows*(c1+c2)), cudatest.In(typ, x[0]), cudatest.In(typ, x[1]),
			cudatest.Out(typ, rows*c2))
		var want []float32
		for i := range rows {
			want = append(want, x[0][i*c1:][:c1]...)
			want = append(want, x[1][i*c2:][:c2]...)
		}
		same(t, got[0], rounded(typ, want))
		same(t, got[3], rounded(typ, x[1]))
	}
}
