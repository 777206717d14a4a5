package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachMicroKernel runs a test with every micro-kernel this machine has.
func eachMicroKernel(t *testing.T, f func(t *testing.T)) {
	was := micro
	defer func() { micro = was }()
	for _, u := range micros {
		micro = u
		t.Run(u.name, f)
	}
}

func normal(r *rand.Rand, n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.NormFloat64())
	}
	return x
}

// scratch is memory of n values full of NaN, so that what is read before it is written shows.
func scratch(n int) []float32 {
	ws := make([]float32, n)
	for i := range ws {
		ws[i] = float32(math.NaN())
	}
	return ws
}

// distance is the Euclidean distance of x from exact, NaN if anything is NaN.
func distance(x []float32, exact []float64) float64 {
	var s float64
	for i, v := range x {
		s += (float64(v) - exact[i]) * (float64(v) - exact[i])
	}
	return math.Sqrt(s)
}

// requireAsGood fails unless the error of got against float64 is at most twice that of the plain
// float32 definition. The latter counts as at least half a rounding of the exact result.
func requireAsGood(t *testing.T, got, plain []float32, exact []float64) {
	t.Helper()
	require.Len(t, got, len(exact))
	rounding := 0.0
	for _, v := range exact {
		rounding += v * v
	}
	bound := 2 * max(distance(plain, exact), math.Sqrt(rounding)*0x1p-25)
	d := distance(got, exact)
	require.True(t, d <= bound, "error %g, plain float32 has %g", d, distance(plain, exact))
}

func matrixFor(r *rand.Rand, rows, columns, gap int, transposed bool) Matrix {
	if transposed {
		rows, columns = columns, rows
	}
	data, stride := normal(r, rows*(columns+gap)), columns+gap
	return Matrix{Data: data, Stride: stride, Transposed: transposed}
}

func (p *Product) exact() []float64 {
	c := make([]float64, 0, p.M*p.N)
	for i := range p.M {
		for j := range p.N {
			var s float64
			if p.Accumulate {
				s = float64(p.C.at(i, j))
			}
			if p.Bias != nil {
				s += float64(p.Bias[j])
			}
			for k := range p.K {
				s += float64(p.A.at(i, k)) * float64(p.B.at(k, j))
			}
			c = append(c, s)
		}
	}
	return c
}

func (p *Product) result() []float32 {
	c := make([]float32, 0, p.M*p.N)
	for i := range p.M {
		c = append(c, p.C.Data[i*p.C.Stride:][:p.N]...)
	}
	return c
}

func TestGemmByHand(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		p := Product{
			M: 2, N: 3, K: 2,
			A:    Matrix{Data: []float32{1, 2, 3, 4}, Stride: 2},
			B:    Matrix{Data: []float32{5, 6, 7, 8, 9, 10}, Stride: 3},
			C:    Matrix{Data: make([]float32, 6), Stride: 3},
			Bias: []float32{100, 200, 300},
		}
		Gemm(Shared, &p, scratch(p.Workspace(Shared)))
		require.Equal(t, []float32{121, 224, 327, 147, 254, 361}, p.C.Data)
		p.A.Transposed, p.Bias, p.Accumulate = true, nil, true
		Gemm(Shared, &p, scratch(p.Workspace(Shared)))
		want := []float32{121 + 29, 224 + 33, 327 + 37, 147 + 42, 254 + 48, 361 + 54}
		require.Equal(t, want, p.C.Data)
	})
}

func TestGemmAgainstFloat64(t *testing.T) {
	sizes := [][3]int{
		{1, 1, 1}, {1, 17, 5}, {5, 3, 2}, {6, 16, 1}, {7, 33, 9}, {13, 31, 257}, {14, 32, 256},
		{29, 65, 300}, {97, 40, 40}, {64, 64, 64}, {77, 24, 771}, {3, 200, 0}, {0, 4, 4},
		{4, 0, 4}, {230, 15, 70}, {800, 40, 12},
	}
	eachMicroKernel(t, func(t *testing.T) {
		for i, s := range sizes {
			for mode := range 16 {
				r := rand.New(rand.NewPCG(uint64(i), uint64(mode)))
				p := Product{M: s[0], N: s[1], K: s[2], Accumulate: mode&4 != 0}
				p.A = matrixFor(r, p.M, p.K, i%3, mode&1 != 0)
				p.B = matrixFor(r, p.K, p.N, i%2, mode&2 != 0)
				p.C = matrixFor(r, p.M, p.N, i%4, false)
				if mode&8 != 0 {
					p.Bias = normal(r, p.N)
				}
				exact := p.exact()
				plain := p
				plain.C.Data = append([]float32(nil), p.C.Data...)
				gemmGeneric(&plain)
				gap := func(p *Product) []float32 {
					var g []float32
					for i := range max(0, p.M-1) {
						g = append(g, p.C.Data[i*p.C.Stride+p.N:(i+1)*p.C.Stride]...)
					}
					return g
				}
				before := gap(&p)
				Gemm(Shared, &p, scratch(p.Workspace(Shared)))
				t.Run(fmt.Sprint(s, mode), func(t *testing.T) {
					requireAsGood(t, p.result(), plain.result(), exact)
				})
				require.Equal(t, before, gap(&p), "wrote between C's rows")
			}
		}
	})
}

