package cpu

import "fmt"

// activationBodies are the activations, their gradients, sums and products, value by value.
type activationBodies struct {
	add, mul binary

	exp, sigmoid, silu, gelu, quickGELU, relu unary

	// dst = y · f'(v), where x is v. For sigmoid x is the result f(v) instead.
	sigmoidGrad, siluGrad, geluGrad, quickGELUGrad, reluGrad binary

	// dst = value · gelu(gate), and its gradients by value and by gate.
	geglu     func(dst, value, gate []float32)
	gegluGrad func(dvalue, dgate, value, gate, dy []float32)
}

// Exp is dst[i] = e^x[i]. dst may be x. It panics if the lengths differ, as all kernels of this
// file do.
func Exp(pool *Pool, dst, x []float32) { runUnary(pool, "Exp", vec.exp, dst, x) }

// Sigmoid is dst[i] = σ(x[i]) = 1 / (1 + e^−x[i]). dst may be x.
func Sigmoid(pool *Pool, dst, x []float32) { runUnary(pool, "Sigmoid", vec.sigmoid, dst, x) }

// SigmoidGrad is dx[i] = dy[i] · s[i] · (1 − s[i]), where s is the result of Sigmoid. dx may be s
// or dy.
func SigmoidGrad(pool *Pool, dx, s, dy []float32) {
	runBinary(pool, "SigmoidGrad", vec.sigmoidGrad, dx, s, dy)
}

// SiLU is dst[i] = x[i] · σ(x[i]). dst may be x.
func SiLU(pool *Pool, dst, x []float32) { runUnary(pool, "SiLU", vec.silu, dst, x) }

// SiLUGrad is dx[i] = dy[i] · σ(v) · (1 + v·(1 − σ(v))) for v = x[i]. dx may be x or dy.
func SiLUGrad(pool *Pool, dx, x, dy []float32) {
	runBinary(pool, "SiLUGrad", vec.siluGrad, dx, x, dy)
}

// GELU is dst[i] = x[i] · Φ(x[i]), where Φ is the standard normal distribution function. It is the
// exact form, with erf. dst may be x.
func GELU(pool *Pool, dst, x []float32) { runUnary(pool, "GELU", vec.gelu, dst, x) }

// GELUGrad is dx[i] = dy[i] · (Φ(v) + v·φ(v)) for v = x[i], where φ is the standard normal
// density. dx may be x or dy.
func GELUGrad(pool *Pool, dx, x, dy []float32) {
	runBinary(pool, "GELUGrad", vec.geluGrad, dx, x, dy)
}

// QuickGELU is dst[i] = x[i] · σ(1.702·x[i]). dst may be x.
func QuickGELU(pool *Pool, dst, x []float32) { runUnary(pool, "QuickGELU", vec.quickGELU, dst, x) }

// QuickGELUGrad is dx[i] = dy[i] · σ(v) · (1 + v·(1 − σ(v))) for v = 1.702·x[i]. dx may be x or
// dy.
func QuickGELUGrad(pool *Pool, dx, x, dy []float32) {
	runBinary(pool, "QuickGELUGrad", vec.quickGELUGrad, dx, x, dy)
}

// ReLU is dst[i] = max(x[i], 0), NaN for NaN. dst may be x.
func ReLU(pool *Pool, dst, x []float32) { runUnary(pool, "ReLU", vec.relu, dst, x) }

// ReLUGrad is dx[i] = dy[i] where x[i] > 0, else 0. dx may be x or dy.
func ReLUGrad(pool *Pool, dx, x, dy []float32) {
	runBinary(pool, "ReLUGrad", vec.reluGrad, dx, x, dy)
}

// Log is dst[i] = ln x[i]. dst may be x.
func Log(pool *Pool, dst, x []float32) { runUnary(pool, "Log", logGeneric, dst, x) }

// LogGrad is dx[i] = dy[i] / x[i]. dx may be x or dy.
func LogGrad(pool *Pool, dx, x, dy []float32) {
	runBinary(pool, "LogGrad", logGradGeneric, dx, x, dy)
}

// Softplus is dst[i] = ln(1 + e^x[i]). dst may be x.
func Softplus(pool *Pool, dst, x []float32) { runUnary(pool, "Softplus", softplusGeneric, dst, x) }

// SoftplusGrad is dx[i] = dy[i] · σ(x[i]). dx may be x or dy.
func SoftplusGrad(pool *Pool, dx, x, dy []float32) {
	runBinary(pool, "SoftplusGrad", softplusGradGeneric, dx, x, dy)
}

// A gegluTask runs GEGLU or its gradient over blocks of rows.
type gegluTask struct {
	out, x, dy   []float32
	width, block int
	grad         bool
}

var gegluTasks freeList[gegluTask]

func (t *gegluTask) Do(_, part int) {
	w := t.width
	lo, hi := span(part, t.block, len(t.x)/(2*w))
	for r := lo; r < hi; r++ {
		value, gate := t.x[2*w*r:][:w], t.x[2*w*r+w:][:w]
		if !t.grad {
			vec.geglu(t.out[w*r:][:w], value, gate)
			continue
		}
		vec.gegluGrad(t.out[2*w*r:][:w], t.out[2*w*r+w:][:w], value, gate, t.dy[w*r:][:w])
	}
}

func runGEGLU(pool *Pool, g gegluTask) {
	rows := len(g.x) / (2 * g.width)
	g.block = max(1, elementBlock/g.width)
	t := gegluTasks.get()
	*t = g
	pool.Parallel(ceilDiv(rows, g.block), t)
	gegluTasks.put(t)
}

// checkGEGLU panics unless x has rows of 2·width values and y has half as many values.
func checkGEGLU(kernel string, x, y, width int) {
	if width < 1 || x%(2*width) != 0 || y*2 != x {
		const wrong = "cpu: %s: %d values for rows of 2·%d and results of %d"
		panic(fmt.Sprintf(wrong, kernel, x, width, y))
	}
}

// GEGLU is, for each row of 2·width values in x and of width values in dst,
//
//	for i := range width {
//		dst[i] = x[i] * gelu(x[width+i])
//	}
//
// The value comes first, then the gate, as in diffusers.
func GEGLU(pool *Pool, dst, x []float32, width int) {
	checkGEGLU("GEGLU", len(x), len(dst), width)
	runGEGLU(pool, gegluTask{out: dst, x: x, width: width})
}

// GEGLUGrad is the gradient of GEGLU by x. dx is as long as x, and dy is as long as the result of
// GEGLU.
func GEGLUGrad(pool *Pool, dx, x, dy []float32, width int) {
	checkGEGLU("GEGLUGrad", len(x), len(dy), width)
	mustMatch("GEGLUGrad", len(x), dx)
	runGEGLU(pool, gegluTask{out: dx, x: x, dy: dy, width: width, grad: true})
}
