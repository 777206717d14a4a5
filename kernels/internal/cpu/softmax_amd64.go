//go:build !purego

package cpu

// softmaxAssembly is the assembly of softmaxBodies. n is a positive multiple of vectorLanes.
type softmaxAssembly struct {
	scale       func(dst, x *float32, n int, a float32)
	max         func(x *float32, n int, least float32) float32
	expShift    func(x *float32, n int, shift float32, table *float32) float64
	dot         func(x, y *float32, n int) float64
	softmaxGrad func(p, dp *float32, n int, delta float32)
}

var (
	softmaxAVX2   = softmaxAssembly{scaleAVX2, maxAVX2, expShiftAVX2, dotAVX2, softmaxGradAVX2}
	softmaxAVX512 = softmaxAssembly{
		scaleAVX512, maxAVX512, expShiftAVX512, dotAVX512, softmaxGradAVX512,
	}
)

// bodies use the definitions for the values that do not fill registers.
func (a softmaxAssembly) bodies() softmaxBodies {
	return softmaxBodies{
		scale: func(dst, x []float32, factor float32) {
			n := wholeLanes(len(x))
			if n > 0 {
				_ = dst[n-1]
				a.scale(&dst[0], &x[0], n, factor)
			}
			scaleGeneric(dst[n:], x[n:], factor)
		},
		max: func(x []float32) float32 {
			n := wholeLanes(len(x))
			top := maxGeneric(x[n:])
			if n > 0 {
				top = a.max(&x[0], n, top)
			}
			return top
		},
		expShift: func(x []float32, shift float32) (sum float64) {
			n := wholeLanes(len(x))
			if n > 0 {
				sum = a.expShift(&x[0], n, shift, &activationTable[0][0])
			}
			return sum + expShiftGeneric(x[n:], shift)
		},
		dot: func(x, y []float32) (sum float64) {
			n := wholeLanes(len(x))
			if n > 0 {
				_ = y[n-1]
				sum = a.dot(&x[0], &y[0], n)
			}
			return sum + dotGeneric(x[n:], y[n:])
		},
		softmaxGrad: func(p, dp []float32, delta float32) {
			n := wholeLanes(len(p))
			if n > 0 {
				_ = dp[n-1]
				a.softmaxGrad(&p[0], &dp[0], n, delta)
			}
			softmaxGradGeneric(p[n:], dp[n:], delta)
		},
	}
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
