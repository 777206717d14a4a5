package cpu

import (
	"fmt"
	"math"
)

// AdamWStep are the numbers of one AdamW step. NewAdamWStep makes them once, for all parameters.
type AdamWStep struct {
	Keep         float32 // 1 − lr·decay: the part of a parameter that weight decay leaves
	Beta1, Beta2 float32
	OneMinus1    float32 // 1 − β₁
	OneMinus2    float32 // 1 − β₂
	Rate         float32 // lr / (1 − β₁ᵗ)
	Unbias       float32 // 1 / √(1 − β₂ᵗ)
	Eps          float32
}

// NewAdamWStep returns the numbers of step t, which is counted from 1. lr is the learning rate, and
// decay is the weight decay.
func NewAdamWStep(t int, lr, beta1, beta2, eps, decay float64) AdamWStep {
	return AdamWStep{
		Keep:  float32(1 - lr*decay),
		Beta1: float32(beta1), OneMinus1: float32(1 - beta1),
		Beta2: float32(beta2), OneMinus2: float32(1 - beta2),
		Rate:   float32(lr / (1 - math.Pow(beta1, float64(t)))),
		Unbias: float32(1 / math.Sqrt(1-math.Pow(beta2, float64(t)))),
		Eps:    float32(eps),
	}
}

// Values returns the fields in order.
func (s AdamWStep) Values() [8]float32 {
	return [...]float32{
		s.Keep, s.Beta1, s.Beta2, s.OneMinus1, s.OneMinus2, s.Rate, s.Unbias, s.Eps,
	}
}

// An updater is the bodies of one instruction set for updates of parameters. Each body runs in the
// calling goroutine alone. updaterGeneric is the definition.
type updater struct {
	name       string
	adamw      func(p, m, v, g []float32, s *AdamWStep)
	sumSquares func(x []float32) float64
	blend      func(dst, x []float32, a float32)
}

var updaterGeneric = updater{"generic", adamwGeneric, sumSquaresGeneric, blendGeneric}

// update is what this machine runs.
var update = updaters[len(updaters)-1]

// updateBlock is how many parameters one part of an update has. Four streams of them stay in the L2
// cache. It is the same on every machine, and so is the order of a sum over blocks.
const updateBlock = 8192

// AdamW is, for parameters p, the moments m and v of their gradients, and gradients g,
//
//	for i := range p {
//		m[i] = s.Beta1*m[i] + s.OneMinus1*g[i]
//		v[i] = s.Beta2*v[i] + s.OneMinus2*g[i]*g[i]
//		p[i] = s.Keep*p[i] - s.Rate*m[i]/(sqrt(v[i])*s.Unbias+s.Eps)
//	}
//
// up to rounding (Loshchilov, Hutter: Decoupled Weight Decay Regularization, 2019). ε and the bias
// correction are as in PyTorch. The result does not depend on the number of workers. It panics if
// the lengths differ.
func AdamW(pool *Pool, p, m, v, g []float32, s AdamWStep) {
	if len(m) != len(p) || len(v) != len(p) || len(g) != len(p) {
		const wrong = "cpu: AdamW: %d parameters, moments of %d and %d, %d gradients"
		panic(fmt.Sprintf(wrong, len(p), len(m), len(v), len(g)))
	}
	t := adamwTasks.get()
	*t = adamwTask{p, m, v, g, s}
	pool.Parallel(ceilDiv(len(p), updateBlock), t)
	adamwTasks.put(t)
}

type adamwTask struct {
	p, m, v, g []float32
	s          AdamWStep
}

var adamwTasks freeList[adamwTask]

func (t *adamwTask) Do(_, part int) {
	lo, hi := span(part, updateBlock, len(t.p))
	update.adamw(t.p[lo:hi], t.m[lo:hi], t.v[lo:hi], t.g[lo:hi], &t.s)
}

// SumSquares returns the sum of the squares of x in float64. The order of the sum depends on the
// length of x only. ws has at least SumSquaresWorkspace(len(x)) values. It panics if ws is shorter.
func SumSquares(pool *Pool, x []float32, ws []float64) float64 {
	parts := SumSquaresWorkspace(len(x))
	if len(ws) < parts {
		panic(fmt.Sprintf("cpu: SumSquares: %d values of workspace, not %d", len(ws), parts))
	}
	t := squaresTasks.get()
	*t = squaresTask{x, ws}
	pool.Parallel(parts, t)
	squaresTasks.put(t)
	var sum float64
	for _, s := range ws[:parts] {
		sum += s
	}
	return sum
}

// SumSquaresWorkspace returns how many values of workspace SumSquares needs for n values.
func SumSquaresWorkspace(n int) int { return ceilDiv(n, updateBlock) }

type squaresTask struct {
	x    []float32
	sums []float64
}

var squaresTasks freeList[squaresTask]

func (t *squaresTask) Do(_, part int) {
	lo, hi := span(part, updateBlock, len(t.x))
	t.sums[part] = update.sumSquares(t.x[lo:hi])
}

// Blend is a step of an exponential moving average,
//
//	for i := range dst {
//		dst[i] += a * (x[i] - dst[i])
//	}
//
// up to rounding. It panics if the lengths differ.
func Blend(pool *Pool, dst, x []float32, a float32) {
	if len(dst) != len(x) {
		panic(fmt.Sprintf("cpu: Blend: %d and %d values", len(dst), len(x)))
	}
	t := blendTasks.get()
	*t = blendTask{dst, x, a}
	pool.Parallel(ceilDiv(len(dst), updateBlock), t)
	blendTasks.put(t)
}

type blendTask struct {
	dst, x []float32
	a      float32
}

var blendTasks freeList[blendTask]

func (t *blendTask) Do(_, part int) {
	lo, hi := span(part, updateBlock, len(t.dst))
	update.blend(t.dst[lo:hi], t.x[lo:hi], t.a)
}
