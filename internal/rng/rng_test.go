package rng

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// The numbers of a draw must never change. A run that a later version resumes would go on with
// others, and published results could not be made again.
//
// The whole numbers are also what FNV-1a, splitmix64 and PCG-DXSM give when they are written down
// from their papers. The other numbers are what this package gave when it was written.
func TestStoredValues(t *testing.T) {
	const most = math.MaxUint64
	for _, c := range []struct {
		seed, step, sample uint64
		stream             string
		want               uint64
	}{
		{0, 0, 0, "", 0x82e489c15d850a47},
		{1, 0, 0, "noise", 0x9c098bdba11d4a88},
		{1, 2, 3, "noise", 0x6ca92d41a9c3e21f},
		{most, most, most, "timestep", 0xc8eba5e08965dcce},
	} {
		require.Equal(t, c.want, New(c.seed, c.stream, c.step, c.sample).Uint64())
	}
	normal := make([]float32, 4)
	Normal(normal, 1, "noise", 2, 3)
	require.Equal(t, []float32{-1.0420326, -0.12758404, 0.39769253, -0.53113246}, normal)
	require.Equal(t, []int{6, 5, 2, 4, 0, 1, 3, 7}, New(5, "order", 1, 0).Perm(8))
}

func TestSameNameSameDraw(t *testing.T) {
	a, b := make([]float32, 100), make([]float32, 100)
	Normal(a, 1, "noise", 2, 3)
	New(8, "another", 1, 1).Uint64() // a draw between changes nothing
	Normal(b, 1, "noise", 2, 3)
	require.Equal(t, a, b)
	Normal(b[:10], 1, "noise", 2, 3)
	require.Equal(t, a[:10], b[:10], "how much is drawn changes what is drawn")
	require.Equal(t, New(1, "noise", 2, 3).Uint64(), New(1, "noise", 2, 3).Uint64())
}

// Every part of a name counts, and no two names near each other share a draw.
func TestNamesDiffer(t *testing.T) {
	seen := map[uint64]bool{}
	count := 0
	for seed := range uint64(10) {
		for _, stream := range []string{"", "a", "b", "ab", "noise", "order"} {
			for step := range uint64(30) {
				for sample := range uint64(30) {
					seen[New(seed, stream, step, sample).Uint64()] = true
					count++
				}
			}
		}
	}
	require.Len(t, seen, count)
}

// The mean of n standard normal values has the standard error 1/√n, that of their squares √2/√n,
// and that of their fourth powers √96/√n. A mean is more than five of them off once in two million
// runs, and these draws are always the same.
func TestNormalMoments(t *testing.T) {
	const n = 1_000_000
	x := make([]float32, n)
	Normal(x, 3, "moments", 0, 0)
	check(t, x)
	// The same over the first value of a million draws, which is how timesteps are drawn.
	for i := range x {
		Normal(x[i:i+1], 3, "moments", uint64(i/1000), uint64(i%1000))
	}
	check(t, x)
}

func check(t *testing.T, x []float32) {
	t.Helper()
	var m1, m2, m3, m4 float64
	for _, v := range x {
		f := float64(v)
		m1, m2, m3, m4 = m1+f, m2+f*f, m3+f*f*f, m4+f*f*f*f
	}
	n := float64(len(x))
	require.InDelta(t, 0, m1/n, 5/math.Sqrt(n))
	require.InDelta(t, 1, m2/n, 5*math.Sqrt(2/n))
	require.InDelta(t, 0, m3/n, 5*math.Sqrt(15/n))
	require.InDelta(t, 3, m4/n, 5*math.Sqrt(96/n))
}

// Draws whose names differ in one part are uncorrelated. The correlation of n pairs has the
// standard error 1/√n.
func TestIndependence(t *testing.T) {
	const n = 200_000
	a, b := make([]float32, n), make([]float32, n)
	Normal(a, 1, "noise", 2, 3)
	for what, draw := range map[string]func(){
		"seed":   func() { Normal(b, 2, "noise", 2, 3) },
		"stream": func() { Normal(b, 1, "noisf", 2, 3) },
		"step":   func() { Normal(b, 1, "noise", 3, 3) },
		"sample": func() { Normal(b, 1, "noise", 2, 4) },
		"swap":   func() { Normal(b, 1, "noise", 3, 2) },
		"shift":  func() { copy(b, a[1:]); b[n-1] = a[0] },
	} {
		draw()
		require.InDelta(t, 0, correlation(a, b), 5/math.Sqrt(n), what)
	}
	// The first values of neighbouring samples, steps and seeds.
	for i := range a {
		Normal(a[i:i+1], 1, "noise", 0, uint64(i))
		Normal(b[i:i+1], 1, "noise", uint64(i), 0)
	}
	require.InDelta(t, 0, correlation(a, b), 5/math.Sqrt(n))
	require.InDelta(t, 0, correlation(a[1:], a[:n-1]), 5/math.Sqrt(n))
	require.InDelta(t, 0, correlation(b[1:], b[:n-1]), 5/math.Sqrt(n))
}

func correlation(a, b []float32) float64 {
	var ab, aa, bb float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		ab, aa, bb = ab+x*y, aa+x*x, bb+y*y
	}
	return ab / math.Sqrt(aa*bb)
}
