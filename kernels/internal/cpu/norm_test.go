package cpu

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestColumns compares the passes of normalizations with their definitions in float64.
func TestColumns(t *testing.T) {
	for _, v := range vectors {
		for _, c := range lengths {
			for _, rows := range []int{1, 2, 9} {
				r := rand.New(rand.NewPCG(uint64(c), uint64(rows)))
				x, dz := normal(r, rows*c), normal(r, rows*c)
				mean, rstd, scale, shift := normal(r, c), normal(r, c), normal(r, c), normal(r, c)
				y, dx := scratch(rows*c), scratch(rows*c)
				sum, square := make([]float64, c), make([]float64, c)
				dzs, dzxs := make([]float64, c), make([]float64, c)
				sum[0], dzxs[c-1] = 7, 7 // what is there before does not count
				v.moments(sum, square, x)
				v.normalize(y, x, mean, rstd, scale, shift)
				v.gradSums(dzs, dzxs, x, dz, mean, rstd)
				v.inputGrad(dx, x, dz, mean, rstd, scale, shift)
				for k := range c {
					var s, q, a, b float64
					m, rs := float64(mean[k]), float64(rstd[k])
					sc, sh := float64(scale[k]), float64(shift[k])
					for i := k; i < len(x); i += c {
						u, d := float64(x[i]), float64(dz[i])
						s, q, a, b = s+u, q+u*u, a+d, b+d*(u-m)*rs
						size := math.Abs(u) + math.Abs(m) + math.Abs(d) + 1
						size *= (math.Abs(rs) + 1) * (math.Abs(sc) + math.Abs(sh) + 1)
						z, dz := (u-m)*rs*sc+sh, d*rs+(u-m)*sc+sh
						requireNear(t, z, float64(y[i]), size, v.name, c, rows, "normalize")
						requireNear(t, dz, float64(dx[i]), size, v.name, c, rows, "inputGrad")
					}
					const float64s = "%s, %d: sums are float64"
					require.True(t, math.Abs(sum[k]-s) <= 1e-12, float64s, v.name, c)
					require.True(t, math.Abs(square[k]-q) <= 1e-11, float64s, v.name, c)
					require.True(t, math.Abs(dzs[k]-a) <= 1e-12, float64s, v.name, c)
					size := 50 * (math.Abs(rs) + 1) * (math.Abs(m) + 1)
					requireNear(t, b, dzxs[k], size, v.name, c, rows, "gradSums")
				}
			}
		}
	}
}
