package cuda

import (
	"fmt"
	"strings"
)

// Unary is dst[i] = f(x[i]) for a function f. dst may be x. The functions, with the logistic
// function σ(v) = 1/(1 + e^−v) and the standard normal distribution function Φ, are
//
//	Exp        e^v
//	GELU       v·Φ(v)
//	Log        ln v
//	QuickGELU  v·σ(1.702·v)
//	ReLU       max(v, 0), NaN for NaN
//	SiLU       v·σ(v)
//	Sigmoid    σ(v)
//	Softplus   ln(1 + e^v)
func Unary(q *Queue, function string, dst, x Tensor) {
	q.elements(kernelOf(function), dst, x, Tensor{}, 0)
}

// UnaryGrad is the gradient of Unary: dx[i] = dy[i]·f'(v). xy[i] is v, the input of f. For Exp and
// Sigmoid it is f(v), the result. dx may be xy or dy.
func UnaryGrad(q *Queue, function string, dx, xy, dy Tensor) {
	kernel := kernelOf(function) + "_grad"
	if function == "Exp" {
		kernel = "mul"
	}
	q.pairs(kernel, dx, xy, dy, 0)
}

// kernelOf returns what the kernels of a function are named by in activation.cu.
func kernelOf(function string) string {
	switch function {
	case "Exp", "GELU", "Log", "QuickGELU", "ReLU", "SiLU", "Sigmoid", "Softplus":
		return strings.ToLower(function)
	}
	panic(fmt.Sprintf("cuda: there is no function %q", function))
}

// GEGLU is, for each row of 2·width values in x and of width values in dst,
//
//	for i := range width {
//		dst[i] = x[i] * gelu(x[width+i])
//	}
//
// The value comes first, then the gate, as in diffusers.
func GEGLU(q *Queue, dst, x Tensor, width int) {
	q.gated("geglu", dst, x, Tensor{}, width, dst.Len)
}

// GEGLUGrad is the gradient of GEGLU by x. dx is as long as x, and dy is as long as the result of
// GEGLU.
func GEGLUGrad(q *Queue, dx, x, dy Tensor, width int) {
	mustBe("geglu_grad", x.Type, x.Len, dx)
	mustBe("geglu_grad", x.Type, x.Len/2, dy)
	q.gated("geglu_grad", dx, x, dy, width, dy.Len)
}

// gated appends a kernel for half = rows·width values.
func (q *Queue) gated(kernel string, dst, x, dy Tensor, width, half int) {
	if width < 1 || half%width != 0 {
		panic(fmt.Sprintf("cuda: %s: %d values for rows of 2·%d", kernel, x.Len, width))
	}
	mustBe(kernel, dst.Type, 2*half, x)
	if half == 0 {
		return
	}
	wide := aligned(dst, x, dy) && width%unit(x.Type, true) == 0
	n, w := half/unit(x.Type, wide), width/unit(x.Type, wide)
	q.add(kernel+x.Type.suffix(), elementGrid(n), elementThreads, 0,
		[]Tensor{dst}, []Tensor{x, dy}, dst, x, dy, uint64(n), divisor(w, n), uint64(w), wide)
}
