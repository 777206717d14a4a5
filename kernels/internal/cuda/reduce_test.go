package cuda_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

var bothTypes = []cuda.Type{cuda.Float32, cuda.BFloat16}

// workspace is an operand of so many bytes, and of one value at least.
func workspace(bytes int) cudatest.Operand { return cudatest.Out(cuda.Float32, max(1, bytes/4)) }

// roundedOnce fails the test unless each value is the exact one, rounded to type typ once. sums are
// what was added up for it, in absolute values: the terms of a sum in double have errors too.
func roundedOnce(t *testing.T, typ cuda.Type, got []float32, want, sums []float64) {
	t.Helper()
	bits := map[cuda.Type]int{cuda.Float32: -24, cuda.BFloat16: -8}[typ]
	if len(got) != len(want) {
		t.Fatalf("%d values, not %d", len(got), len(want))
	}
	for i, w := range want {
		tolerance := math.Ldexp(math.Abs(w), bits) + 1e-14*sums[i]
		if !(math.Abs(float64(got[i])-w) <= tolerance*1.001) {
			t.Fatalf("value %d is %v, not %v ± %v", i, got[i], w, tolerance)
		}
	}
}

// rounded returns x rounded to a type.
func rounded(typ cuda.Type, x []float32) []float32 {
	x = slices.Clone(x)
	for i := range x {
		x[i] = cudatest.Round(typ, x[i])
	}
	return x
}

func TestSum(t *testing.T) {
	for _, typ := range bothTypes {
		for _, s := range []struct{ n, offset int }{
			{1, 0}, {7, 1}, {4096, 0}, {9003, 0}, {5000, 1},
		} {
			t.Run(fmt.Sprint(typ, s), func(t *testing.T) {
				x := rounded(typ, normal(s.n))
				in := cudatest.In(typ, x)
				in.Offset = s.offset
				queue := func(q *cuda.Queue, at []cuda.Tensor) { cuda.Sum(q, at[0], at[1], at[2]) }
				got := cudatest.Check(t, queue, cudatest.Out(cuda.Float32, 1), in,
					workspace(cuda.SumWorkspace(s.n)))[0]
				want, size := 0.0, 0.0
				for _, v := range x {
					want += float64(v)
					size += math.Abs(float64(v))
				}
				roundedOnce(t, cuda.Float32, got, []float64{want}, []float64{size})
			})
		}
	}
}

// TestSumOfManyValues has more values than threads with four vectors each.
func TestSumOfManyValues(t *testing.T) {
	const n = 4<<20 + 5003
	x, want := make([]float32, n), 0.0
	for i := range x {
		x[i] = 1 / float32(i+1)
		want += float64(x[i])
	}
	queue := func(q *cuda.Queue, at []cuda.Tensor) { cuda.Sum(q, at[0], at[1], at[2]) }
	got := cudatest.CheckPlain(t, queue, cudatest.Out(cuda.Float32, 1),
		cudatest.In(cuda.Float32, x), workspace(cuda.SumWorkspace(n)))[0]
	roundedOnce(t, cuda.Float32, got, []float64{want}, []float64{want})
}

// TestSumIsOfNaNs has one value that is not a number, in each place in turn.
func TestSumIsOfNaNs(t *testing.T) {
	const n = 13
	for i := range n {
		x := make([]float32, n)
		x[i] = float32(math.NaN())
		queue := func(q *cuda.Queue, at []cuda.Tensor) { cuda.Sum(q, at[0], at[1], at[2]) }
		got := cudatest.CheckPlain(t, queue, cudatest.Out(cuda.Float32, 1),
			cudatest.In(cuda.Float32, x), workspace(cuda.SumWorkspace(n)))[0]
		if got[0] == got[0] {
			t.Fatalf("the sum with value %d of NaN is %v", i, got[0])
		}
	}
}

// middleSums is SumMiddle in float64. sums are those of absolute values.
func middleSums(x []float32, a, b, c int, scale float64) (want, sums []float64) {
	want, sums = make([]float64, a*c), make([]float64, a*c)
	for i := range a {
		for j := range b {
			for k := range c {
				v := scale * float64(x[(i*b+j)*c+k])
				want[i*c+k] += v
				sums[i*c+k] += math.Abs(v)
			}
		}
	}
	return want, sums
}

