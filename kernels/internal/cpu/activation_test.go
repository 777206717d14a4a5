package cpu

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestVectors compares every elementwise body of every instruction set with its definition in
// float64.
func TestVectors(t *testing.T) {
	sigmoid := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	slope := func(v float64) float64 { return sigmoid(v) * (1 + v*(1-sigmoid(v))) }
	normal := func(v float64) float64 { return 0.5 * math.Erfc(-v/math.Sqrt2) }
	bell := func(v float64) float64 { return normal(v) + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi) }
	var xs []float32
	for v := -30.0; v < 30; v += 0.0137 {
		xs = append(xs, float32(v))
	}
	xs = append(xs, 0, 1e-8, -1e-8, 80, -80)
	ys := make([]float32, len(xs))
	for i := range ys {
		ys[i] = float32(math.Sin(float64(i)))
	}
	type function = func(x, y float64) float64
	result := function(nil) // the error is relative to the result itself
	byX := func(x, _ float64) float64 { return math.Abs(x) }
	byY := func(_, y float64) float64 { return math.Abs(y) }
	gelu := func(x, _ float64) float64 { return x * normal(x) }
	quickGELU := func(x, _ float64) float64 { return x * sigmoid(1.702*x) }
	// 1.702 is rounded, and the product with x again.
	twice := func(x, _ float64) float64 { return 2 * math.Abs(x*sigmoid(1.702*x)) }
	for _, v := range vectors {
		for _, c := range []struct {
			name       string
			unary      unary
			binary     binary
			definition function
			scale      function // what the error is relative to
		}{
			{"exp", v.exp, nil, func(x, _ float64) float64 { return math.Exp(x) }, result},
			{"sigmoid", v.sigmoid, nil, func(x, _ float64) float64 { return sigmoid(x) }, result},
			{"silu", v.silu, nil, func(x, _ float64) float64 { return x * sigmoid(x) }, result},
			{"quickGELU", v.quickGELU, nil, quickGELU, twice},
			{"gelu", v.gelu, nil, gelu, byX},
			{"siluGrad", nil, v.siluGrad, func(x, y float64) float64 { return y * slope(x) }, byY},
			{
				"quickGELUGrad", nil, v.quickGELUGrad,
				func(x, y float64) float64 { return y * slope(1.702*x) }, byY,
			},
			{"geluGrad", nil, v.geluGrad, func(x, y float64) float64 { return y * bell(x) }, byY},
			{"add", nil, v.add, func(x, y float64) float64 { return x + y }, result},
			{"mul", nil, v.mul, func(x, y float64) float64 { return x * y }, result},
		} {
			got := make([]float32, len(xs))
			if c.unary != nil {
				c.unary(got, xs)
			} else {
				c.binary(got, xs, ys)
			}
			worst, at := 0.0, 0
			for i, x := range xs {
				want := c.definition(float64(x), float64(ys[i]))
				size := math.Abs(want)
				if c.scale != nil {
					size = c.scale(float64(x), float64(ys[i]))
				}
				// The condition of e^x: the rounding of its argument alone is worth |x| units.
				size *= 1 + math.Abs(float64(x))/8
				if d := math.Abs(float64(got[i])-want) / (size + 1e-37); !(d <= worst) {
					worst, at = d, i
				}
			}
			require.LessOrEqual(t, worst, 5e-7, "%s %s(%v) = %v", v.name, c.name, xs[at], got[at])
			t.Logf("%s %s: %.2g", v.name, c.name, worst)
		}
		nan := []float32{float32(math.NaN())}
		for len(nan) < 19 {
			nan = append(nan, nan[0])
		}
		for name, f := range map[string]unary{
			"exp": v.exp, "sigmoid": v.sigmoid, "silu": v.silu, "gelu": v.gelu,
		} {
			got := make([]float32, len(nan))
			f(got, nan)
			for _, g := range got {
				require.True(t, g != g, "%s %s of NaN is %v", v.name, name, g)
			}
		}
	}
}
