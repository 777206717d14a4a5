//go:build !purego

package cpu

// rowBodies is the assembly of the passes over rows of scores and down columns of matrices. n is a positive multiple of
// activationLanes, rows positive.
type rowBodies struct {
	scale       func(dst, x *float32, n int, a float32)
	max         func(x *float32, n int, least float32) float32
	expShift    func(x *float32, n int, shift float32, table *float32) float64
	dot         func(x, y *float32, n int) float64
	softmaxGrad func(p, dp *float32, n int, delta float32)
	moments     func(first, second *float64, x *float32, n, rows int)
	normalize   func(dst, x, mean, rstd, scale, shift *float32, n, rows int)
	gradSums    func(first, second *float64, x, dz, mean, rstd *float32, n, rows int)
	inputGrad   func(dst, x, dz, mean, a, b, d *float32, n, rows int)
}

var (
	rowsAVX2 = rowBodies{
		scaleAVX2, maxAVX2, expShiftAVX2, dotAVX2, softmaxGradAVX2,
		momentsAVX2, normalizeAVX2, gradSumsAVX2, inputGradAVX2,
	}
	rowsAVX512 = rowBodies{
		scaleAVX512, maxAVX512, expShiftAVX512, dotAVX512, softmaxGradAVX512,
		momentsAVX512, normalizeAVX512, gradSumsAVX512, inputGradAVX512,
	}
)

// with returns v with the bodies of b. What does not fill registers is left to the definitions.
func (v vector) with(b rowBodies) vector {
	whole := func(n int) int { return n &^ (activationLanes - 1) }
	v.scale = func(dst, x []float32, a float32) {
		n := whole(len(x))
		if n > 0 {
			_ = dst[n-1]
			b.scale(&dst[0], &x[0], n, a)
		}
		portable.scale(dst[n:], x[n:], a)
	}
	v.max = func(x []float32) float32 {
		n := whole(len(x))
		top := portable.max(x[n:])
		if n > 0 {
			top = b.max(&x[0], n, top)
		}
		return top
	}
	v.expShift = func(x []float32, shift float32) (sum float64) {
		n := whole(len(x))
		if n > 0 {
			sum = b.expShift(&x[0], n, shift, &activationTable[0][0])
		}
		return sum + portable.expShift(x[n:], shift)
	}
	v.dot = func(x, y []float32) (sum float64) {
		n := whole(len(x))
		if n > 0 {
			_ = y[n-1]
			sum = b.dot(&x[0], &y[0], n)
		}
		return sum + portable.dot(x[n:], y[n:])
	}
	v.softmaxGrad = func(p, dp []float32, delta float32) {
		n := whole(len(p))
		if n > 0 {
			_ = dp[n-1]
			b.softmaxGrad(&p[0], &dp[0], n, delta)
		}
		portable.softmaxGrad(p[n:], dp[n:], delta)
	}
	// fits says that columns fill registers and that every matrix has the rows of x.
	fits := func(columns int, x []float32, others ...[]float32) bool {
		for _, o := range others {
			_ = o[len(x)-1]
		}
		return whole(columns) == columns
	}
	v.moments = func(first, second []float64, x []float32) {
		if !fits(len(first), x) {
			portable.moments(first, second, x)
			return
		}
		b.moments(&first[0], &second[0], &x[0], len(first), len(x)/len(first))
	}
	v.normalize = func(dst, x, mean, rstd, scale, shift []float32) {
		if !fits(len(mean), x, dst) {
			portable.normalize(dst, x, mean, rstd, scale, shift)
			return
		}
		b.normalize(&dst[0], &x[0], &mean[0], &rstd[0], &scale[0], &shift[0], len(mean), len(x)/len(mean))
	}
	v.gradSums = func(first, second []float64, x, dz, mean, rstd []float32) {
		if !fits(len(first), x, dz) {
			portable.gradSums(first, second, x, dz, mean, rstd)
			return
		}
		b.gradSums(&first[0], &second[0], &x[0], &dz[0], &mean[0], &rstd[0], len(first), len(x)/len(first))
	}
	v.inputGrad = func(dst, x, dz, mean, a, bb, d []float32) {
		if !fits(len(mean), x, dst, dz) {
			portable.inputGrad(dst, x, dz, mean, a, bb, d)
			return
		}
		b.inputGrad(&dst[0], &x[0], &dz[0], &mean[0], &a[0], &bb[0], &d[0], len(mean), len(x)/len(mean))
	}
	return v
}

//go:noescape
func scaleAVX2(dst, x *float32, n int, a float32)

//go:noescape
func scaleAVX512(dst, x *float32, n int, a float32)

//go:noescape
func maxAVX2(x *float32, n int, least float32) float32

//go:noescape
func maxAVX512(x *float32, n int, least float32) float32

//go:noescape
func expShiftAVX2(x *float32, n int, shift float32, table *float32) float64

//go:noescape
func expShiftAVX512(x *float32, n int, shift float32, table *float32) float64

//go:noescape
func dotAVX2(x, y *float32, n int) float64

//go:noescape
func dotAVX512(x, y *float32, n int) float64

//go:noescape
func softmaxGradAVX2(p, dp *float32, n int, delta float32)

//go:noescape
func softmaxGradAVX512(p, dp *float32, n int, delta float32)

//go:noescape
func momentsAVX2(first, second *float64, x *float32, n, rows int)

//go:noescape
func momentsAVX512(first, second *float64, x *float32, n, rows int)

//go:noescape
func normalizeAVX2(dst, x, mean, rstd, scale, shift *float32, n, rows int)

//go:noescape
func normalizeAVX512(dst, x, mean, rstd, scale, shift *float32, n, rows int)

//go:noescape
func gradSumsAVX2(first, second *float64, x, dz, mean, rstd *float32, n, rows int)

//go:noescape
func gradSumsAVX512(first, second *float64, x, dz, mean, rstd *float32, n, rows int)

//go:noescape
func inputGradAVX2(dst, x, dz, mean, a, b, d *float32, n, rows int)

//go:noescape
func inputGradAVX512(dst, x, dz, mean, a, b, d *float32, n, rows int)
