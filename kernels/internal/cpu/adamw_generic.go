package cpu

import "math"

func adamwGeneric(p, m, v, g []float32, s *AdamWStep) {
	m, v, g = m[:len(p)], v[:len(p)], g[:len(p)]
	for i := range p {
		m[i] = s.Beta1*m[i] + s.OneMinus1*g[i]
		v[i] = s.Beta2*v[i] + s.OneMinus2*g[i]*g[i]
		root := float32(math.Sqrt(float64(v[i])))
		p[i] = s.Keep*p[i] - s.Rate*m[i]/(root*s.Unbias+s.Eps)
	}
}

func sumSquaresGeneric(x []float32) float64 {
	var a, b, c, d float64
	for len(x) >= 4 {
		a += float64(x[0]) * float64(x[0])
		b += float64(x[1]) * float64(x[1])
		c += float64(x[2]) * float64(x[2])
		d += float64(x[3]) * float64(x[3])
		x = x[4:]
	}
	for _, y := range x {
		a += float64(y) * float64(y)
	}
	return (a + b) + (c + d)
}

func blendGeneric(dst, x []float32, a float32) {
	x = x[:len(dst)]
	for i := range dst {
		dst[i] += a * (x[i] - dst[i])
	}
}
