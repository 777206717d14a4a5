package cpu

import "math"

// activationGeneric is the definition of each of activationBodies.
var activationGeneric = activationBodies{
	add:           addGeneric,
	mul:           mulGeneric,
	exp:           expGeneric,
	sigmoid:       sigmoidGeneric,
	silu:          siluGeneric,
	gelu:          geluGeneric,
	quickGELU:     quickGELUGeneric,
	relu:          reluGeneric,
	sigmoidGrad:   sigmoidGradGeneric,
	siluGrad:      siluGradGeneric,
	geluGrad:      geluGradGeneric,
	quickGELUGrad: quickGELUGradGeneric,
	reluGrad:      reluGradGeneric,
	geglu:         gegluGeneric,
	gegluGrad:     gegluGradGeneric,
}

func addGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v + y[i]
	}
}

func mulGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = v * y[i]
	}
}

const (
	// ln 2 = ln2High + ln2Low. ln2High has few bits, so that n·ln2High is exact.
	ln2High, ln2Low = 0.693359375, -2.12194440e-4
	// Below lowestExp e^x is 0 in float32, and above highestExp it is infinite.
	lowestExp, highestExp = -104, 89
)

// exp32 is e^x within 2 units in the last place. With x = n·ln 2 + r and |r| ≤ ln 2 / 2, e^r is its
// Taylor polynomial of degree 7. The polynomial's error there is below that of float32.
func exp32(x float32) float32 {
	if x != x {
		return x
	}
	x = min(max(x, lowestExp), highestExp)
	n := float32(math.RoundToEven(float64(x * math.Log2E)))
	r := x - n*ln2High - n*ln2Low
	p := float32(1.0 / 5040)
	p = p*r + 1.0/720
	p = p*r + 1.0/120
	p = p*r + 1.0/24
	p = p*r + 1.0/6
	p = (p*r + 0.5) * r
	p = p*r + r + 1
	m := int32(n) >> 1 // in two factors, because 2^128 does not fit
	return p * power2(m) * power2(int32(n)-m)
}

// power2 is 2^n for n in [−126,127].
func power2(n int32) float32 { return math.Float32frombits(uint32(n+127) << 23) }

func sigmoid32(v float32) float32 { return 1 / (1 + exp32(-v)) }

// siluSlope is d(v·σ(v))/dv.
func siluSlope(v float32) float32 {
	s := sigmoid32(v)
	if s == 0 {
		return 0
	}
	return s * (1 + v*(1-s))
}

// erfc32 are the coefficients of P, from the highest power down, with erfc(z) ≈ t·e^(P(t)−z²) for
// z ≥ 0 and t = 1/(1+z/2). The relative error is below 1.2e-7 (Press et al., Numerical Recipes, 2nd
// edition, §6.2).
var erfc32 = [10]float32{
	0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807,
	-0.18628806, 0.09678418, 0.37409196, 1.00002368, -1.26551223,
}

// normal32 is Φ(v), the standard normal distribution function.
func normal32(v float32) float32 {
	z := float32(math.Abs(float64(v * (math.Sqrt2 / 2))))
	t := 1 / (1 + z/2)
	p := erfc32[0]
	for _, c := range erfc32[1:] {
		p = p*t + c
	}
	tail := t * exp32(p-z*z) / 2
	if v < 0 {
		return tail
	}
	return 1 - tail
}

const densityAt0 = 0.3989422804014327 // 1/√(2π)

// geluSlope is d(v·Φ(v))/dv.
func geluSlope(v float32) float32 {
	return normal32(v) + v*densityAt0*exp32(-v*(v/2))
}

const quick = 1.702 // QuickGELU's factor

func expGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = exp32(v)
	}
}

func sigmoidGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = sigmoid32(v)
	}
}

func siluGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = v * sigmoid32(v)
	}
}

func geluGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = v * normal32(v)
	}
}

func quickGELUGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = v * sigmoid32(quick*v)
	}
}

// reluGeneric returns NaN for NaN, as PyTorch does.
func reluGeneric(dst, x []float32) {
	for i, v := range x {
		if v <= 0 {
			v = 0
		}
		dst[i] = v
	}
}

func sigmoidGradGeneric(dst, x, y []float32) {
	for i, s := range x {
		dst[i] = y[i] * s * (1 - s)
	}
}

func siluGradGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = y[i] * siluSlope(v)
	}
}

func geluGradGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = y[i] * geluSlope(v)
	}
}

func quickGELUGradGeneric(dst, x, y []float32) {
	for i, v := range x {
		dst[i] = y[i] * siluSlope(quick*v)
	}
}

func reluGradGeneric(dst, x, y []float32) {
	for i, v := range x {
		g := y[i]
		if v <= 0 {
			g = 0
		}
		dst[i] = g
	}
}

func gegluGeneric(dst, value, gate []float32) {
	for i, g := range gate {
		dst[i] = value[i] * (g * normal32(g))
	}
}

func gegluGradGeneric(dvalue, dgate, value, gate, dy []float32) {
	for i, g := range gate {
		d, v := dy[i], value[i]
		dvalue[i], dgate[i] = d*(g*normal32(g)), d*(v*geluSlope(g))
	}
}

func logGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = float32(math.Log(float64(v)))
	}
}

func logGradGeneric(dx, x, dy []float32) {
	for i, v := range x {
		dx[i] = dy[i] / v
	}
}

// softplusGeneric is exact to rounding for large values of both signs: e^−|v| never overflows.
func softplusGeneric(dst, x []float32) {
	for i, v := range x {
		d := float64(v)
		dst[i] = float32(max(d, 0) + math.Log1p(math.Exp(-math.Abs(d))))
	}
}

func softplusGradGeneric(dx, x, dy []float32) {
	for i, v := range x {
		dx[i] = float32(float64(dy[i]) / (1 + math.Exp(-float64(v))))
	}
}
