package cpu

type (
	unary  = func(dst, x []float32)
	binary = func(dst, x, y []float32)
)

// A vector is the single-threaded bodies of one instruction set over contiguous values. The portable one is the
// definition of each; the others agree with it up to rounding. dst may be x or y itself.
type vector struct {
	name string

	add, mul binary
	scale    func(dst, x []float32, a float32)

	exp, sigmoid, silu, gelu, quickGELU, relu unary
	// dst = y · f'(x); for sigmoid and exp in terms of the result: x is f's value.
	sigmoidGrad, siluGrad, geluGrad, quickGELUGrad, reluGrad binary
	// dst = value · gelu(gate), and its gradients.
	geglu     func(dst, value, gate []float32)
	gegluGrad func(dvalue, dgate, value, gate, dy []float32)

	sum      func(x []float32) float64    // Σ x
	dot      func(x, y []float32) float64 // Σ x·y
	sumAbs   func(x, y []float32) float64 // Σ |x−y|
	sumSq    func(x, y []float32) float64 // Σ (x−y)²
	subScale func(dst, x, y []float32, a float32)
	// dst = a·sign(x−y)
	signScale func(dst, x, y []float32, a float32)

	max         func(x []float32) float32                // −Inf for no values; NaN is passed over
	expShift    func(x []float32, shift float32) float64 // x = exp(x−shift), returning the sum
	softmaxGrad func(p, dp []float32, delta float32)     // p = p·(dp − delta)

	// What follows goes down the columns of matrices [rows,C] that lie in x, dz and dst.
	//
	// moments is first[c] = Σ x[c] and second[c] = Σ x[c]² over the rows.
	moments func(first, second []float64, x []float32)
	// normalize is dst = (x−mean[c])·rstd[c]·scale[c] + shift[c].
	normalize func(dst, x, mean, rstd, scale, shift []float32)
	// gradSums is first[c] = Σ dz and second[c] = Σ dz·(x−mean[c])·rstd[c] over the rows.
	gradSums func(first, second []float64, x, dz, mean, rstd []float32)
	// inputGrad is dst = dz·a[c] + (x−mean[c])·b[c] + d[c].
	inputGrad func(dst, x, dz, mean, a, b, d []float32)
}

// vec is what this machine runs: the widest vector it has.
var vec = portable
