package cuda_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// A normCase is a normalization with its inputs, and what a norm and its gradients are.
type normCase struct {
	cuda.NormShape
	x, dy, scale, shift []float32
	far                 bool // x is so far from 0 that package cpu errs much
}

// normCaseOf returns inputs, which are rounded to type t.
func normCaseOf(s cuda.NormShape, t cuda.Type) normCase {
	n := s.N * s.P * s.C
	v := normal(2*n + 2*s.C)
	c := normCase{NormShape: s, x: v[:n], dy: v[n:][:n], scale: v[2*n:][:s.C], shift: v[2*n+s.C:]}
	for i := range c.x {
		c.x[i] = 3*c.x[i] + 1
	}
	c.round(t)
	return c
}

func (c normCase) round(t cuda.Type) {
	for i := range c.x {
		c.x[i], c.dy[i] = cudatest.Round(t, c.x[i]), cudatest.Round(t, c.dy[i])
	}
}

// definition is the formulas, in float64. It returns y, dx, dscale and dshift, and of each the
// largest value or term.
func (c normCase) definition() (r [4][]float64, largest [4]float64) {
	for i, n := range []int{len(c.x), len(c.x), c.C, c.C} {
		r[i] = make([]float64, n)
	}
	width := c.C / c.Groups
	count := float64(c.P * width)
	normal, dz := make([]float64, len(c.x)), make([]float64, len(c.x))
	for n := range c.N {
		for g := range c.Groups {
			each := func(f func(i, ch int)) {
				for p := range c.P {
					for k := range width {
						ch := g*width + k
						f((n*c.P+p)*c.C+ch, ch)
					}
				}
			}
			var mean, variance, m1, m2 float64
			each(func(i, _ int) { mean += float64(c.x[i]) / count })
			each(func(i, _ int) { variance += math.Pow(float64(c.x[i])-mean, 2) / count })
			rstd := 1 / math.Sqrt(variance+c.Eps)
			each(func(i, ch int) {
				normal[i] = (float64(c.x[i]) - mean) * rstd
				z := normal[i]*float64(c.scale[ch]) + float64(c.shift[ch])
				r[0][i], dz[i] = z, float64(c.dy[i])
				if c.SiLU {
					s := 1 / (1 + math.Exp(-z))
					r[0][i] = z * s
					dz[i] *= s * (1 + z*(1-s))
				}
				m1 += float64(c.scale[ch]) * dz[i] / count
				m2 += float64(c.scale[ch]) * dz[i] * normal[i] / count
				r[2][ch] += dz[i] * normal[i]
				r[3][ch] += dz[i]
			})
			each(func(i, ch int) {
				r[1][i] = rstd * (float64(c.scale[ch])*dz[i] - m1 - normal[i]*m2)
				largest[1] = max(largest[1], math.Abs(rstd*float64(c.scale[ch])*dz[i]))
			})
		}
	}
	for i, values := range r {
		for _, v := range values {
			largest[i] = max(largest[i], math.Abs(v))
		}
	}
	return r, largest
}

// onCPU is what package cpu returns.
func (c normCase) onCPU() [4][]float32 {
	var r [4][]float32
	for i, n := range []int{len(c.x), len(c.x), c.C, c.C} {
		r[i] = make([]float32, n)
	}
	pool := cpu.NewPool(1)
	s := cpu.NormShape(c.NormShape)
	ws := make([]float32, s.Workspace())
	cpu.Norm(pool, s, r[0], c.x, c.scale, c.shift, ws)
	cpu.NormInputGrad(pool, s, r[1], c.x, c.scale, c.shift, c.dy, ws)
	cpu.NormParamGrad(pool, s, r[2], r[3], c.x, c.scale, c.shift, c.dy, ws)
	return r
}

