//go:build !purego

package cpu

// normAssembly is the assembly of normBodies, for matrices [rows,n]. n is a positive multiple of
// vectorLanes, and rows is positive.
type normAssembly struct {
	moments   func(first, second *float64, x *float32, n, rows int)
	normalize func(dst, x, mean, rstd, scale, shift *float32, n, rows int)
	gradSums  func(first, second *float64, x, dz, mean, rstd *float32, n, rows int)
	inputGrad func(dst, x, dz, mean, a, b, d *float32, n, rows int)
}

var (
	normAVX2   = normAssembly{momentsAVX2, normalizeAVX2, gradSumsAVX2, inputGradAVX2}
	normAVX512 = normAssembly{momentsAVX512, normalizeAVX512, gradSumsAVX512, inputGradAVX512}
)

// bodies use the definitions for matrices whose columns do not fill registers.
func (asm normAssembly) bodies() normBodies {
	// fits reports whether the columns fill registers. It panics unless every matrix has the rows
	// of x.
	fits := func(columns int, x []float32, others ...[]float32) bool {
		for _, o := range others {
			_ = o[len(x)-1]
		}
		return wholeLanes(columns) == columns
	}
	return normBodies{
		moments: func(first, second []float64, x []float32) {
			n := len(first)
			if !fits(n, x) {
				momentsGeneric(first, second, x)
				return
			}
			asm.moments(&first[0], &second[0], &x[0], n, len(x)/n)
		},
		normalize: func(dst, x, mean, rstd, scale, shift []float32) {
			n := len(mean)
			if !fits(n, x, dst) {
				normalizeGeneric(dst, x, mean, rstd, scale, shift)
				return
			}
			asm.normalize(
				&dst[0], &x[0], &mean[0], &rstd[0], &scale[0], &shift[0], n, len(x)/n,
			)
		},
		gradSums: func(first, second []float64, x, dz, mean, rstd []float32) {
			n := len(first)
			if !fits(n, x, dz) {
				gradSumsGeneric(first, second, x, dz, mean, rstd)
				return
			}
			asm.gradSums(
				&first[0], &second[0], &x[0], &dz[0], &mean[0], &rstd[0], n, len(x)/n,
			)
		},
		inputGrad: func(dst, x, dz, mean, a, b, d []float32) {
			n := len(mean)
			if !fits(n, x, dst, dz) {
				inputGradGeneric(dst, x, dz, mean, a, b, d)
				return
			}
			asm.inputGrad(
				&dst[0], &x[0], &dz[0], &mean[0], &a[0], &b[0], &d[0], n, len(x)/n,
			)
		},
	}
}

//go:noescape
func momentsAVX2(first, second *float64, x *float32, n, rows int)

//go:noescape
func momentsAVX512(first, second *float64, x *float32, n, rows int)

//go:noescape
func normalizeAVX2(dst, x, mean, rstd, scale, shift *float32, n, rows int)

//go:noescape
func normalizeAVX512(dst, x, mean, rstd, scale, shift *float32, n, rows int)

//go:noescape
func gradSumsAVX2(first, second *float64, x, dz, mean, rstd *float32, n, rows int)

//go:noescape
func gradSumsAVX512(first, second *float64, x, dz, mean, rstd *float32, n, rows int)

//go:noescape
func inputGradAVX2(dst, x, dz, mean, a, b, d *float32, n, rows int)

//go:noescape
func inputGradAVX512(dst, x, dz, mean, a, b, d *float32, n, rows int)
