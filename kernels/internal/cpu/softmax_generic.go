package cpu

import "math"

// softmaxGeneric is the definition of each of softmaxBodies.
var softmaxGeneric = softmaxBodies{
	scale:       scaleGeneric,
	max:         maxGeneric,
	expShift:    expShiftGeneric,
	dot:         dotGeneric,
	softmaxGrad: softmaxGradGeneric,
}

func scaleGeneric(dst, x []float32, a float32) {
	for i, v := range x {
		dst[i] = a * v
	}
}

func maxGeneric(x []float32) float32 {
	m := float32(math.Inf(-1))
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

func expShiftGeneric(x []float32, shift float32) float64 {
	for i, v := range x {
		x[i] = exp32(v - shift)
	}
	return sumGeneric(x)
}

func dotGeneric(x, y []float32) float64 {
	var s float64
	for i, v := range x {
		s += float64(v) * float64(y[i])
	}
	return s
}

func softmaxGradGeneric(p, dp []float32, delta float32) {
	for i, v := range p {
		p[i] = v * (dp[i] - delta)
	}
}
