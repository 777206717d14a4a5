package kernels

import "github.com/kudos-ml/kudos/kernels/internal/cpu"

// AdamWStep are the numbers of one AdamW step.
type AdamWStep = cpu.AdamWStep

// NewAdamWStep returns the numbers of step t, counted from 1.
func NewAdamWStep(t int, lr, beta1, beta2, eps, decay float64) AdamWStep {
	return cpu.NewAdamWStep(t, lr, beta1, beta2, eps, decay)
}

// AdamW makes one step from the gradients g: it changes the parameters p and the moments m and v of their gradients, all
// of one length. See cpu.AdamW for the formula.
func AdamW(p, m, v, g []float32, s AdamWStep) { cpu.AdamW(cpu.Shared, p, m, v, g, s) }

// SumSquares returns the sum of the squares of x in float64, added in an order that depends on x's length only. ws
// is scratch memory of SumSquaresWorkspace(len(x)) values.
func SumSquares(x []float32, ws []float64) float64 { return cpu.SumSquares(cpu.Shared, x, ws) }

// SumSquaresWorkspace is how much scratch memory SumSquares wants for n values.
func SumSquaresWorkspace(n int) int { return cpu.SumSquaresWorkspace(n) }

// Blend moves dst towards x by the fraction a: dst += a·(x − dst).
func Blend(dst, x []float32, a float32) { cpu.Blend(cpu.Shared, dst, x, a) }

// ScaleBy is dst = a·x. dst may be x.
func ScaleBy(dst, x []float32, a float32) { cpu.Scale(cpu.Shared, dst, x, a) }
