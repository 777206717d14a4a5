package cpu

import "math"

// portable is every body in plain Go.
var portable = vector{
	name: "portable",
	add:  addGeneric, mul: mulGeneric, scale: scaleGeneric,
	exp: expGeneric, sigmoid: sigmoidGeneric, silu: siluGeneric, gelu: geluGeneric, quickGELU: quickGELUGeneric, relu: reluGeneric,
	sigmoidGrad: sigmoidGradGeneric, siluGrad: siluGradGeneric, geluGrad: geluGradGeneric,
	quickGELUGrad: quickGELUGradGeneric, reluGrad: reluGradGeneric,
	geglu: gegluGeneric, gegluGrad: gegluGradGeneric,
	sum: sumGeneric, dot: dotGeneric, sumAbs: sumAbsGeneric, sumSq: sumSqGeneric,
	subScale: subScaleGeneric, signScale: signScaleGeneric,
	max: maxGeneric, expShift: expShiftGeneric, softmaxGrad: softmaxGradGeneric,
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

func scaleGeneric(dst, x []float32, a float32) {
	for i, v := range x {
		dst[i] = a * v
	}
}

// exp32 is e^x within 2 units in the last place: x = n·ln 2 + r with |r| ≤ ln 2 / 2, e^r by its Taylor polynomial of
// degree 7, whose error there is below float32's. Below −87.3 the result is 0, above 88.7 it is infinite.
func exp32(x float32) float32 {
	switch {
	case x > 88.72284:
		return float32(math.Inf(1))
	case x < -87.33655:
		return 0
	case x != x:
		return x
	}
	const high, low = 0.693359375, -2.12194440e-4 // ln 2 = high + low, high with few bits
	half := float32(0.5)
	if x < 0 {
		half = -half
	}
	n := float32(int32(x*math.Log2E + half))
	r := x - n*high - n*low
	p := float32(1.0 / 5040)
	p = p*r + 1.0/720
	p = p*r + 1.0/120
	p = p*r + 1.0/24
	p = p*r + 1.0/6
	p = p*r + 0.5
	p = p*r*r + r
	// Two factors, because 2^128 does not fit.
	m := int32(n) >> 1
	return (p + 1) * power2(m) * power2(int32(n)-m)
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

// normalCDF is Φ(v), the standard normal distribution function.
func normalCDF(v float64) float64 { return 0.5 * math.Erfc(-v*math.Sqrt2/2) }

// geluSlope is d(v·Φ(v))/dv.
func geluSlope(v float64) float64 {
	if math.IsInf(v, 0) {
		return max(0, math.Copysign(1, v))
	}
	return normalCDF(v) + v*math.Exp(-v*v/2)/math.Sqrt(2*math.Pi)
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
		dst[i] = float32(float64(v) * normalCDF(float64(v)))
	}
}

func quickGELUGeneric(dst, x []float32) {
	for i, v := range x {
		dst[i] = v * sigmoid32(quick*v)
	}
}

// reluGeneric keeps NaN, as PyTorch does.
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
		dst[i] = float32(float64(y[i]) * geluSlope(float64(v)))
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
		dst[i] = float32(float64(value[i]) * float64(g) * normalCDF(float64(g)))
	}
}

func gegluGradGeneric(dvalue, dgate, value, gate, dy []float32) {
	for i, g := range gate {
		d, g64 := float64(dy[i]), float64(g)
		v := float64(value[i])
		dvalue[i] = float32(d * g64 * normalCDF(g64))
		dgate[i] = float32(d * v * geluSlope(g64))
	}
}

func sumGeneric(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v)
	}
	return s
}

func dotGeneric(x, y []float32) float64 {
	var s float64
	for i, v := range x {
		s += float64(v) * float64(y[i])
	}
	return s
}

func sumAbsGeneric(x, y []float32) float64 {
	var s float64
	for i, v := range x {
		s += math.Abs(float64(v) - float64(y[i]))
	}
	return s
}

func sumSqGeneric(x, y []float32) float64 {
	var s float64
	for i, v := range x {
		d := float64(v) - float64(y[i])
		s += d * d
	}
	return s
}

func subScaleGeneric(dst, x, y []float32, a float32) {
	for i, v := range x {
		dst[i] = a * (v - y[i])
	}
}

func signScaleGeneric(dst, x, y []float32, a float32) {
	for i, v := range x {
		switch d := v - y[i]; {
		case d > 0:
			dst[i] = a
		case d < 0:
			dst[i] = -a
		default:
			dst[i] = d * a // 0, or NaN
		}
	}
}

// maxGeneric is −Inf for no values; NaN is passed over.
func maxGeneric(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func expShiftGeneric(x []float32, shift float32) float32 {
	var s float32
	for i, v := range x {
		e := exp32(v - shift)
		x[i] = e
		s += e
	}
	return s
}

func softmaxGradGeneric(p, dp []float32, delta float32) {
	for i, v := range p {
		p[i] = v * (dp[i] - delta)
	}
}
