//go:build !purego

package cpu

// layerNormAssembly is the assembly of layerNormBodies. n is a positive multiple of vectorLanes,
// and rows is positive.
type layerNormAssembly struct {
	rowWeights func(x, dz, scale *float32, n int, mean, rstd float32) (first, second float64)

	normalizeRows func(dst, x, of, scale, shift *float32, n, rows int)
	rowGradSums   func(first, second *float64, x, dz, of *float32, n, rows int)
	rowInputGrad  func(dst, x, dz, of, scale *float32, n, rows int)
	columnSums    func(sums *float64, x *float32, n, rows int)
}

var (
	layerNormAVX2 = layerNormAssembly{
		rowWeightsAVX2, normalizeRowsAVX2, rowGradSumsAVX2, rowInputGradAVX2,
		columnSumsAVX2,
	}
	layerNormAVX512 = layerNormAssembly{
		rowWeightsAVX512, normalizeRowsAVX512, rowGradSumsAVX512, rowInputGradAVX512,
		columnSumsAVX512,
	}
)

// bodies use the definitions for rows that do not fill registers.
func (asm layerNormAssembly) bodies() layerNormBodies {
	// fits reports whether rows of n values fill registers. It panics unless every matrix has so
	// many rows.
	fits := func(n, rows int, matrices ...[]float32) bool {
		for _, m := range matrices {
			_ = m[n*rows-1]
		}
		return wholeLanes(n) == n
	}
	return layerNormBodies{
		rowWeights: func(x, dz, scale []float32, of rowOf) (first, second float64) {
			n := len(x)
			if !fits(n, 1, dz, scale) {
				return rowWeightsGeneric(x, dz, scale, of)
			}
			return asm.rowWeights(&x[0], &dz[0], &scale[0], n, of.mean, of.rstd)
		},
		normalizeRows: func(dst, x []float32, of []rowOf, scale, shift []float32) {
			n := len(scale)
			if !fits(n, len(of), dst, x) || len(shift) != n {
				normalizeRowsGeneric(dst, x, of, scale, shift)
				return
			}
			asm.normalizeRows(&dst[0], &x[0], &of[0].mean, &scale[0], &shift[0], n, len(of))
		},
		rowGradSums: func(first, second []float64, x, dz []float32, of []rowOf) {
			n := len(first)
			if !fits(n, len(of), x, dz) || len(second) != n {
				rowGradSumsGeneric(first, second, x, dz, of)
				return
			}
			asm.rowGradSums(&first[0], &second[0], &x[0], &dz[0], &of[0].mean, n, len(of))
		},
		rowInputGrad: func(dst, x, dz []float32, of []rowOf, scale []float32) {
			n := len(scale)
			if !fits(n, len(of), dst, x, dz) {
				rowInputGradGeneric(dst, x, dz, of, scale)
				return
			}
			asm.rowInputGrad(&dst[0], &x[0], &dz[0], &of[0].mean, &scale[0], n, len(of))
		},
		columnSums: func(sums []float64, x []float32) {
			n := len(sums)
			if len(x) == 0 || !fits(n, len(x)/n) {
				columnSumsGeneric(sums, x)
				return
			}
			asm.columnSums(&sums[0], &x[0], n, len(x)/n)
		},
	}
}

//go:noescape
func rowWeightsAVX2(x, dz, scale *float32, n int, mean, rstd float32) (first, second float64)

//go:noescape
func rowWeightsAVX512(x, dz, scale *float32, n int, mean, rstd float32) (first, second float64)

//go:noescape
func normalizeRowsAVX2(dst, x, of, scale, shift *float32, n, rows int)

//go:noescape
func normalizeRowsAVX512(dst, x, of, scale, shift *float32, n, rows int)

//go:noescape
func rowGradSumsAVX2(first, second *float64, x, dz, of *float32, n, rows int)

//go:noescape
func rowGradSumsAVX512(first, second *float64, x, dz, of *float32, n, rows int)

//go:noescape
func rowInputGradAVX2(dst, x, dz, of, scale *float32, n, rows int)

//go:noescape
func rowInputGradAVX512(dst, x, dz, of, scale *float32, n, rows int)

//go:noescape
func columnSumsAVX2(sums *float64, x *float32, n, rows int)

//go:noescape
func columnSumsAVX512(sums *float64, x *float32, n, rows int)