// A checker is cudatest.Check or cudatest.CheckPlain.
type checker func(testing.TB, func(*cuda.Queue, []cuda.Tensor), ...cudatest.Operand) [][]float32

type middleShape struct{ a, b, c, offset int }

func testMiddle(t *testing.T, check checker, shapes []middleShape) {
	for _, typ := range bothTypes {
		for _, s := range shapes {
			t.Run(fmt.Sprint(typ, s), func(t *testing.T) {
				x := rounded(typ, normal(s.a*s.b*s.c))
				in := cudatest.In(typ, x)
				in.Offset = s.offset
				scale := 1 / float64(s.b)
				ws := cuda.SumMiddleWorkspace(typ, s.a, s.b, s.c)
				got := check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.SumMiddle(q, at[0], at[1], s.a, s.b, s.c, scale, at[2])
				}, cudatest.Out(cuda.Float32, s.a*s.c), in, workspace(ws))[0]
				want, sums := middleSums(x, s.a, s.b, s.c, scale)
				roundedOnce(t, cuda.Float32, got, want, sums)
			})
		}
	}
}

func TestSumMiddle(t *testing.T) {
	testMiddle(t, cudatest.Check, []middleShape{
		{1, 1, 1, 0}, {3, 5, 7, 0}, {2, 9, 16, 0}, {2, 9, 16, 1}, {1, 3, 72, 0}, {5, 130, 1, 0},
		{1, 77, 96, 0}, {1, 600, 8, 0}, {1, 531, 17, 0},
	})
}

func TestSumMiddleOfManyRows(t *testing.T) {
	testMiddle(t, cudatest.CheckPlain, []middleShape{
		{2, 6001, 40, 0}, {1, 5003, 33, 0}, {3, 9000, 1, 0}, {1, 700, 2500, 0}, {600, 3, 8, 0},
		{1, 1031, 320, 1},
	})
}

func TestColumnSums(t *testing.T) {
	const rows, columns = 77, 24
	x := rounded(cuda.BFloat16, normal(rows*columns))
	got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.ColumnSums(q, at[0], at[1], rows, columns, at[2])
	}, cudatest.Out(cuda.Float32, columns), cudatest.In(cuda.BFloat16, x),
		workspace(cuda.SumMiddleWorkspace(cuda.BFloat16, 1, rows, columns)))[0]
	want, sums := middleSums(x, 1, rows, columns, 1)
	roundedOnce(t, cuda.Float32, got, want, sums)
}

func TestL2Normalize(t *testing.T) {
	for _, s := range []struct{ rows, width, offset int }{
		{1, 1, 0}, {3, 31, 0}, {2, 256, 1}, {2, 700, 0},
	} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			n := s.rows * s.width
			x, dy := normal(2 * n)[:n], normal(2 * n)[n:]
			clear(x[n-s.width:]) // a row of zeros
			if s.rows == 1 {
				x[0] = -2.5
			}
			in := cudatest.In(cuda.Float32, x)
			in.Offset = s.offset
			got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				cuda.L2Normalize(q, at[0], at[2], s.width)
				cuda.L2NormalizeGrad(q, at[1], at[2], at[3], s.width)
			}, cudatest.Out(cuda.Float32, n), cudatest.Out(cuda.Float32, n), in,
				cudatest.In(cuda.Float32, dy))
			y, dx, sums := make([]float64, n), make([]float64, n), make([]float64, n)
			for i := 0; i < n; i += s.width {
				square, dot := 0.0, 0.0
				for _, v := range x[i : i+s.width] {
					square += float64(v) * float64(v)
				}
				norm := math.Sqrt(square)
				if square == 0 {
					norm = 1
				}
				for j := i; j < i+s.width; j++ {
					y[j] = float64(x[j]) / norm
					dot += y[j] * float64(dy[j])
				}
				for j := i; j < i+s.width; j++ {
					dx[j] = (float64(dy[j]) - y[j]*dot) / norm
					sums[j] = (math.Abs(float64(dy[j])) + math.Abs(y[j]*dot)) * 10 / norm
				}
			}
			roundedOnce(t, cuda.Float32, got[0], y, make([]float64, n))
			roundedOnce(t, cuda.Float32, got[1], dx, sums)
		})
	}
}
