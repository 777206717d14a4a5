package cpu

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// wiggle returns n values between -1 and 1 that look random.
func wiggle(n int, seed float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Sin(float64(i+1) * (seed + 1.7)))
	}
	return x
}

// excess is how often a body may err what the plain float32 definition errs.
const excess = 2

// worst is the largest distance between got and want.
func worst(got []float32, want []float64) float64 {
	d := 0.0
	for i, x := range got {
		d = math.Max(d, math.Abs(float64(x)-want[i])) // NaN stays
	}
	return d
}

func TestUpdatersFollowTheDefinition(t *testing.T) {
	for _, u := range updaters {
		for _, n := range []int{0, 1, 31, 32, 33, 64, 100, 1000} {
			s := NewAdamWStep(3, 0.01, 0.9, 0.999, 1e-8, 0.1)
			run := func(u *updater) (p, m, v []float32) {
				p, m, v = wiggle(n, 1), wiggle(n, 2), wiggle(n, 3)
				for i := range v {
					v[i] *= v[i]
				}
				u.adamw(p, m, v, wiggle(n, 4), &s)
				return p, m, v
			}
			p, m, v := run(u)
			p0, m0, v0 := run(&updaterGeneric)
			wp, wm, wv := make([]float64, n), make([]float64, n), make([]float64, n)
			g, q := wiggle(n, 4), wiggle(n, 3)
			for i, x := range wiggle(n, 2) {
				wm[i] = float64(s.Beta1)*float64(x) + float64(s.OneMinus1)*float64(g[i])
				square := float64(g[i]) * float64(g[i])
				wv[i] = float64(s.Beta2)*float64(q[i]*q[i]) + float64(s.OneMinus2)*square
			}
			for i, x := range wiggle(n, 1) {
				root := math.Sqrt(wv[i])*float64(s.Unbias) + float64(s.Eps)
				wp[i] = float64(s.Keep)*float64(x) - float64(s.Rate)*wm[i]/root
			}
			require.True(t, worst(p, wp) <= excess*worst(p0, wp), "%s: p of %d", u.name, n)
			require.True(t, worst(m, wm) <= excess*worst(m0, wm), "%s: m of %d", u.name, n)
			require.True(t, worst(v, wv) <= excess*worst(v0, wv), "%s: v of %d", u.name, n)

			x := wiggle(n, 5)
			want := 0.0
			for _, y := range x {
				want += float64(y) * float64(y)
			}
			require.InDelta(t, want, u.sumSquares(x), 1e-12*want, "%s: squares of %d", u.name, n)

			dst, plain := wiggle(n, 6), wiggle(n, 6)
			u.blend(dst, x, 0.3)
			blendGeneric(plain, x, 0.3)
			blended := make([]float64, n)
			for i, y := range wiggle(n, 6) {
				blended[i] = float64(y) + float64(float32(0.3))*(float64(x[i])-float64(y))
			}
			allowed := excess * worst(plain, blended)
			require.True(t, worst(dst, blended) <= allowed, "%s: blend of %d", u.name, n)
		}
	}
}

// TestUpdatesDoNotDependOnWorkers compares the bits with one worker and with three.
func TestUpdatesDoNotDependOnWorkers(t *testing.T) {
	const n = 5*updateBlock + 77
	run := func(workers int) ([]float32, float64) {
		pool := NewPool(workers)
		p, m, v, g := wiggle(n, 1), wiggle(n, 2), make([]float32, n), wiggle(n, 4)
		AdamW(pool, p, m, v, g, NewAdamWStep(1, 0.01, 0.9, 0.999, 1e-8, 0.1))
		Blend(pool, p, g, 0.25)
		return p, SumSquares(pool, p, make([]float64, SumSquaresWorkspace(n)))
	}
	p, sum := run(1)
	q, same := run(3)
	require.Equal(t, p, q)
	require.Equal(t, sum, same)
}

func TestUpdatesPanicOnMisuse(t *testing.T) {
	x, y := make([]float32, 3), make([]float32, 4)
	for text, misuse := range map[string]func(){
		"cpu: AdamW: 3 parameters, moments of 3 and 4, 3 gradients": func() {
			AdamW(Shared, x, x, y, x, AdamWStep{})
		},
		"cpu: Blend: 3 and 4 values":                    func() { Blend(Shared, x, y, 1) },
		"cpu: SumSquares: 0 values of workspace, not 1": func() { SumSquares(Shared, x, nil) },
	} {
		require.PanicsWithValue(t, text, misuse)
	}
}

func BenchmarkAdamW(b *testing.B) {
	const n = 8 << 20
	p, m, v, g := wiggle(n, 1), make([]float32, n), make([]float32, n), wiggle(n, 2)
	s := NewAdamWStep(1, 1e-4, 0.9, 0.999, 1e-8, 0.01)
	b.SetBytes(28 * n) // seven streams
	for b.Loop() {
		AdamW(Shared, p, m, v, g, s)
	}
}

func BenchmarkSumSquares(b *testing.B) {
	x := wiggle(8<<20, 1)
	ws := make([]float64, SumSquaresWorkspace(len(x)))
	b.SetBytes(int64(4 * len(x)))
	for b.Loop() {
		SumSquares(Shared, x, ws)
	}
}