// check compares the kernels with the definition. Float32 results err at most twice as much as
// those of package cpu, which adds up in float64, and two roundings more of the largest term, or
// four in sums. If x is far from 0, y errs by the latter alone. Bfloat16 results are rounded once
// more. offset is that of all operands.
func (c normCase) check(t *testing.T, typ cuda.Type, offset int, run checker) {
	t.Helper()
	bytes := []int{
		cuda.NormWorkspace(c.NormShape), cuda.NormInputGradWorkspace(c.NormShape),
		cuda.NormParamGradWorkspace(c.NormShape),
	}
	operands := []cudatest.Operand{
		cudatest.Out(typ, len(c.x)), cudatest.Out(typ, len(c.x)),
		cudatest.Out(cuda.Float32, c.C), cudatest.Out(cuda.Float32, c.C),
		cudatest.Out(cuda.Float32, bytes[0]/4), cudatest.Out(cuda.Float32, bytes[1]/4),
		cudatest.Out(cuda.Float32, bytes[2]/4),
		cudatest.In(typ, c.x), cudatest.In(typ, c.dy),
		cudatest.In(cuda.Float32, c.scale), cudatest.In(cuda.Float32, c.shift),
	}
	for i := range operands {
		operands[i].Offset = offset
	}
	params := run
	if c.C > 64 {
		params = cudatest.CheckPlain // there would be too many threads for the sanitizer
	}
	got := run(t, func(q *cuda.Queue, at []cuda.Tensor) {
		x, dy, scale, shift := at[7], at[8], at[9], at[10]
		cuda.Norm(q, c.NormShape, at[0], x, scale, shift, at[4])
		cuda.NormInputGrad(q, c.NormShape, at[1], x, scale, shift, dy, at[5])
	}, operands...)
	copy(got[2:4], params(t, func(q *cuda.Queue, at []cuda.Tensor) {
		x, dy, scale, shift := at[7], at[8], at[9], at[10]
		cuda.NormParamGrad(q, c.NormShape, at[2], at[3], x, scale, shift, dy, at[6])
	}, operands...)[2:4])
	want, largest := c.definition()
	onCPU := c.onCPU()
	for r, name := range []string{"y", "dx", "dscale", "dshift"} {
		var theirs, ours, squares, theirSquares float64
		for i, w := range want[r] {
			theirs = max(theirs, math.Abs(float64(onCPU[r][i])-w))
		}
		if c.far && r == 0 {
			theirs = 0
		}
		for i, w := range want[r] {
			err := math.Abs(float64(got[r][i]) - w)
			tolerance := 2*theirs + largest[r]/(1<<23)
			if r >= 2 {
				tolerance += largest[r] / (1 << 23)
			} else if typ == cuda.BFloat16 {
				tolerance += math.Abs(w) / (1 << 8)
			}
			if !(err <= tolerance) && !(ours > err) {
				const format = "%s[%d] is %v, not %v: it may differ by %g"
				t.Errorf(format, name, i, got[r][i], w, tolerance)
			}
			ours = max(ours, err)
			squares += err * err
			theirSquares += math.Pow(float64(onCPU[r][i])-w, 2)
		}
		if testing.Verbose() {
			const format = "%-6s largest %8.3g, error %8.2g, on the CPU %8.2g, rms ratio %.2f"
			t.Logf(format, name, largest[r], ours, theirs, math.Sqrt(squares/theirSquares))
		}
	}
}

func TestNorm(t *testing.T) {
	for _, c := range []struct {
		n, p, c, groups int
		silu            bool
		offset          int
	}{
		{1, 1, 1, 1, true, 0},
		{2, 60, 40, 4, false, 0},  // groups of 10 channels, 16 bytes at a time
		{2, 60, 40, 4, true, 0},   //
		{2, 60, 40, 4, false, 1},  // not aligned
		{3, 5, 7, 7, true, 0},     // one channel a group, an odd number of them
		{1, 5, 24, 24, false, 0},  // one channel a group, 16 bytes at a time
		{1, 560, 6, 3, true, 0},   // several pieces of a sample
		{1, 1100, 16, 2, true, 0}, //
		{1, 3, 2056, 1, true, 0},  // groups that are cut into slices
		{1, 3, 602, 2, true, 0},   // slices that are not aligned
		{2, 1, 24, 3, true, 0},    // one position
		{5, 1, 320, 1, false, 0},  // layer norm, a warp a row
		{5, 1, 64, 1, true, 0},    //
		{3, 1, 33, 1, false, 0},   // rows of an odd length
		{3, 1, 64, 1, true, 1},    // rows that are not aligned
		{2, 1, 2304, 1, true, 0},  // a block a row
		{2, 1, 1, 1, false, 0},    //
	} {
		for _, typ := range []cuda.Type{cuda.Float32, cuda.BFloat16} {
			t.Run(fmt.Sprint(typ, c), func(t *testing.T) {
				s := cuda.NormShape{N: c.n, P: c.p, C: c.c, Groups: c.groups, SiLU: c.silu}
				s.Eps = 1e-5
				normCaseOf(s, typ).check(t, typ, c.offset, cudatest.Check)
			})
		}
	}
}

// TestNormLarge has what is too large for the sanitizers.
func TestNormLarge(t *testing.T) {
	for _, c := range []struct {
		n, p, c, groups int
		silu            bool
	}{
		{2, 256, 320, 32, true}, // several tiles and pieces
		{1, 4000, 16, 2, false}, // long sums
		{1, 2000, 64, 64, true}, // several batches of a thread
		{1026, 5, 32, 8, true},  // blocks that add up the channels of several samples
		{150, 1, 320, 1, true},  // layer norm, in all ways to hold a row
		{3, 1, 768, 1, false},
		{3, 1, 1280, 1, true},
		{2, 1, 6000, 1, false},
		{2, 1, 12000, 1, true},
		{2, 1, 20000, 1, false}, // rows that are too long for that
		{3, 2, 4104, 2, false},  // groups that are cut, and end within 16 bytes
	} {
		for _, typ := range []cuda.Type{cuda.Float32, cuda.BFloat16} {
			t.Run(fmt.Sprint(typ, c), func(t *testing.T) {
				s := cuda.NormShape{N: c.n, P: c.p, C: c.c, Groups: c.groups, SiLU: c.silu}
				s.Eps = 1e-5
				normCaseOf(s, typ).check(t, typ, 0, cudatest.CheckPlain)
			})
		}
	}
}