// bits is x without NaN's trouble with equality.
func bits(x []float32) []uint32 {
	b := make([]uint32, len(x))
	for i, v := range x {
		b[i] = math.Float32bits(v)
	}
	return b
}

func TestGemmSameBitsForAnyWorkers(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		for _, s := range [][3]int{{200, 100, 300}, {64, 640, 520}, {33, 70, 2000}} {
			r := rand.New(rand.NewPCG(1, 2))
			p := Product{M: s[0], N: s[1], K: s[2], Bias: normal(r, s[1])}
			p.A, p.B = matrixFor(r, p.M, p.K, 0, false), matrixFor(r, p.K, p.N, 0, true)
			var first []uint32
			for _, workers := range []int{1, 2, 3, 16} {
				pool := NewPool(workers)
				p.C = Matrix{Data: make([]float32, p.M*p.N), Stride: p.N}
				Gemm(pool, &p, scratch(p.Workspace(pool)))
				if first == nil {
					first = bits(p.C.Data)
				}
				require.Equal(t, first, bits(p.C.Data), "%d workers", workers)
			}
		}
	})
}

// A row's result must not depend on the rows beside it: a sample does not depend on its batch.
func TestGemmRowsDoNotDependOnOneAnother(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(3, 4))
		p := Product{M: 40, N: 50, K: 300}
		p.A, p.B = matrixFor(r, p.M, p.K, 0, false), matrixFor(r, p.K, p.N, 0, true)
		p.C = Matrix{Data: make([]float32, p.M*p.N), Stride: p.N}
		Gemm(Shared, &p, scratch(p.Workspace(Shared)))
		all := bits(p.C.Data)
		q := p
		q.M, q.A.Data, q.C.Data = 3, p.A.Data[17*300:], make([]float32, 150)
		Gemm(Shared, &q, scratch(q.Workspace(Shared)))
		require.Equal(t, all[17*50:20*50], bits(q.C.Data))
	})
}

// inOrder is the order in which products are summed. K is cut into ⌈K/384⌉ blocks of ⌈K/blocks⌉.
func (p *Product) inOrder() []float32 { return p.inBlocks(ceilDiv(p.K, ceilDiv(p.K, 384))) }

// inBlocks is the product, of which K is cut into blocks of so many:
//
//	s := 0
//	for k in block { s += A(i,k)·B(k,j) }
//	if block > 0 or Accumulate { s += C(i,j) }
//	if block == 0 { s += bias[j] }
//	C(i,j) = s
//
// in float32. For bfloat16 values each product is exact, so it does not matter whether it is
// rounded before it is added.
func (p *Product) inBlocks(size int) []float32 {
	blocks := ceilDiv(p.K, size)
	c := p.result()
	for at := range c {
		i, j := at/p.N, at%p.N
		for block := range blocks {
			var s float32
			for k := block * size; k < min((block+1)*size, p.K); k++ {
				s += float32(p.A.at(i, k) * p.B.at(k, j))
			}
			if block > 0 || p.Accumulate {
				s += c[at]
			}
			if block == 0 && p.Bias != nil {
				s += p.Bias[j]
			}
			c[at] = s
		}
	}
	return c
}

// Products are summed in one order, whether they are computed as they are or as their transpose, in
// one piece or in chunks, by which body and by how many workers.
func TestGemmOrder(t *testing.T) {
	for i, s := range [][3]int{
		{5, 3, 2}, {14, 32, 256}, {29, 65, 385}, {97, 40, 600}, {300, 48, 1000}, {1, 100, 77},
		{5, 40, 520}, {33, 300, 177}, {50, 52, 45000}, {52, 50, 45000},
		{97, 40, 1021}, {40, 97, 1022}, // rows of the left factor are 4 KiB apart: they are packed
	} {
		for mode := range 12 {
			if s[2] == 45000 && mode%8 != i%8 { // 450 million operations, each time with each body
				continue
			}
			r := rand.New(rand.NewPCG(uint64(i), uint64(mode)))
			p := Product{M: s[0], N: s[1], K: s[2], Accumulate: mode&4 != 0}
			if mode < 4 {
				p.Bias = normal(r, s[1])
			}
			p.A = matrixFor(r, p.M, p.K, 3, mode&1 != 0)
			p.B = matrixFor(r, p.K, p.N, 2, mode&2 != 0)
			p.C = matrixFor(r, p.M, p.N, 1, false)
			for _, x := range [][]float32{p.A.Data, p.B.Data} {
				for i, v := range x {
					x[i] = FromBF16(ToBF16(v))
				}
			}
			before, want := append([]float32(nil), p.C.Data...), bits(p.inOrder())
			eachMicroKernel(t, func(t *testing.T) {
				q := p.product()
				task := micro.task(&q, 2)
				require.Equal(t, q.m < q.n && q.k >= 128, task.turned)
				require.Equal(t, q.k == 45000, task.chunks > 1)
				if q.k == 1021 && !p.A.Transposed || q.k == 1022 && p.B.Transposed {
					require.False(t, task.direct)
				}
				for _, workers := range []int{1, 3} {
					pool := NewPool(workers)
					copy(p.C.Data, before)
					Gemm(pool, &p, scratch(p.Workspace(pool)))
					got := bits(p.result())
					require.Equal(t, want, got, "%v, mode %d, %d workers", s, mode, workers)
				}
			})
		}
	}
}

