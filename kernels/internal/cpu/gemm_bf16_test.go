package cpu

import (
	endian "encoding/binary"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachMicroBF16 runs a test with every micro-kernel for bfloat16 values that this machine has.
func eachMicroBF16(t *testing.T, f func(t *testing.T)) {
	was := halfMicro
	defer func() { halfMicro = was }()
	for _, u := range microsBF16 {
		halfMicro = u
		t.Run(u.name, f)
	}
}

// The arithmetic of one step, by hand.
func TestDotBF16ByHand(t *testing.T) {
	one, big := ToBF16(1), ToBF16(0x1p127)
	tiny := ToBF16(0x1p-63) // its square is the smallest normal value
	for _, c := range []struct {
		sum        float32
		x, y       [2]uint16
		want       float32
		whatItSays string
	}{
		{1, [2]uint16{ToBF16(2), ToBF16(3)}, [2]uint16{ToBF16(5), ToBF16(7)}, 32, "1 + 3·7 + 2·5"},
		{0, [2]uint16{one, big}, [2]uint16{one, ToBF16(4)}, inf, "too large: infinite"},
		{-0x1.8p127, [2]uint16{0, big}, [2]uint16{0, ToBF16(2)}, 0x1p126,
			"a product that is too large is exact before it is added"},
		{1, [2]uint16{ToBF16(0x1p-24), one}, [2]uint16{one, ToBF16(0x1p-24)}, 1,
			"half a unit is rounded to even, twice"},
		{0, [2]uint16{ToBF16(-1), ToBF16(0x1p24)}, [2]uint16{ToBF16(-1), one}, 0x1p24,
			"the second pair is added first"},
		{-0x1p24, [2]uint16{one, ToBF16(0x1p24)}, [2]uint16{one, one}, 1, "before the first"},
		{-0x1p24, [2]uint16{ToBF16(0x1p24), one}, [2]uint16{one, one}, 1,
			"also where that order loses nothing: 1 − 2²⁴ is a float32"},
		{0x1p24, [2]uint16{ToBF16(-0x1p24), one}, [2]uint16{one, one}, 0,
			"and where it does: 2²⁴ + 1 is none"},
		{0x1p-127, [2]uint16{0, 0}, [2]uint16{0, 0}, 0, "a denormal sum is zero"},
		{0, [2]uint16{1, 0x7f}, [2]uint16{big, big}, 0, "denormal operands are zero"},
		{0, [2]uint16{tiny, 0}, [2]uint16{tiny, 0}, 0x1p-126, "the least result"},
		{0x1p-126, [2]uint16{ToBF16(0x1p-75), 0}, [2]uint16{ToBF16(-0x1p-75), 0}, 0,
			"2⁻¹²⁶ − 2⁻¹⁵⁰ has 24 bits and is denormal"},
		{0x1p-126, [2]uint16{ToBF16(0x1p-75), 0}, [2]uint16{ToBF16(-0x1p-76), 0}, 0x1p-126,
			"2⁻¹²⁶ − 2⁻¹⁵¹ is rounded to 2⁻¹²⁶"},
		{0, [2]uint16{ToBF16(0x1p-76), tiny}, [2]uint16{tiny, ToBF16(0x1p-76)}, 0,
			"denormal results are zero before more is added"},
		{inf, [2]uint16{one, one}, [2]uint16{one, one}, inf, ""},
	} {
		got := dotBF16(c.sum, c.x, c.y)
		require.Equal(t, math.Float32bits(c.want), math.Float32bits(got), "%v: %s", c, c.whatItSays)
	}
	least := float32(math.Copysign(0x1p-127, -1))
	negative := dotBF16(least, [2]uint16{0, 0}, [2]uint16{0x8000, 0x8000})
	require.Equal(t, uint32(1<<31), math.Float32bits(negative), "the sign of zero stays")
	for _, x := range []float32{
		dotBF16(nan, [2]uint16{one, one}, [2]uint16{one, one}),
		dotBF16(0, [2]uint16{0x7fc0, 0}, [2]uint16{one, one}),
		dotBF16(0, [2]uint16{0x7f80, 0}, [2]uint16{1, one}), // a denormal is zero: ∞·0
		dotBF16(-inf, [2]uint16{0x7f80, 0}, [2]uint16{one, one}),
	} {
		require.True(t, x != x)
	}
}

var inf, nan = float32(math.Inf(1)), float32(math.NaN())

// oddBF16 is a value of some kind: any bits, near 1, near the least, near the largest, special.
func oddBF16(r *rand.Rand, kind int) uint16 {
	exponent := func(from, n int) uint16 {
		return uint16(r.Uint32()&0x807f) | uint16(from+r.IntN(n))<<7
	}
	switch kind {
	case 0:
		return uint16(r.Uint32())
	case 1:
		return exponent(120, 16)
	case 2:
		return exponent(50, 30)
	case 3:
		return exponent(184, 16)
	case 4:
		return exponent(0, 8)
	}
	special := []uint16{
		0, 1, 0x7f, 0x80, 0x81, 0x1f80, 0x2000, 0x3f80, 0x3f81, 0x4000, 0x5f80, 0x7f7f, 0x7f80,
		0x7f81, 0x7fc0,
	}
	return special[r.IntN(len(special))] | uint16(r.Uint32()&0x8000)
}

// oddFloat32 is such a value as a float32.
func oddFloat32(r *rand.Rand, kind int) float32 {
	low := r.Uint32() & 0xffff
	if r.IntN(4) == 0 {
		low = 0
	}
	half := uint32(oddBF16(r, kind))
	if kind == 2 { // products of two have twice the exponent
		half = r.Uint32()&0x807f | uint32(1+r.IntN(20))<<7
	}
	return math.Float32frombits(half<<16 | low)
}

// sameBits compares values. All NaN are one.
func sameBits(a, b float32) bool {
	return math.Float32bits(a) == math.Float32bits(b) || a != a && b != b
}

// Every body does the arithmetic of the definition, bit by bit, for more than a million pairs of
// pairs of each kind of values, in every place of a tile.
func TestTilesOfBF16(t *testing.T) {
	rounds := 1 << 20
	if testing.Short() {
		rounds = 1 << 14
	}
	for _, u := range microsBF16 {
		t.Run(u.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(1, 2))
			const k = 3
			a, b := make([]uint16, 2*k*u.mr), make([]uint16, 2*k*u.nr)
			c := make([]float32, u.mr*u.nr)
			for done := 0; done < rounds; done += len(c) * k {
				kind := r.IntN(6)
				for i := range a {
					a[i] = oddBF16(r, kind)
				}
				for i := range b {
					b[i] = oddBF16(r, kind)
				}
				want := make([]float32, len(c))
				for i := range c {
					c[i] = oddFloat32(r, kind)
					want[i] = c[i]
				}
				add := done%2 == 0
				steps := 1 + r.IntN(k)
				for at := range want {
					if !add {
						want[at] = 0
					}
					for p := range steps {
						x := [2]uint16(a[2*(at/u.nr*k+p):])
						want[at] = dotBF16(want[at], x, [2]uint16(b[2*(p*u.nr+at%u.nr):]))
					}
				}
				u.tile(&a[0], &b[0], &c[0], steps, 4*k, 4, add)
				for at := range c {
					if !sameBits(want[at], c[at]) {
						t.Fatalf("kind %d: %x, not %x, at %d", kind, c[at], want[at], at)
					}
				}
			}
		})
	}
}

