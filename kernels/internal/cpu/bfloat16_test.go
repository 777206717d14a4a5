package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBF16ByHand(t *testing.T) {
	inf := float32(math.Inf(1))
	for _, c := range []struct {
		x    float32
		want uint16
	}{
		{0, 0}, {float32(math.Copysign(0, -1)), 0x8000}, {1, 0x3f80}, {-2, 0xc000},
		{1 + 0x1p-8, 0x3f80},           // half way: to the even one below
		{1 + 3*0x1p-8, 0x3f82},         // half way: to the even one above
		{1 + 0x1p-8 + 0x1p-23, 0x3f81}, // above half way
		{1 + 3*0x1p-8 - 0x1p-22, 0x3f81},
		{2 - 0x1p-9, 0x4000},          // up to the next power of two
		{math.MaxFloat32, 0x7f80},     // infinite: more than half a unit beyond the largest
		{0x1.fep127, 0x7f7f},          // the largest
		{0x1.feffp127, 0x7f7f},        // nearer to the largest
		{inf, 0x7f80}, {-inf, 0xff80}, //
		{0x1p-133, 0x0001}, {0x1p-134, 0}, // the smallest, and half of it
	} {
		require.Equal(t, c.want, ToBF16(c.x), "%x", c.x)
	}
	for _, b := range []uint32{0x7f800001, 0xff800001, 0x7fffffff, 0x7fc00000} {
		got := FromBF16(ToBF16(math.Float32frombits(b)))
		require.True(t, got != got, "NaN %x becomes %v", b, got)
	}
}

// Every bfloat16 stays itself after the way there and back. No other bfloat16 is nearer to the
// value that was rounded.
func TestBF16IsNearest(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 1 << 16 {
		b := uint16(i)
		x := FromBF16(b)
		if x != x {
			continue
		}
		require.Equal(t, b, ToBF16(x))
		y := math.Float32frombits(uint32(i)<<16 | r.Uint32()>>16)
		if y != y || b&0x7fff >= 0x7f7f {
			continue
		}
		got := math.Abs(float64(FromBF16(ToBF16(y))) - float64(y))
		for _, other := range []uint16{b, b + 1} {
			require.LessOrEqual(t, got, math.Abs(float64(FromBF16(other))-float64(y)), "%x", y)
		}
	}
}

// Every body gives the bits of the definition, for values of each kind, and writes nothing else.
func TestConversions(t *testing.T) {
	was := conversion
	defer func() { conversion = was }()
	r := rand.New(rand.NewPCG(3, 0))
	for _, conversion = range conversions {
		t.Run(conversion.name, func(t *testing.T) {
			for _, n := range []int{0, 1, 7, 32, 33, 1000, elementBlock, 3*elementBlock + 5} {
				x := normal(r, n)
				for i := range x {
					if i%3 > 0 { // any bits: half way, denormal, infinite, NaN
						x[i] = math.Float32frombits(r.Uint32() &^ (0xffff * uint32(i%3-1)))
					}
					if i%7 == 0 {
						b := r.Uint32()&^0xffff | 0x8000 // half way between two
						x[i] = math.Float32frombits(b | uint32(0x7f800000*(i/7%2)))
					}
				}
				half, back, rounded := make([]uint16, n+2), scratch(n+2), scratch(n+2)
				half[0], half[n+1] = 0xabcd, 0xabcd
				ToBF16s(Shared, half[1:n+1], x)
				FromBF16s(Shared, back[1:n+1], half[1:n+1])
				roundBF16(rounded[1:n+1], x)
				for i, v := range x {
					require.Equal(t, ToBF16(v), half[i+1], "%x", math.Float32bits(v))
					want := math.Float32bits(FromBF16(ToBF16(v)))
					require.Equal(t, want, math.Float32bits(back[i+1]))
					require.Equal(t, want, math.Float32bits(rounded[i+1]))
				}
				for _, i := range []int{0, n + 1} {
					require.EqualValues(t, 0xabcd, half[i])
					require.True(t, back[i] != back[i] && rounded[i] != rounded[i])
				}
				RoundBF16s(Shared, x)
				require.Equal(t, bits(back[1:n+1]), bits(x))
			}
		})
	}
	require.Panics(t, func() { ToBF16s(Shared, make([]uint16, 3), make([]float32, 4)) })
	half, whole := make([]uint16, 100000), make([]float32, 100000)
	FromBF16s(Shared, whole, half)
	require.Zero(t, testing.AllocsPerRun(20, func() { FromBF16s(Shared, whole, half) }))
}

