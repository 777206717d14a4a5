//go:build !purego

package cpu

// winogradAssembly is the assembly of winogradBodies. n is a positive multiple of vectorLanes.
type winogradAssembly struct {
	window, filter, spread, gather func(dst, src *float32, dr, dc, sr, sc, n int)
	result                         func(dst, src, bias *float32, dr, dc, sr, sc, n int)
	windowBF16, spreadBF16         func(dst *float32, src *uint16, dr, dc, sr, sc, n int)
}

var (
	winogradAVX2 = winogradAssembly{
		winogradWindowAVX2, winogradFilterAVX2, winogradSpreadAVX2, winogradGatherAVX2,
		winogradResultAVX2, winogradWindowBF16AVX2, winogradSpreadBF16AVX2,
	}
	winogradAVX512 = winogradAssembly{
		winogradWindowAVX512, winogradFilterAVX512, winogradSpreadAVX512, winogradGatherAVX512,
		winogradResultAVX512, winogradWindowBF16AVX512, winogradSpreadBF16AVX512,
	}
)

// bodies use the definitions for channels that do not fill registers.
func (asm winogradAssembly) bodies() winogradBodies {
	g := winogradGeneric
	return winogradBodies{
		window: fast(asm.window, g.window, 6, 6),
		filter: fast(asm.filter, g.filter, 3, 6),
		spread: fast(asm.spread, g.spread, 4, 6),
		gather: fast(asm.gather, g.gather, 6, 3),

		windowBF16: fast(asm.windowBF16, g.windowBF16, 6, 6),
		spreadBF16: fast(asm.spreadBF16, g.spreadBF16, 4, 6),

		result: func(dst, src, bias []float32, dr, dc, sr, sc int) {
			n := len(bias)
			if n == 0 || wholeLanes(n) != n {
				g.result(dst, src, bias, dr, dc, sr, sc)
				return
			}
			_, _ = src[5*(sr+sc)+n-1], dst[3*(dr+dc)+n-1]
			asm.result(&dst[0], &src[0], &bias[0], dr, dc, sr, sc, n)
		},
	}
}

// fast is a transform of from×from to to×to values.
func fast[T float32 | uint16](
	asm func(dst *float32, src *T, dr, dc, sr, sc, n int),
	slow func(dst []float32, src []T, dr, dc, sr, sc, n int), from, to int,
) func(dst []float32, src []T, dr, dc, sr, sc, n int) {
	return func(dst []float32, src []T, dr, dc, sr, sc, n int) {
		if n == 0 || wholeLanes(n) != n {
			slow(dst, src, dr, dc, sr, sc, n)
			return
		}
		_, _ = src[(from-1)*(sr+sc)+n-1], dst[(to-1)*(dr+dc)+n-1]
		asm(&dst[0], &src[0], dr, dc, sr, sc, n)
	}
}

//go:noescape
func winogradWindowAVX2(dst, src *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradWindowBF16AVX2(dst *float32, src *uint16, dr, dc, sr, sc, n int)

//go:noescape
func winogradWindowAVX512(dst, src *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradWindowBF16AVX512(dst *float32, src *uint16, dr, dc, sr, sc, n int)

//go:noescape
func winogradFilterAVX2(dst, src *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradFilterAVX512(dst, src *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradSpreadAVX2(dst, src *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradSpreadBF16AVX2(dst *float32, src *uint16, dr, dc, sr, sc, n int)

//go:noescape
func winogradSpreadAVX512(dst, src *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradSpreadBF16AVX512(dst *float32, src *uint16, dr, dc, sr, sc, n int)

//go:noescape
func winogradGatherAVX2(dst, src *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradGatherAVX512(dst, src *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradResultAVX2(dst, src, bias *float32, dr, dc, sr, sc, n int)

//go:noescape
func winogradResultAVX512(dst, src, bias *float32, dr, dc, sr, sc, n int)