// TestNormPrecision has values whose squares must not be added up.
func TestNormPrecision(t *testing.T) {
	for name, change := range map[string]func(x []float32){
		"far from 0": func(x []float32) {
			for i := range x {
				x[i] = 1000 + x[i]/3
			}
		},
		"one is far away":      func(x []float32) { x[0] = 1e5 },
		"one is nearly as far": func(x []float32) { x[len(x)/2+1] = -3000 },
		"all are the same": func(x []float32) {
			for i := range x {
				x[i] = 0.1
			}
		},
		"two values": func(x []float32) {
			for i := range x {
				x[i] = []float32{-1.1, 1.1}[i/3%2]
			}
		},
	} {
		for _, s := range []cuda.NormShape{
			{N: 1, P: 700, C: 16, Groups: 2}, {N: 2, P: 1, C: 640, Groups: 1},
			{N: 2, P: 1, C: 641, Groups: 1}, {N: 1, P: 2, C: 3000, Groups: 1},
		} {
			t.Run(fmt.Sprint(name, s), func(t *testing.T) {
				s.Eps = 1e-5
				c := normCaseOf(s, cuda.Float32)
				c.far = name == "far from 0"
				change(c.x)
				c.check(t, cuda.Float32, 0, cudatest.CheckPlain)
			})
		}
	}
}

// TestNormDeviation has groups whose mean is 0 and whose σ²+ε is exact. So it sees the error of
// 1/√(σ²+ε), which is that of all values of a group, and the rounding of its product with x.
// Without a step of Newton's method they are 1.8 times 2⁻²⁴.
func TestNormDeviation(t *testing.T) {
	const groups, eps = 1024, 1.0 / (1 << 16)
	zeros := make([]float32, groups)
	for _, s := range []cuda.NormShape{
		{N: 1, P: 2, C: groups, Groups: groups, Eps: eps},
		{N: groups, P: 1, C: 4, Groups: 1, Eps: eps},
	} {
		n := s.N * s.P * s.C
		x, want := make([]float32, n), make([]float64, n)
		for i := range x {
			group, negative := i%groups, i < groups
			if s.P == 1 {
				group, negative = i/s.C, i%2 == 0
			}
			v := float64(3*group+1) / 256
			if negative {
				v = -v
			}
			x[i], want[i] = float32(v), v/math.Sqrt(v*v+eps)
		}
		ones := slices.Repeat([]float32{1}, s.C)
		got := cudatest.CheckPlain(t, func(q *cuda.Queue, at []cuda.Tensor) {
			cuda.Norm(q, s, at[0], at[1], at[2], at[3], at[4])
		}, cudatest.Out(cuda.Float32, n), cudatest.In(cuda.Float32, x),
			cudatest.In(cuda.Float32, ones), cudatest.In(cuda.Float32, zeros[:s.C]),
			cudatest.Out(cuda.Float32, cuda.NormWorkspace(s)/4))[0]
		var worst float64
		for i, w := range want {
			e := math.Abs(float64(got[i])-w) / math.Abs(w)
			worst = max(worst, e)
			if !(e <= 1.5/(1<<24)) {
				t.Fatalf("%+v: value %d is %v, not %v", s, i, got[i], w)
			}
		}
		t.Logf("%+v: it errs by %.2f·2⁻²⁴", s, worst*(1<<24))
	}
}

// TestNormEmpty has no samples: the gradients of the parameters are 0.
func TestNormEmpty(t *testing.T) {
	s := cuda.NormShape{P: 3, C: 5, Groups: 1, Eps: 1}
	none := cudatest.Out(cuda.Float32, 0)
	param := cudatest.In(cuda.Float32, normal(5))
	grad := cudatest.Out(cuda.Float32, 5)
	got := cudatest.Check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		cuda.Norm(q, s, at[0], at[0], at[1], at[1], at[0])
		cuda.NormInputGrad(q, s, at[0], at[0], at[1], at[1], at[0], at[0])
		cuda.NormParamGrad(q, s, at[2], at[3], at[0], at[1], at[1], at[0], at[0])
	}, none, param, grad, grad)
	for i := range 5 {
		if got[2][i] != 0 || got[3][i] != 0 {
			t.Fatalf("the gradients are %v and %v", got[2], got[3])
		}
	}
}
