package cuda_test

import (
	"fmt"
	"math"
	"os"
	"regexp"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

func sigma(v float64) float64 { return 1 / (1 + math.Exp(-v)) }

func phi(v float64) float64 { return 0.5 * math.Erfc(-v/math.Sqrt2) }

func siluSlope(v float64) float64 {
	if sigma(v) == 0 {
		return 0
	}
	return sigma(v) * (1 + v*sigma(-v))
}

func geluSlope(v float64) float64 {
	return phi(v) + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi)
}

// An activation is a function f, and its gradient dy·f'.
type activation struct {
	f, slope   func(v float64) float64
	fromResult bool // slope is of f(v)

	// What f may err relative to f(v), or to v where toInput is set, and what the gradient may err
	// relative to dy and dy·f', in units of 2⁻²⁴. It is at most twice what package cpu errs, and
	// leaves a unit or two for the functions of a device, which round less well than g++'s.
	error, gradError float64
	toInput          bool
}

var activations = map[string]activation{
	"Exp": {
		f: math.Exp, slope: func(y float64) float64 { return y }, fromResult: true,
		error: 2, gradError: 1,
	},
	"Log": {
		f: math.Log, slope: func(v float64) float64 { return 1 / v },
		error: 2, gradError: 1,
	},
	"ReLU": {
		f: func(v float64) float64 { return max(v, 0) },
		slope: func(v float64) float64 {
			if v <= 0 {
				return 0
			}
			return 1 // for NaN too
		},
	},
	"Sigmoid": {
		f: sigma, slope: func(s float64) float64 { return s * (1 - s) }, fromResult: true,
		error: 3.5, gradError: 1,
	},
	"SiLU": {
		f: func(v float64) float64 { return v * sigma(v) }, slope: siluSlope,
		error: 4, gradError: 4,
	},
	"GELU": {
		f: func(v float64) float64 { return v * phi(v) }, slope: geluSlope,
		error: 2.8, gradError: 4, toInput: true,
	},
	"QuickGELU": {
		f:     func(v float64) float64 { return v * sigma(1.702*v) },
		slope: func(v float64) float64 { return siluSlope(1.702 * v) },
		error: 4, gradError: 4, toInput: true,
	},
	"Softplus": {
		f:     func(v float64) float64 { return max(v, 0) + math.Log1p(math.Exp(-math.Abs(v))) },
		slope: sigma,
		error: 2, gradError: 2,
	},
}

// The table of package kernels has no function that this one lacks.
func TestActivationsAreAll(t *testing.T) {
	source, err := os.ReadFile("../../activation.go")
	if err != nil {
		t.Fatal(err)
	}
	names := regexp.MustCompile(`"(\w+)":\s+\{eval: `).FindAllSubmatch(source, -1)
	if len(names) != len(activations) {
		t.Errorf("package kernels has %d functions, not %d", len(names), len(activations))
	}
	for _, name := range names {
		if _, ok := activations[string(name[1])]; !ok {
			t.Errorf("%s is not tested", name[1])
		}
	}
}

// unary runs a function and its gradient on values of one type.
func unary(
	t *testing.T, name string, typ cuda.Type, offset int, x, dy []float32,
) (y, dx []float32) {
	t.Helper()
	in, out := cudatest.In(typ, x), cudatest.Out(typ, len(x))
	in.Offset = offset
	y = cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.Unary(q, name, at[0], at[1])
	}, out, in)[0]
	if activations[name].fromResult {
		in.Values = y
	}
	dx = cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.UnaryGrad(q, name, at[0], at[1], at[2])
	}, out, in, cudatest.In(typ, dy))[0]
	return y, dx
}

// domain returns values from −30 to 30, tiny and large ones: those that are positive for Log, and
// those whose result is a normal number for Exp.
func domain(name string) []float32 {
	all := []float32{0, 1e-8, -1e-8, 1e-30, -1e-30, 80, -80, -100, 100, 200, -200, 1e20}
	for v := -30.0; v < 30; v += 0.0537 {
		all = append(all, float32(v))
	}
	var x []float32
	for _, v := range all {
		if name == "Log" && v <= 0 || name == "Exp" && !(v > -87 && v < 88) {
			continue
		}
		x = append(x, v)
	}
	return x
}

