package cpu

import "math"

// lossGeneric is the definition of each of lossBodies. There is no assembly of them.
var lossGeneric = lossBodies{
	sum:       sumGeneric,
	sumAbs:    sumAbsGeneric,
	sumSq:     sumSqGeneric,
	subScale:  subScaleGeneric,
	signScale: signScaleGeneric,
}

func sumGeneric(x []float32) float64 {
	var s float64
	for _, v := range x {
		s += float64(v)
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