// inOrder is the definition of a product.
func (p *ProductBF16) inOrder() []float32 {
	at := func(m *MatrixBF16, i, k int) uint16 {
		if k >= p.K {
			return 0
		}
		if m.Transposed {
			return m.Data[k*m.Stride+i]
		}
		return m.Data[i*m.Stride+k]
	}
	b := p.B
	b.Transposed = !b.Transposed // to read B(k,j) as (j,k)
	c := make([]float32, p.M*p.N)
	for ij := range c {
		i, j := ij/p.N, ij%p.N
		for k := 0; k < p.K; k += 2 {
			x := [2]uint16{at(&p.A, i, k), at(&p.A, i, k+1)}
			c[ij] = dotBF16(c[ij], x, [2]uint16{at(&b, j, k), at(&b, j, k+1)})
		}
		if p.Bias != nil {
			c[ij] += p.Bias[j]
		} else {
			c[ij] += 0
		}
	}
	return c
}

// guardedBF16 is memory for n values with something before and after that must not be read: NaN.
func guardedBF16(r *rand.Rand, n int) []uint16 {
	const guard = 100
	x := make([]uint16, n+2*guard)
	for i := range x {
		x[i] = 0x7fc0
	}
	x = x[guard : guard+n]
	for i := range x {
		x[i] = ToBF16(float32(r.NormFloat64()))
	}
	return x
}