// mustRound fails the test unless got is a value of type typ that some number within tol of want is
// rounded to.
func mustRound(t *testing.T, typ cuda.Type, at, got float32, want, tol float64) {
	t.Helper()
	low := cudatest.Round(typ, float32(want-tol))
	high := cudatest.Round(typ, float32(want+tol))
	if !(low <= got && got <= high) {
		t.Fatalf("at %v it is %v, not %v ± %.2g", at, got, want, tol)
	}
}

func TestActivations(t *testing.T) {
	for name, f := range activations {
		for _, typ := range types {
			for offset := range 2 {
				t.Run(fmt.Sprint(name, typ, offset), func(t *testing.T) {
					x := rounded(typ, domain(name))
					dy := rounded(typ, normal(len(x)))
					y, dx := unary(t, name, typ, offset, x, dy)
					for i, v := range x {
						want, scale := f.f(float64(v)), math.Abs(float64(v))
						if !f.toInput {
							scale = math.Abs(f.f(float64(v)))
						}
						mustRound(t, typ, v, y[i], want, f.error*0x1p-24*scale+0x1p-126)
						if f.fromResult {
							v = y[i]
						}
						d, slope := float64(dy[i]), f.slope(float64(v))
						scale = math.Abs(d) * max(1, math.Abs(slope))
						mustRound(t, typ, v, dx[i], d*slope, f.gradError*0x1p-24*scale+0x1p-126)
					}
				})
			}
		}
	}
}

// Zeros, infinities, NaN and what overflows give what they give in package cpu, which is what the
// formulas give in float64.
func TestActivationsOfExtremes(t *testing.T) {
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	x := []float32{0, float32(math.Copysign(0, -1)), inf, -inf, nan, 200, -200, 1e30, -1e30, -1}
	dy := []float32{1, -2, 1, -2, 1, -2, 1, -2, 1, -2}
	for name, f := range activations {
		t.Run(name, func(t *testing.T) {
			y, dx := unary(t, name, cuda.Float32, 0, x, dy)
			check := func(what string, at, got float32, value float64) {
				t.Helper()
				want := float32(value)
				ok := got == want || math.Abs(float64(got-want)) <= 1e-6*math.Abs(value)+1e-37
				if want != want {
					ok = got != got
				}
				if want == 0 && what == "result" { // which has a sign
					ok = math.Float32bits(got) == math.Float32bits(want)
				}
				if !ok {
					t.Errorf("the %s at %v is %v, not %v", what, at, got, want)
				}
			}
			for i, v := range x {
				check("result", v, y[i], f.f(float64(v)))
				if f.fromResult {
					v = y[i]
				}
				check("gradient", v, dx[i], float64(dy[i])*f.slope(float64(v)))
			}
		})
	}
}

func TestGEGLU(t *testing.T) {
	for _, typ := range types {
		for _, s := range []struct{ rows, width, offset int }{
			{1, 1, 0}, {3, 8, 0}, {5, 7, 0}, {2, 1288, 0}, {70, 24, 0}, {300, 1, 0}, {3, 16, 1},
			{9, 4, 0},
		} {
			t.Run(fmt.Sprint(typ, s), func(t *testing.T) {
				half := s.rows * s.width
				xs := normals(2*half, half)
				x, dy := rounded(typ, xs[0]), rounded(typ, xs[1])
				for i := range x {
					x[i] *= 2 // exact
				}
				in := cudatest.In(typ, x)
				in.Offset = s.offset
				y := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.GEGLU(q, at[0], at[1], s.width)
				}, cudatest.Out(typ, half), in)[0]
				dx := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
					cuda.GEGLUGrad(q, at[0], at[1], at[2], s.width)
				}, cudatest.Out(typ, 2*half), in, cudatest.In(typ, dy))[0]
				for i := range half {
					at := i + i/s.width*s.width
					value, gate, d := float64(x[at]), float64(x[at+s.width]), float64(dy[i])
					gelu := gate * phi(gate)
					const unit = 0x1p-24
					mustRound(t, typ, x[at], y[i], value*gelu, 3*unit*math.Abs(value*gate))
					mustRound(t, typ, x[at], dx[at], d*gelu, 3*unit*math.Abs(d*gate))
					mustRound(t, typ, x[at+s.width], dx[at+s.width], d*value*geluSlope(gate),
						4*unit*math.Abs(d*value))
				}
			})
		}
	}
}
