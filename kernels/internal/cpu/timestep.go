package cpu

import (
	"fmt"
	"math"
)

// TimestepEmbedding is, with half = dim/2 and every term in float64,
//
//	f[j] = exp(−ln(10000) · j/(half − shift))
//	dst[n,j] = sin(t[n]·f[j]),  dst[n,half+j] = cos(t[n]·f[j])
//
// With flip, sines and cosines change places. If dim is odd, a zero comes last. It panics on wrong
// lengths.
func TimestepEmbedding(dst, t []float32, dim int, shift float64, flip bool) {
	if dim < 2 || len(dst) != len(t)*dim {
		const wrong = "cpu: TimestepEmbedding: %d values for %d timesteps and %d dimensions"
		panic(fmt.Sprintf(wrong, len(dst), len(t), dim))
	}
	half := dim / 2
	if dim%2 == 1 {
		for n := range t {
			dst[n*dim+dim-1] = 0
		}
	}
	sine, cosine := 0, half
	if flip {
		sine, cosine = half, 0
	}
	for j := range half {
		f := math.Exp(-math.Log(10000) * float64(j) / (float64(half) - shift))
		for n, t := range t {
			s, c := math.Sincos(float64(t) * f)
			dst[n*dim+sine+j], dst[n*dim+cosine+j] = float32(s), float32(c)
		}
	}
}
