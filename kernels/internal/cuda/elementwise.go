package cuda

import (
	"fmt"
	"math"
	"math/bits"
)

const (
	// elementThreads and elementBatch are kElementThreads and kElementBatch of elements.cuh.
	elementThreads = 256
	elementBatch   = 2

	// elementBlocks bounds the grid of a kernel whose threads go on to further values. So many
	// blocks fill the largest devices several times over.
	elementBlocks = 2048
)

// elementGrid is the grid of a kernel over n units. A unit is what a thread moves at once.
func elementGrid(n int) [3]int {
	return [3]int{max(1, ceilDiv(n, elementThreads*elementBatch)), 1, 1}
}

// unit returns how many values of type t a unit has: those of 16 bytes where wide is true.
func unit(t Type, wide bool) int {
	if wide {
		return 16 / t.Size()
	}
	return 1
}

// divisor returns what quotient of elements.cuh divides by d with, for all i < n.
func divisor(d, n int) uint64 {
	switch {
	case d >= n:
		return 1 // the upper half of i·1 is 0
	case d == 1:
		return 0 // quotient takes it for no division
	}
	// With m = ⌈2⁶⁴/d⌉, i·m/2⁶⁴ is i/d and less than i·d/2⁶⁴ d-ths more.
	// That is below 1/d.
	if hi, _ := bits.Mul64(uint64(d), uint64(n)); hi != 0 {
		panic(fmt.Sprintf("cuda: %d units are too many to be divided by %d", n, d))
	}
	return math.MaxUint64/uint64(d) + 1
}

// elements appends dst = f(x, y, a), value by value. f may need no y, which has no values then.
// dst may be x or y.
func (q *Queue) elements(kernel string, dst, x, y Tensor, a float64) {
	n := dst.Len
	mustBe(kernel, dst.Type, n, x)
	if n == 0 {
		return
	}
	wide := aligned(dst, x, y)
	q.add(kernel+dst.Type.suffix(), elementGrid(n/unit(dst.Type, wide)), elementThreads, 0,
		[]Tensor{dst}, []Tensor{x, y}, dst, x, y, uint64(n), a, wide)
}

// pairs is elements for an f that needs y.
func (q *Queue) pairs(kernel string, dst, x, y Tensor, a float64) {
	mustBe(kernel, dst.Type, dst.Len, x, y)
	q.elements(kernel, dst, x, y, a)
}

// Add is dst[i] = x[i] + y[i]. dst may be x or y.
func Add(q *Queue, dst, x, y Tensor) { q.pairs("add", dst, x, y, 0) }

// Mul is dst[i] = x[i]·y[i]. dst may be x or y.
func Mul(q *Queue, dst, x, y Tensor) { q.pairs("mul", dst, x, y, 0) }

// Scale is dst[i] = a·x[i]. dst may be x.
func Scale(q *Queue, dst, x Tensor, a float64) { q.elements("scale", dst, x, Tensor{}, a) }

// SubScale is dst[i] = a·(x[i] − y[i]). dst may be x or y.
func SubScale(q *Queue, dst, x, y Tensor, a float64) { q.pairs("sub", dst, x, y, a) }

// SignScale is dst[i] = a·sign(x[i] − y[i]). dst may be x or y.
func SignScale(q *Queue, dst, x, y Tensor, a float64) { q.pairs("sign", dst, x, y, a) }

// SubScaleBy is SubScale with factors from device memory. by is a scalar. weight has a value for
// each of N samples, which have size = len(dst)/N values each:
//
//	dst[i] = a · by[0] · weight[i/size] · (x[i] − y[i])
//
// Both are float32. A weight of no values is 1 for all.
func SubScaleBy(q *Queue, dst, x, y Tensor, a float64, by, weight Tensor) {
	q.gradient("sub_by", dst, x, y, a, by, weight)
}

// SignScaleBy is SignScale with factors from device memory, as SubScaleBy has them:
//
//	dst[i] = a · by[0] · weight[i/size] · sign(x[i] − y[i])
func SignScaleBy(q *Queue, dst, x, y Tensor, a float64, by, weight Tensor) {
	q.gradient("sign_by", dst, x, y, a, by, weight)
}

func (q *Queue) gradient(kernel string, dst, x, y Tensor, a float64, by, weight Tensor) {
	n, samples := dst.Len, max(1, weight.Len)
	mustBe(kernel, dst.Type, n, x, y)
	mustBe(kernel, Float32, 1, by)
	mustBe(kernel, Float32, weight.Len, weight)
	if n%samples != 0 {
		panic(fmt.Sprintf("cuda: %s: %d values of %d samples", kernel, n, samples))
	}
	if n == 0 {
		return
	}
	if weight.Len == 0 {
		weight = Tensor{} // the kernel takes its address for none
	}
	size := n / samples
	wide := aligned(dst, x, y) && (samples == 1 || size%unit(dst.Type, true) == 0)
	q.add(kernel+dst.Type.suffix(), elementGrid(n/unit(dst.Type, wide)), elementThreads, 0,
		[]Tensor{dst}, []Tensor{x, y, by, weight},
		dst, x, y, by, weight, uint64(n), divisor(size, n), a, wide)
}

// Fill is dst[i] = a.
func Fill(q *Queue, dst Tensor, a float64) { q.fill(dst, Tensor{}, a) }

// FillWith is dst[i] = x[0], where x is a float32 scalar.
func FillWith(q *Queue, dst, x Tensor) {
	mustBe("fill", Float32, 1, x)
	q.fill(dst, x, 0)
}

func (q *Queue) fill(dst, x Tensor, a float64) {
	n := dst.Len
	if n == 0 {
		return
	}
	wide := aligned(dst)
	q.add("fill"+dst.Type.suffix(), elementGrid(n/unit(dst.Type, wide)), elementThreads, 0,
		[]Tensor{dst}, []Tensor{x}, dst, x, Tensor{}, uint64(n), a, wide)
}

// ToBF16s is dst[i] = x[i], rounded to the nearest bfloat16. Of two that are equally near it is the
// one whose last bit is 0. Values that are too large become infinite. NaN stays NaN.
func ToBF16s(q *Queue, dst, x Tensor) {
	mustBe("to_bf16", BFloat16, x.Len, dst)
	mustBe("to_bf16", Float32, dst.Len, x)
	q.convert("to_bf16", dst, x)
}

// FromBF16s is dst[i] = x[i] for bfloat16 values x and float32 values dst.
func FromBF16s(q *Queue, dst, x Tensor) {
	mustBe("from_bf16", Float32, x.Len, dst)
	mustBe("from_bf16", BFloat16, dst.Len, x)
	q.convert("from_bf16", dst, x)
}

// convert moves 4 values at once, which are 8 bytes of bfloat16 and 16 of float32.
func (q *Queue) convert(kernel string, dst, x Tensor) {
	n := dst.Len
	if n == 0 {
		return
	}
	wide := dst.Address%uint64(4*dst.Type.Size()) == 0 && x.Address%uint64(4*x.Type.Size()) == 0
	units := n
	if wide {
		units = n / 4
	}
	q.add(kernel, elementGrid(units), elementThreads, 0,
		[]Tensor{dst}, []Tensor{x}, dst, x, uint64(n), wide)
}
