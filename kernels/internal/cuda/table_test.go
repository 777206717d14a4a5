package cuda_test

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

var nan = float32(math.NaN())

// same fails the test unless got and want have the same values. All NaNs are the same.
func same(t *testing.T, got, want []float32) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%d values, not %d", len(got), len(want))
	}
	for i, w := range want {
		if !(got[i] == w || got[i] != got[i] && w != w) {
			t.Fatalf("value %d is %v, not %v", i, got[i], w)
		}
	}
}

// indices returns n numbers in 0 to rows−1, many of which are the same, among them the last.
func indices(n, rows int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32((i*i*5 + rows - 1) % rows)
		if i%3 == 2 {
			x[i] = float32(rows / 2)
		}
	}
	return x
}

// named calls f with the row i of index and the row of a table that index[i] names.
func named(index []float32, step int, f func(i, row int)) {
	for i, k := range index {
		f(i, i*step+int(k))
	}
}

func TestGatherRows(t *testing.T) {
	for _, types := range [][2]cuda.Type{
		{cuda.Float32, cuda.Float32}, {cuda.Float32, cuda.BFloat16}, {cuda.BFloat16, cuda.BFloat16},
	} {
		for _, s := range []struct{ n, rows, columns, step, offset int }{
			{1, 1, 1, 0, 0}, {7, 5, 72, 0, 0}, {7, 5, 72, 0, 1}, {4, 3, 13, 0, 0},
			{3, 12, 16, 4, 0}, {2, 10, 9, 5, 0}, {2, 3, 1100, 0, 0},
		} {
			t.Run(fmt.Sprint(types, s), func(t *testing.T) {
				src := rounded(types[0], normal(s.rows*s.columns))
				index := indices(s.n, cmp.Or(s.step, s.rows))
				in := cudatest.In(types[0], src)
				in.Offset = s.offset
				got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.GatherRows(q, at[0], at[1], at[2], s.columns, s.step)
				}, cudatest.Out(types[1], s.n*s.columns), in, cudatest.In(cuda.Float32, index))[0]
				want := make([]float32, s.n*s.columns)
				named(index, s.step, func(i, row int) {
					copy(want[i*s.columns:][:s.columns], src[row*s.columns:])
				})
				same(t, got, rounded(types[1], want))
			})
		}
	}
}

func testScatter(t *testing.T, check checker, n, rows, columns, step, offset int) {
	for _, typ := range types {
		t.Run(fmt.Sprint(typ, n, rows, columns, step, offset), func(t *testing.T) {
			dy := rounded(typ, normal(n*columns))
			to := cuda.Float32
			if step > 0 {
				to = typ
			}
			index := indices(n, cmp.Or(step, rows))
			for row := range cmp.Or(step, rows) {
				if !slices.Contains(index, float32(row)) {
					index[n-1] = float32(row) // nothing before it names this row
				}
			}
			in := cudatest.In(typ, dy)
			in.Offset = offset
			got := check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				cuda.ScatterRows(q, at[0], at[1], at[2], columns, step)
			}, cudatest.Out(to, rows*columns), in, cudatest.In(cuda.Float32, index))[0]
			want := make([]float32, rows*columns)
			named(index, step, func(i, row int) {
				for j, d := range dy[i*columns:][:columns] {
					want[row*columns+j] += d
				}
			})
			same(t, got, want)
		})
	}
}

func TestScatterRows(t *testing.T) {
	for _, s := range []struct{ n, rows, columns, step, offset int }{
		{1, 1, 1, 0, 0}, {6, 5, 24, 0, 0}, {4, 3, 24, 0, 1}, {3, 40, 7, 0, 0},
		{3, 12, 16, 4, 0}, {2, 10, 9, 5, 0}, {2, 4, 1100, 2, 0},
	} {
		testScatter(t, cudatest.Check, s.n, s.rows, s.columns, s.step, s.offset)
	}
}

// TestScatterManyRows has more indices than the kernel looks through at once, and rows that are cut
// into pieces.
func TestScatterManyRows(t *testing.T) {
	testScatter(t, cudatest.CheckPlain, 1100, 61, 8, 0, 0)
	testScatter(t, cudatest.CheckPlain, 33, 3, 2304, 0, 0)
	testScatter(t, cudatest.CheckPlain, 5, 3, 261, 0, 0)
}

// TestWrongIndices has indices of no row. The others count.
func TestWrongIndices(t *testing.T) {
	const rows, columns, n = 3, 8, 9
	inf := float32(math.Inf(1))
	index := []float32{3, 1, -1, 1.5, nan, 1e30, inf, -inf, 2}
	known := func(i int) bool { return i == 1 || i == 8 }
	x := normal(2 * n * columns)
	table, dy := x[:rows*columns], x[n*columns:]
	got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.GatherRows(q, at[0], at[1], at[2], columns, 0)
		cuda.ScatterRows(q, at[3], at[4], at[2], columns, 0)
		cuda.GatherRows(q, at[5], at[6], at[2], columns, rows)
		cuda.ScatterRows(q, at[7], at[4], at[2], columns, rows)
	}, cudatest.Out(cuda.Float32, n*columns), cudatest.In(cuda.Float32, table),
		cudatest.In(cuda.Float32, index), cudatest.Out(cuda.Float32, rows*columns),
		cudatest.In(cuda.Float32, dy), cudatest.Out(cuda.Float32, n*columns),
		cudatest.In(cuda.Float32, normal(n*rows*columns)),
		cudatest.Out(cuda.Float32, n*rows*columns))
	want, sum := slices.Repeat([]float32{nan}, n*columns), make([]float32, rows*columns)
	own, spread := slices.Clone(want), make([]float32, n*rows*columns)
	for i, k := range index {
		if known(i) {
			at := i*rows + int(k)
			copy(want[i*columns:][:columns], table[int(k)*columns:])
			copy(sum[int(k)*columns:][:columns], dy[i*columns:])
			copy(own[i*columns:][:columns], got[6][at*columns:])
			copy(spread[at*columns:][:columns], dy[i*columns:])
		}
	}
	same(t, got[0], want)
	same(t, got[3], sum)
	same(t, got[5], own)
	same(t, got[7], spread)
}

func TestTimestepEmbedding(t *testing.T) {
	steps := []float32{0, 1, 999, 3.25, -17, 1024, 1 << 23, 500.5}
	for _, s := range []struct {
		dim   int
		shift float64
		flip  bool
	}{{2, 0, false}, {64, 1, true}, {9, 0, false}} {
		t.Run(fmt.Sprint(s), func(t *testing.T) {
			got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				cuda.TimestepEmbedding(q, at[0], at[1], s.dim, s.shift, s.flip)
			}, cudatest.Out(cuda.Float32, len(steps)*s.dim), cudatest.In(cuda.Float32, steps))[0]
			half, zero := s.dim/2, s.dim/2*2
			for n, x := range steps {
				row := got[n*s.dim:][:s.dim]
				if s.dim > zero && !(row[zero] == 0) {
					t.Errorf("timestep %v ends with %v, not 0", x, row[zero])
				}
				for j := range half {
					f := math.Exp(-math.Log(10000) * float64(j) / (float64(half) - s.shift))
					sine, cosine := math.Sincos(float64(x) * f)
					first, second := sine, cosine
					if s.flip {
						first, second = cosine, sine
					}
					// The angle is wrong by at most 1e-15 of it, and so is its frequency.
					noise := math.Abs(float64(x)) / 5
					want, sums := []float64{first, second}, []float64{noise, noise}
					roundedOnce(t, cuda.Float32, []float32{row[j], row[half+j]}, want, sums)
				}
			}
		})
	}
}