func TestGemmLetsNaNThrough(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(5, 6))
		p := Product{M: 9, N: 20, K: 30}
		p.A = matrixFor(r, 9, 30, 0, false)
		p.B = matrixFor(r, 30, 20, 0, true)
		p.C = matrixFor(r, 9, 20, 0, false)
		p.A.Data[4*30+7] = float32(math.NaN())
		Gemm(Shared, &p, scratch(p.Workspace(Shared)))
		for i, v := range p.C.Data {
			require.Equal(t, i/20 == 4, v != v, "row %d", i/20)
		}
	})
}

func TestGemmRefuses(t *testing.T) {
	ok := func() Product {
		m := func(rows, columns int) Matrix {
			return Matrix{Data: make([]float32, rows*columns), Stride: columns}
		}
		return Product{M: 2, N: 3, K: 4, A: m(2, 4), B: m(4, 3), C: m(2, 3)}
	}
	for name, spoil := range map[string]func(p *Product){
		"negative":     func(p *Product) { p.M = -1 },
		"short A":      func(p *Product) { p.A.Data = p.A.Data[1:] },
		"short B":      func(p *Product) { p.B.Data = p.B.Data[1:] },
		"short C":      func(p *Product) { p.C.Data = p.C.Data[1:] },
		"stride":       func(p *Product) { p.A.Stride = 3 },
		"C transposed": func(p *Product) { p.C.Transposed, p.C.Stride = true, 2 },
		"bias":         func(p *Product) { p.Bias = make([]float32, 2) },
	} {
		p := ok()
		ws := make([]float32, p.Workspace(Shared))
		require.NotPanics(t, func() { Gemm(Shared, &p, ws) })
		spoil(&p)
		require.Panics(t, func() { Gemm(Shared, &p, ws) }, name)
	}
	p := ok()
	require.Panics(t, func() { Gemm(Shared, &p, nil) }, "no workspace")
}

func TestGemmAllocatesNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	p := Product{M: 100, N: 100, K: 300}
	p.A = matrixFor(r, 100, 300, 0, false)
	p.B = matrixFor(r, 300, 100, 0, true)
	p.C = matrixFor(r, 100, 100, 0, false)
	ws := make([]float32, p.Workspace(Shared))
	Gemm(Shared, &p, ws)
	require.Zero(t, testing.AllocsPerRun(20, func() { Gemm(Shared, &p, ws) }))
}

func TestColumnSums(t *testing.T) {
	for _, s := range [][2]int{
		{1, 1}, {3, 5}, {511, 7}, {512, 7}, {1500, 33}, {1025, 64}, {0, 4}, {3, 0},
	} {
		r := rand.New(rand.NewPCG(uint64(s[0]), 9))
		x := normal(r, s[0]*s[1])
		exact := make([]float64, s[1])
		for i, v := range x {
			exact[i%s[1]] += float64(v)
		}
		var first []float32
		for _, workers := range []int{1, 2, 3, 16} {
			pool := NewPool(workers)
			got := scratch(s[1])
			ColumnSums(pool, got, x, s[0], s[1], scratch(ColumnSumsWorkspace(s[0], s[1])))
			for j, v := range got {
				allowed := math.Abs(exact[j])*0x1p-24 + 1e-12
				require.True(t, math.Abs(float64(v)-exact[j]) <= allowed,
					"%v column %d: %g, not %g", s, j, v, exact[j])
			}
			if first == nil {
				first = got
			}
			require.Equal(t, first, got)
		}
	}
	sums, x, ws := make([]float32, 3), make([]float32, 8), make([]float32, 100)
	require.Panics(t, func() { ColumnSums(Shared, sums, x, 2, 4, ws) })
}

// Behind the columns of a panel that is not full are zeros, whatever was there.
func TestPackedPanels(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for _, u := range micros {
		for n := 1; n <= u.nr; n++ {
			for _, k := range []int{1, 7, 8, 19, 64} {
				src := Matrix{Data: normal(r, n*k), Stride: n}
				across := make([]float32, n*k)
				transposeGeneric(across, src.Data, k, n, k, n)
				want := make([]float32, k*u.nr)
				for p := range k {
					copy(want[p*u.nr:], src.Data[p*n:][:n])
				}
				for i, b := range []Matrix{src, {Data: across, Stride: k, Transposed: true}} {
					got := scratch(k * u.nr)
					(&rhs{matrix: b}).pack(got, u, 0, n, 0, k, nil)
					require.Equal(t, want, got, "%s, %d columns, %d rows, %d", u.name, n, k, i)
				}
			}
		}
	}
}
