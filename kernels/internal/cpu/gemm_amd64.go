//go:build !purego

package cpu

import (
	"slices"

	"golang.org/x/sys/cpu"
)

// micros are the micro-kernels that this machine has, the fastest one last.
var micros = availableMicros()

var (
	microAVX2 = microKernel{
		name: "AVX2", mr: 6, nr: 16, tile: tile6x16AVX2, half: tile6x8AVX2,
		tiles:  tiles6x16AVX2,
		short:  [][2]tileFunc{{tile2x16AVX2, tile2x8AVX2}, {tile4x16AVX2, tile4x8AVX2}},
		copyMR: copy6AVX2, copyNR: copy16AVX2, transpose: transposeAVX2, runs: runsAVX2,
	}
	microAVX512 = microKernel{
		name: "AVX-512", mr: 14, nr: 32, tile: tile14x32AVX512, half: tile14x16AVX512,
		tiles: tiles14x32AVX512, wide: tiles7x48AVX512,
		short: [][2]tileFunc{
			{tile2x32AVX512, tile2x16AVX512}, {tile4x32AVX512, tile4x16AVX512},
			{tile6x32AVX512, tile6x16AVX512}, {tile8x32AVX512, tile8x16AVX512},
			{tile10x32AVX512, tile10x16AVX512}, {tile12x32AVX512, tile12x16AVX512},
		},
		copyMR: copy14AVX2, copyNR: copy32AVX2, transpose: transposeAVX2, runs: runsAVX512,
	}
)

func availableMicros() []*microKernel {
	list := []*microKernel{&microGeneric}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		list = append(list, &microAVX2)
		if cpu.X86.HasAVX512F {
			list = append(list, &microAVX512)
		}
	}
	return slices.Clip(list)
}

// transposeAVX2 transposes blocks of eight by eight. The last ones overlap those before.
func transposeAVX2(dst, src []float32, dstStride, srcStride, n, k int) {
	if n < 8 || k < 8 {
		transposeGeneric(dst, src, dstStride, srcStride, n, k)
		return
	}
	_, _ = dst[(k-1)*dstStride+n-1], src[(n-1)*srcStride+k-1]
	for j := 0; j < n; j += 8 {
		j := min(j, n-8)
		transpose8AVX2(&dst[j], &src[j*srcStride], srcStride, dstStride, k&^7)
		if k&7 > 0 {
			at := &dst[(k-8)*dstStride+j]
			transpose8AVX2(at, &src[j*srcStride+k-8], srcStride, dstStride, 8)
		}
	}
}

//go:noescape
func tile6x16AVX2(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile6x8AVX2(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile4x16AVX2(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile4x8AVX2(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile2x16AVX2(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile2x8AVX2(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile14x32AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile14x16AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile12x32AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile12x16AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile10x32AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile10x16AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile8x32AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile8x16AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile6x32AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile6x16AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile4x32AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile4x16AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile2x32AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tile2x16AVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tiles6x16AVX2(
	a, b, c, bias *float32, k, rs, ks, ldc int, add bool,
	panel, count, step int, next, last *float32, move, n, inner, outer int,
)

//go:noescape
func tiles14x32AVX512(
	a, b, c, bias *float32, k, rs, ks, ldc int, add bool,
	panel, count, step int, next, last *float32, move, n, inner, outer int,
)

//go:noescape
func tiles7x48AVX512(
	a, b, c, bias *float32, k, rs, ks, ldc int, add bool,
	panel, count, step int, next, last *float32, move, n, inner, outer int,
)

//go:noescape
func transpose8AVX2(dst, src *float32, stride, width, k int)

//go:noescape
func copy6AVX2(dst, src *float32, stride, k int)

//go:noescape
func copy14AVX2(dst, src *float32, stride, k int)

//go:noescape
func copy16AVX2(dst, src *float32, stride, k int)

//go:noescape
func copy32AVX2(dst, src *float32, stride, k int)
