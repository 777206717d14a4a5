package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// lengths are below, at and above that of a register. So they try the assembly, the definition for
// the rest, and both together.
var lengths = []int{1, 7, 16, 17, 48, 77, 256}

// requireNear fails unless got is want up to the rounding of float32 operations on values of size.
func requireNear(t *testing.T, want, got, size float64, what ...any) {
	t.Helper()
	require.True(t, math.Abs(got-want) <= 4*0x1p-24*size, "%g, not %g: %v", got, want, what)
}

// TestScores compares the passes over a row of scores with their definitions in float64.
func TestScores(t *testing.T) {
	for _, v := range vectors {
		for _, n := range lengths {
			r := rand.New(rand.NewPCG(uint64(n), 1))
			x, y := normal(r, n), normal(r, n)
			top, dot, size := math.Inf(-1), 0.0, 0.0
			for i := range x {
				top = max(top, float64(x[i]))
				dot += float64(x[i]) * float64(y[i])
				size += math.Abs(float64(x[i]) * float64(y[i]))
			}
			require.Equal(t, float32(top), v.max(x), "%s, %d", v.name, n)
			require.True(t, math.Abs(v.dot(x, y)-dot) <= 1e-12*size,
				"%s, %d: sums are float64", v.name, n)

			scaled := make([]float32, n)
			slope, e := append([]float32(nil), x...), append([]float32(nil), x...)
			v.scale(scaled, x, 0.3)
			v.softmaxGrad(slope, y, 0.25)
			sum := v.expShift(e, float32(top))
			var all float64
			for i := range x {
				require.Equal(t, 0.3*x[i], scaled[i], v.name)
				requireNear(t, float64(x[i])*(float64(y[i])-0.25), float64(slope[i]), 3, v.name, n)
				requireNear(t, math.Exp(float64(x[i])-top), float64(e[i]), 4, v.name, n)
				all += float64(e[i])
			}
			require.True(t, math.Abs(sum-all) <= 1e-12*all, "%s, %d: sums are float64", v.name, n)
		}
		nan := float32(math.NaN())
		for at := range 20 {
			x := make([]float32, 20)
			x[at], x[(at+3)%20] = nan, 2
			require.Equal(t, float32(2), v.max(x), "%s passes over NaN", v.name)
			require.True(t, math.IsNaN(v.expShift(x, 2)), "%s keeps NaN", v.name)
		}
		require.Equal(t, float32(math.Inf(-1)), v.max([]float32{}))
	}
}