func halfMatrix(r *rand.Rand, rows, columns, gap int, transposed bool) MatrixBF16 {
	if transposed {
		rows, columns = columns, rows
	}
	m := MatrixBF16{Stride: columns + gap, Transposed: transposed}
	m.Data = guardedBF16(r, max(0, (rows-1)*m.Stride+columns))
	for i := range rows { // what is between rows must not be read
		for j := columns; j < m.Stride && i+1 < rows; j++ {
			m.Data[i*m.Stride+j] = 0x7fc0
		}
	}
	return m
}

// eachChunk runs a test with parts and chunks as they are, and with few rows and chunks as small as
// they can be, or of some columns. Few weights are enough to turn a product.
func eachChunk(f func()) {
	defer func(rows, chunk, weights int) {
		rowsBF16, chunkBF16, weightsBF16 = rows, chunk, weights
	}(rowsBF16, chunkBF16, weightsBF16)
	weightsBF16 = 0
	for _, chunk := range []int{chunkBF16, 1, 66 * columnsBF16} {
		chunkBF16 = chunk
		f()
		rowsBF16 = 16
	}
}

// Columns are paired as the definition says, also where they do not fill blocks.
func TestPairColumns(t *testing.T) {
	const width, stride = 37, 45
	r := rand.New(rand.NewPCG(3, 3))
	src := guardedBF16(r, width*stride)
	for _, u := range microsBF16 {
		for n := range width + 1 {
			for _, k := range []int{1, 2, 15, 16, 17, 30, 32, 43} {
				want, got := guardedBF16(r, 44*width), guardedBF16(r, 44*width)
				copy(got, want)
				pairColumnsGeneric(want, src, stride, width, n, k)
				u.pairColumns(got, src, stride, width, n, k)
				require.Equal(t, want, got, "%s: %d columns, %d rows", u.name, n, k)
			}
		}
	}
}

// The product has the definition's bits with every body, any number of workers and any chunks.
func TestGemmBF16(t *testing.T) {
	for i, s := range [][3]int{
		{1, 1, 1}, {5, 3, 2}, {4, 4, 0}, {14, 32, 256}, {29, 65, 257}, {97, 40, 1030}, {15, 33, 16},
		{530, 70, 12}, {1, 100, 77}, {6, 16, 513}, {28, 200, 64}, {64, 8, 3000}, {0, 3, 3},
		{30, 100, 1600}, {40, 700, 66}, {62, 100, 177}, {31, 70, 600},
	} {
		for mode := range 8 {
			r := rand.New(rand.NewPCG(uint64(i), uint64(mode)))
			p := ProductBF16{M: s[0], N: s[1], K: s[2]}
			if mode&4 != 0 {
				p.Bias = normal(r, s[1])
			}
			p.A = halfMatrix(r, p.M, p.K, mode&1+mode>>2, mode&1 != 0)
			p.B = halfMatrix(r, p.K, p.N, mode>>1&1, mode&2 != 0)
			want := p.inOrder()
			half := make([]uint16, len(want))
			toBF16Generic(half, want)
			eachMicroBF16(t, func(t *testing.T) {
				for _, workers := range []int{1, 3} {
					eachChunk(func() {
						pool := NewPool(workers)
						name := fmt.Sprintf("%v, mode %d, %d workers", s, mode, workers)
						p.Whole, p.C, p.CBF16 = true, scratch(p.M*p.N), nil
						GemmBF16(pool, &p, scratch(p.Workspace(pool)))
						require.Equal(t, bits(want), bits(p.C), name)
						p.Whole, p.C, p.CBF16 = false, nil, guardedBF16(r, p.M*p.N)
						if q := p.product(); p.M >= 30 {
							turned := p.M < p.N && p.K >= 128
							require.Equal(t, turned, halfMicro.task(&q, workers).turned)
						}
						GemmBF16(pool, &p, scratch(p.Workspace(pool)))
						require.Equal(t, half, p.CBF16, name)
						for _, v := range p.CBF16[len(half) : len(half)+100] {
							require.EqualValues(t, 0x7fc0, v, name)
						}
					})
				}
			})
		}
	}
}

