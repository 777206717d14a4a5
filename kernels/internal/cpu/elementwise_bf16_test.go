package cpu

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// Each kernel for bfloat16 values gives what the one for float32 gives of them, rounded. It writes
// nothing else, for sizes that do and do not fill its blocks, and in place.
func TestElementwiseBF16(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	widened := func(h []uint16) []float32 {
		x := make([]float32, len(h))
		fromBF16Generic(x, h)
		return x
	}
	for _, n := range []int{0, 1, 33, halfBlock, halfBlock + 7, 3*elementBlock + 100} {
		x, y := guardedBF16(r, n), guardedBF16(r, n)
		wx, wy, want := widened(x), widened(y), make([]float32, n)
		for _, c := range []struct {
			name  string
			whole func()
			half  func(dst, x []uint16)
		}{
			{"unary", func() { SiLU(Shared, want, wx) },
				func(dst, x []uint16) { UnaryBF16(Shared, SiLU, dst, x) }},
			{"binary", func() { SiLUGrad(Shared, want, wx, wy) },
				func(dst, x []uint16) { BinaryBF16(Shared, SiLUGrad, dst, x, y) }},
			{"scale", func() { Scale(Shared, want, wx, 0.3) },
				func(dst, x []uint16) { ScaleBF16(Shared, dst, x, 0.3) }},
			{"difference", func() { SubScale(Shared, want, wx, wy, 0.3) },
				func(dst, x []uint16) { SubScaleBF16(Shared, dst, x, y, 0.3) }},
		} {
			c.whole()
			half := make([]uint16, n)
			toBF16Generic(half, want)
			got := guardedBF16(r, n)
			c.half(got, x)
			require.Equal(t, half, got, "%s of %d", c.name, n)
			require.EqualValues(t, 0x7fc0, got[:n+1][n], c.name)
			copy(got, x)
			c.half(got, got)
			require.Equal(t, half, got, "%s of %d in place", c.name, n)
		}
	}
	for _, s := range [][2]int{{1, 1}, {3, halfBlock + 5}, {70, 320}} {
		rows, width := s[0], s[1]
		x, dy := guardedBF16(r, 2*rows*width), guardedBF16(r, rows*width)
		dx := guardedBF16(r, 2*rows*width)
		y := guardedBF16(r, rows*width)
		wy, wdx := make([]float32, len(y)), make([]float32, len(dx))
		GEGLU(Shared, wy, widened(x), width)
		GEGLUGrad(Shared, wdx, widened(x), widened(dy), width)
		GEGLUBF16(Shared, y, x, width)
		GEGLUGradBF16(Shared, dx, x, dy, width)
		require.Equal(t, rounded(wy), widened(y))
		require.Equal(t, rounded(wdx), widened(dx))

		repeated := guardedBF16(r, 2*width) // x is [2,rows,width]
		AddMiddle(Shared, wdx, widened(x), widened(repeated), 2, rows, width)
		AddMiddleBF16(Shared, dx, x, repeated, 2, rows, width)
		require.Equal(t, rounded(wdx), widened(dx))
	}
	h := func(n int) []uint16 { return make([]uint16, n) }
	for _, f := range []func(){
		func() { UnaryBF16(Shared, SiLU, h(3), h(4)) },
		func() { BinaryBF16(Shared, Add, h(3), h(3), h(2)) },
		func() { GEGLUBF16(Shared, h(3), h(5), 3) },
		func() { GEGLUGradBF16(Shared, h(5), h(6), h(3), 3) },
		func() { AddMiddleBF16(Shared, h(6), h(6), h(2), 2, 1, 3) },
		func() { CopyRowsBF16(Shared, h(6), h(5), 2, 3, 3, 3) },
	} {
		require.Panics(t, f)
	}
	x := make([]uint16, 100000)
	require.Zero(t, testing.AllocsPerRun(20, func() { BinaryBF16(Shared, Add, x, x, x) }))
}

func TestCopyRowsBF16(t *testing.T) {
	src, dst := []uint16{1, 2, 3, 4, 5, 6, 7}, make([]uint16, 9)
	CopyRowsBF16(Shared, dst, src, 2, 4, 3, 3)
	require.Equal(t, []uint16{1, 2, 3, 0, 4, 5, 6, 0, 0}, dst)
}
