package cpu

import (
	"math"
	"math/rand/v2"
	"slices"
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

// TestRows compares the passes of layer norm with their definitions in float64.
func TestRows(t *testing.T) {
	for _, v := range vectors {
		for _, c := range lengths {
			for _, rows := range []int{1, 2, 9} {
				r := rand.New(rand.NewPCG(uint64(c), uint64(rows)))
				x, dz := normal(r, rows*c), normal(r, rows*c)
				scale, shift := normal(r, c), normal(r, c)
				of := make([]rowOf, rows)
				for i := range of {
					n := normal(r, 4)
					of[i] = rowOf{mean: n[0], rstd: n[1], slope: n[2], offset: n[3]}
				}
				y, dx := scratch(rows*c), scratch(rows*c)
				dzs, dzxs := make([]float64, c), make([]float64, c)
				dzs[0], dzxs[c-1] = 7, 7 // what is there before does not count
				v.normalizeRows(y, x, of, scale, shift)
				v.rowGradSums(dzs, dzxs, x, dz, of)
				v.rowInputGrad(dx, x, dz, of, scale)
				sums, wantSums := slices.Repeat([]float64{7}, c), make([]float64, c)
				v.columnSums(sums, x)
				for i, v := range x {
					wantSums[i%c] += float64(v)
				}
				require.Equal(t, wantSums, sums, v.name)
				wantDzs, wantDzxs := make([]float64, c), make([]float64, c)
				for n, o := range of {
					m, rs := float64(o.mean), float64(o.rstd)
					sl, of := float64(o.slope), float64(o.offset)
					var wantFirst, wantSecond float64
					first, second := v.rowWeights(x[n*c:][:c], dz[n*c:][:c], scale, o)
					for k := range c {
						i := n*c + k
						u, d, sc := float64(x[i]), float64(dz[i]), float64(scale[k])
						hat := (u - m) * rs
						wantDzs[k], wantDzxs[k] = wantDzs[k]+d, wantDzxs[k]+d*hat
						wantFirst, wantSecond = wantFirst+d*sc, wantSecond+d*sc*hat
						size := (math.Abs(u) + math.Abs(m) + math.Abs(d) + 1) *
							(math.Abs(rs) + math.Abs(sl) + math.Abs(of) + 1) *
							(math.Abs(sc) + math.Abs(float64(shift[k])) + 1)
						want := hat*sc + float64(shift[k])
						requireNear(t, want, float64(y[i]), size, v.name, c, n, "normalizeRows")
						want = d*sc*rs + (u-m)*sl + of
						requireNear(t, want, float64(dx[i]), size, v.name, c, n, "rowInputGrad")
					}
					require.True(t, math.Abs(first-wantFirst) <= 1e-11, "%s, %d", v.name, c)
					size := 50 * (math.Abs(rs) + 1) * (math.Abs(m) + 1)
					requireNear(t, wantSecond, second, size, v.name, c, n, "rowWeights")
				}
				for k := range c {
					require.True(t, math.Abs(dzs[k]-wantDzs[k]) <= 1e-12, "%s, %d", v.name, c)
					requireNear(t, wantDzxs[k], dzxs[k], 500, v.name, c, rows, "rowGradSums")
				}
			}
		}
	}
}
