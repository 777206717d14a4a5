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
				half, back := make([]uint16, n+2), scratch(n+2)
				half[0], half[n+1] = 0xabcd, 0xabcd
				ToBF16s(Shared, half[1:n+1], x)
				FromBF16s(Shared, back[1:n+1], half[1:n+1])
				for i, v := range x {
					require.Equal(t, ToBF16(v), half[i+1], "%x", math.Float32bits(v))
					want := math.Float32bits(FromBF16(ToBF16(v)))
					require.Equal(t, want, math.Float32bits(back[i+1]))
				}
				for _, i := range []int{0, n + 1} {
					require.EqualValues(t, 0xabcd, half[i])
					require.True(t, back[i] != back[i])
				}
			}
		})
	}
	require.Panics(t, func() { ToBF16s(Shared, make([]uint16, 3), make([]float32, 4)) })
	half, whole := make([]uint16, 100000), make([]float32, 100000)
	FromBF16s(Shared, whole, half)
	require.Zero(t, testing.AllocsPerRun(20, func() { FromBF16s(Shared, whole, half) }))
}

// rounded rounds x to bfloat16.
func rounded(x []float32) []float32 {
	for i, v := range x {
		x[i] = FromBF16(ToBF16(v))
	}
	return x
}
