package cuda

import (
	"fmt"
	"math"
)

// clipThreads is kClipThreads of adamw.cu.
const clipThreads = 1024

// AdamWStepLen is how many float32 values are the step of AdamW. They are the fields of AdamWStep
// of package cpu, in order:
//
//	Keep       1 − lr·decay
//	Beta1
//	Beta2
//	OneMinus1  1 − β₁
//	OneMinus2  1 − β₂
//	Rate       lr / (1 − β₁ᵗ)
//	Unbias     1 / √(1 − β₂ᵗ)
//	Eps
const AdamWStepLen = 8

// AdamW is, for parameters p, the moments m and v of their gradients, and gradients g,
//
//	for i := range p {
//		g := factor[0]*g[i]
//		m[i] = s.Beta1*m[i] + s.OneMinus1*g
//		v[i] = s.Beta2*v[i] + s.OneMinus2*g*g
//		p[i] = s.Keep*p[i] - s.Rate*m[i]/(sqrt(v[i])*s.Unbias+s.Eps)
//		half[i] = p[i]
//	}
//
// up to rounding. All are float32, but for half, which is bfloat16. step and factor are in device
// memory, so that recorded launches can run with new ones: see AdamWStepLen and ClipFactor. factor
// and half may have no values. Without factor it is 1. If the factor is NaN, nothing changes: of a
// step whose gradients are not finite no parameter sees anything.
func AdamW(q *Queue, p, m, v, g, half, step, factor Tensor) {
	mustBe("AdamW", Float32, p.Len, p, m, v, g)
	mustBe("AdamW", Float32, AdamWStepLen, step)
	writes := []Tensor{p, m, v}
	if half.Len > 0 {
		mustBe("AdamW", BFloat16, p.Len, half)
		writes = append(writes, half)
	}
	if factor.Len > 0 {
		mustBe("AdamW", Float32, 1, factor)
	}
	if p.Len == 0 {
		return
	}
	wide := aligned(p, m, v, g, half)
	q.add("adamw_f32", elementGrid(p.Len/unit(Float32, wide)), elementThreads, 0, writes,
		[]Tensor{g, step, factor}, p, m, v, g, half, step, factor, uint64(p.Len), wide)
}

// Blend is a step of an exponential moving average,
//
//	for i := range dst {
//		dst[i] += a[0] * (x[i] - dst[i])
//	}
//
// up to rounding. All are float32.
func Blend(q *Queue, dst, x, a Tensor) {
	mustBe("Blend", Float32, dst.Len, dst, x)
	mustBe("Blend", Float32, 1, a)
	if dst.Len == 0 {
		return
	}
	wide := aligned(dst, x)
	q.add("blend_f32", elementGrid(dst.Len/unit(Float32, wide)), elementThreads, 0,
		[]Tensor{dst}, []Tensor{x, a}, dst, dst, x, a, uint64(dst.Len), wide)
}

// SumSquaresLen returns how many values of memory SumSquares of n values writes. It is 2 for up to
// 4096 values, and 2048 at most.
func SumSquaresLen(n int) int { return 2 * reduceGrid(Float32, n) }

// SumSquares writes partial sums of x[i]² for ClipFactor, in float64. So sums, a float32 tensor of
// SumSquaresLen(x.Len) values at a multiple of 8, holds half as many float64. x is float32.
func SumSquares(q *Queue, sums, x Tensor) {
	mustBe("SumSquares", Float32, x.Len, x)
	mustBe("SumSquares", Float32, SumSquaresLen(x.Len), sums)
	mustBeDoubles("SumSquares", sums)
	blocks := reduceGrid(Float32, x.Len)
	q.add("sum_squares_f32", [3]int{blocks, 1, 1}, reduceThreads, reduceShared, []Tensor{sums},
		[]Tensor{x}, x, sums, uint64(x.Len), aligned(x))
}

// ClipFactor is, with sums that SumSquares wrote for all gradients, one after another,
//
//	norm := √Σ sums[i]
//	dst[0] = min(1, most/(norm + 1e-6))
//	dst[1] = norm
//
// added in this order and in float64. dst has two float32 values. If the norm is not finite, dst[0]
// is NaN. Where nothing is to be clipped, most is +Inf.
func ClipFactor(q *Queue, dst, sums Tensor, most float64) {
	mustBe("ClipFactor", Float32, 2, dst)
	mustBe("ClipFactor", Float32, sums.Len/2*2, sums)
	mustBeDoubles("ClipFactor", sums)
	q.add("clip_f32", [3]int{1, 1, 1}, clipThreads, clipThreads/32*8, []Tensor{dst},
		[]Tensor{sums}, dst, sums, uint64(sums.Len/2), math.Float64bits(most))
}

func mustBeDoubles(kernel string, t Tensor) {
	if t.Address%8 != 0 {
		panic(fmt.Sprintf("cuda: %s: float64 values at %#x, no multiple of 8", kernel, t.Address))
	}
}

// CheckFinite sets flag to number if it is 0 and a value of x is infinite or not a number. So a
// flag that begins as 0 ends as the number of the first check that found one. flag is one value of
// 32 bits, an integer. number is at least 1.
func CheckFinite(q *Queue, flag, x Tensor, number int) {
	mustBe("CheckFinite", Float32, 1, flag)
	if number < 1 {
		panic(fmt.Sprintf("cuda: CheckFinite: number %d", number))
	}
	if x.Len == 0 {
		return
	}
	wide := aligned(x)
	q.add("watch"+x.Type.suffix(), elementGrid(x.Len/unit(x.Type, wide)), elementThreads, 0,
		[]Tensor{flag}, []Tensor{x}, flag, x, uint64(x.Len), number, wide)
}