// Results that go past the caches are the same. Rows that do not begin with a line do not go there.
func TestGemmBF16Streams(t *testing.T) {
	defer func(was int) { streamedBF16 = was }(streamedBF16)
	streamedBF16 = 1
	r := rand.New(rand.NewPCG(4, 4))
	for _, at := range []struct{ n, first int }{{144, 0}, {144, 1}, {150, 0}} {
		p := ProductBF16{M: 45, N: at.n, K: 600, Whole: true}
		p.A, p.B = halfMatrix(r, p.M, p.K, 0, true), halfMatrix(r, p.K, p.N, 0, false)
		want := p.inOrder()
		eachMicroBF16(t, func(t *testing.T) {
			for _, workers := range []int{1, 3} {
				pool := NewPool(workers)
				p.C = aligned(scratch(p.M*p.N + 17))[at.first:][:p.M*p.N]
				q := p.product()
				lines := at.n%16 == 0 && at.first == 0
				streams := halfMicro.task(&q, workers).streams
				require.Equal(t, lines && halfMicro.stream != nil, streams)
				GemmBF16(pool, &p, scratch(p.Workspace(pool)))
				require.Equal(t, bits(want), bits(p.C))
			}
		})
	}
}

// Where sums of some blocks of K are kept in C, the sign of zero stays: a product that is too small
// leaves −0, to which the other terms and the bias add −0.
func TestGemmBF16KeepsTheSignOfZero(t *testing.T) {
	const m, n, k = 20, 40, 2*depthBF16 + 2
	p := ProductBF16{
		M: m, N: n, K: k, Whole: true, C: make([]float32, m*n),
		A:    MatrixBF16{Data: slices.Repeat([]uint16{0x8000}, m*k), Stride: k},
		B:    MatrixBF16{Data: make([]uint16, k*n), Stride: n},
		Bias: slices.Repeat([]float32{float32(math.Copysign(0, -1))}, n),
	}
	for i := range m {
		p.A.Data[i*k] = ToBF16(-0x1p-70)
	}
	for j := range n {
		p.B.Data[j] = ToBF16(0x1p-70)
	}
	eachMicroBF16(t, func(t *testing.T) {
		eachChunk(func() {
			GemmBF16(Shared, &p, scratch(p.Workspace(Shared)))
			for _, c := range p.C {
				require.Equal(t, uint32(1<<31), math.Float32bits(c))
			}
		})
	})
}

// A product of bfloat16 values is as near to the exact one as a plain float32 loop.
func TestGemmBF16AgainstFloat64(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 7))
	p := ProductBF16{M: 40, N: 70, K: 5000, Whole: true}
	p.A, p.B = halfMatrix(r, p.M, p.K, 0, false), halfMatrix(r, p.K, p.N, 0, false)
	p.C = scratch(p.M * p.N)
	GemmBF16(Shared, &p, scratch(p.Workspace(Shared)))
	plain, exact := make([]float32, len(p.C)), make([]float64, len(p.C))
	for at := range exact {
		for k := range p.K {
			x, y := FromBF16(p.A.Data[at/p.N*p.K+k]), FromBF16(p.B.Data[k*p.N+at%p.N])
			plain[at] += x * y
			exact[at] += float64(x) * float64(y)
		}
	}
	requireAsGood(t, p.C, plain, exact)
}

func TestGemmBF16Panics(t *testing.T) {
	of := func(change func(p *ProductBF16)) func() {
		r := rand.New(rand.NewPCG(1, 1))
		p := ProductBF16{M: 4, N: 5, K: 6, Whole: true, C: make([]float32, 20)}
		p.A, p.B = halfMatrix(r, 4, 6, 0, false), halfMatrix(r, 6, 5, 0, true)
		ws := make([]float32, p.Workspace(Shared))
		change(&p)
		return func() { GemmBF16(Shared, &p, ws) }
	}
	require.NotPanics(t, of(func(*ProductBF16) {}))
	for _, change := range []func(p *ProductBF16){
		func(p *ProductBF16) { p.A.Data = p.A.Data[1:] },
		func(p *ProductBF16) { p.B.Stride = 5 },
		func(p *ProductBF16) { p.C = p.C[1:] },
		func(p *ProductBF16) { p.CBF16 = make([]uint16, 20) },
		func(p *ProductBF16) { p.Whole = false },
		func(p *ProductBF16) { p.Bias = make([]float32, 4) },
		func(p *ProductBF16) { p.M = -1 },
		func(p *ProductBF16) { p.K = 1 << 20 },
	} {
		require.Panics(t, of(change))
	}
}