// inOrder is the definition of the product of bfloat16 values. K is cut into ⌈K/384⌉ blocks of
// ⌈K/blocks⌉, and
//
//	s := 0
//	for k in block { s += A(i,k)·B(k,j) }
//	if block > 0 { s += C(i,j) }
//	if block == 0 { s += bias[j] }
//	C(i,j) = s
//
// in float32. Each product is exact, so it does not matter whether it is rounded before it is
// added.
func (p *Product) inOrder() []float32 {
	blocks := ceilDiv(p.K, 384)
	size := ceilDiv(p.K, blocks)
	c := make([]float32, p.M*p.N)
	for at := range c {
		i, j := at/p.N, at%p.N
		for block := range blocks {
			var s float32
			for k := block * size; k < min((block+1)*size, p.K); k++ {
				s += float32(p.A.at(i, k) * p.B.at(k, j))
			}
			if block > 0 {
				s += c[at]
			} else if p.Bias != nil {
				s += p.Bias[j]
			}
			c[at] = s
		}
	}
	return c
}

func rounded(x []float32) []float32 {
	roundBF16(x, x)
	return x
}

// The product of bfloat16 values has the same bits with every body and any number of workers.
func TestGemmOfBF16(t *testing.T) {
	for i, s := range [][3]int{
		{5, 3, 2}, {14, 32, 256}, {29, 65, 385}, {97, 40, 600}, {300, 48, 1000}, {1, 100, 77},
	} {
		for mode := range 4 {
			r := rand.New(rand.NewPCG(uint64(i), uint64(mode)))
			p := Product{M: s[0], N: s[1], K: s[2], Bias: normal(r, s[1])}
			p.A = matrixFor(r, p.M, p.K, 1, mode&1 != 0)
			p.B = matrixFor(r, p.K, p.N, 0, mode&2 != 0)
			rounded(p.A.Data)
			rounded(p.B.Data)
			want := bits(p.inOrder())
			eachMicroKernel(t, func(t *testing.T) {
				for _, workers := range []int{1, 3} {
					pool := NewPool(workers)
					p.C = Matrix{Data: scratch(p.M * p.N), Stride: p.N}
					Gemm(pool, &p, scratch(p.Workspace(pool)))
					got := bits(p.C.Data)
					require.Equal(t, want, got, "%v, mode %d, %d workers", s, mode, workers)
				}
			})
		}
	}
}

// So have the three passes of a convolution.
func TestConvOfBF16(t *testing.T) {
	var want [][]uint32
	eachMicroKernel(t, func(t *testing.T) {
		var got [][]uint32
		for i, c := range testConvs {
			x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(uint64(i), 5)))
			rounded(x)
			rounded(w)
			rounded(dy)
			y, dx, dw := scratch(len(dy)), scratch(len(x)), scratch(len(w))
			c.Forward(Shared, y, x, w, bias, scratch(c.ForwardWorkspace(Shared)))
			c.InputGrad(Shared, dx, dy, w, scratch(c.InputGradWorkspace(Shared)))
			c.WeightGrad(Shared, dw, dy, x, scratch(c.WeightGradWorkspace(Shared)))
			got = append(got, bits(y), bits(dx), bits(dw))
		}
		if want == nil {
			want = got
		}
		require.Equal(t, want, got)
	})
}