// The three passes of a convolution are products of windows, bit by bit, with every body.
func TestConvOfHalves(t *testing.T) {
	defer func(was int) { weightsBF16 = was }(weightsBF16)
	weightsBF16 = 0 // few are enough to turn a product
	half := func(x []float32) []uint16 {
		h := make([]uint16, len(x))
		toBF16Generic(h, x)
		return h
	}
	for i, c := range testConvs {
		x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(uint64(i), 5)))
		hx, hw, hdy := half(x), half(w), half(dy)
		rounded(x)
		rounded(w)
		rounded(dy)
		y, dx, dw := make([]float32, len(dy)), make([]float32, len(x)), make([]float32, len(w))
		var exact [3][]float64
		for i, n := range []int{len(y), len(dx), len(dw)} {
			exact[i] = make([]float64, n)
		}
		c.forwardGeneric(y, x, w, bias)
		c.inputGradGeneric(dx, dy, w)
		c.weightGradGeneric(dw, dy, x)
		c.eachTap(func(iy, ix, iw int) {
			exact[0][iy] += float64(x[ix]) * float64(w[iw])
			exact[1][ix] += float64(dy[iy]) * float64(w[iw])
			exact[2][iw] += float64(dy[iy]) * float64(x[ix])
		})
		for i := range exact[0] {
			if bias != nil {
				exact[0][i] += float64(bias[i%c.Out])
			}
		}
		var first [][]uint16
		eachMicroBF16(t, func(t *testing.T) {
			gy, gdx, gdw := make([]uint16, len(y)), make([]uint16, len(dx)), scratch(len(dw))
			for _, workers := range []int{1, 3} {
				pool := NewPool(workers)
				c.ForwardBF16(pool, gy, hx, hw, bias, scratch(c.ForwardBF16Workspace(pool)))
				c.InputGradBF16(pool, gdx, hdy, hw, scratch(c.InputGradBF16Workspace(pool)))
				c.WeightGradBF16(pool, gdw, hdy, hx, scratch(c.WeightGradBF16Workspace(pool)))
				requireAsGood(t, gdw, dw, exact[2])
				for k, got := range [][]uint16{gy, gdx} {
					for i, v := range got {
						d := math.Abs(float64(FromBF16(v)) - exact[k][i])
						require.True(t, d <= 0x1.01p-8*math.Abs(exact[k][i])+1e-5, "%+v: %g", c, d)
					}
				}
				all := [][]uint16{gy, gdx, halves(gdw)}
				if first == nil {
					for _, x := range all {
						first = append(first, append([]uint16(nil), x...))
					}
				}
				require.Equal(t, first, all)
			}
		})
	}
}

// The bytes in gemm_bf16_amd64.s are the instructions that the generator means, says objdump. In a
// tile of 14 rows the registers of the sums are 0 to 27, those of B 28 and 29, of A 30 and 31. In
// one of 8 rows they are 0 to 15, 16 and 17, and 18 to 25.
func TestEncodingOfVDPBF16PS(t *testing.T) {
	objdump, err := exec.LookPath("objdump")
	if err != nil {
		t.Skip(err)
	}
	source, err := os.ReadFile("gemm_bf16_amd64.s")
	require.NoError(t, err)
	var code []byte
	encoded := regexp.MustCompile(`LONG\s+\$(\w+)\s+WORD\s+\$(\w+)`)
	for _, m := range encoded.FindAllSubmatch(source, -1) {
		low, err := strconv.ParseUint(string(m[1]), 0, 32)
		require.NoError(t, err)
		high, err := strconv.ParseUint(string(m[2]), 0, 16)
		require.NoError(t, err)
		code = endian.LittleEndian.AppendUint32(code, uint32(low))
		code = endian.LittleEndian.AppendUint16(code, uint16(high))
	}
	file := filepath.Join(t.TempDir(), "code")
	require.NoError(t, os.WriteFile(file, code, 0o600))
	disassemble := exec.Command(objdump, "-D", "-b", "binary", "-m", "i386:x86-64", file)
	text, err := disassemble.CombinedOutput()
	if err != nil {
		t.Skipf("%v: %s", err, text)
	}
	lines := regexp.MustCompile(`(?m)^\s*[0-9a-f]+:.*$`).FindAllString(string(text), -1)
	require.Len(t, lines, 5*28+16) // four steps at once, and one; and a step of runs
	for n, line := range lines {
		i, j := n%28/2, n%2
		a, b := 30+i%2, 28+j
		if n >= 5*28 {
			a, b = 18+i, 16+j
		}
		want := fmt.Sprintf("vdpbf16ps %%zmm%d,%%zmm%d,%%zmm%d", a, b, 2*i+j)
		require.Regexp(t, regexp.QuoteMeta(want)+`\s*$`, line)
	}
}
