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
		name: "AVX2", mr: 6, nr: 16, tile: tileAVX2, half: halfAVX2,
		copyMR: copy6AVX2, copyNR: copy16AVX2, packTransposed: packTransposedAVX2,
	}
	microAVX512 = microKernel{
		name: "AVX-512", mr: 14, nr: 32, tile: tileAVX512, half: halfAVX512,
		copyMR: copy14AVX2, copyNR: copy32AVX2, packTransposed: packTransposedAVX2,
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

// packTransposedAVX2 copies with Go the elements that do not fill blocks of eight by eight.
func packTransposedAVX2(dst, src []float32, stride, width, n, k int) {
	full, steps := n&^7, k&^7
	if steps > 0 {
		for j := 0; j < full; j += 8 {
			_, _ = dst[(steps-1)*width+j+7], src[(j+7)*stride+steps-1]
			transpose8AVX2(&dst[j], &src[j*stride], stride, width, steps)
		}
	}
	for j := range full { // the last steps of K
		for p := steps; p < k; p++ {
			dst[p*width+j] = src[j*stride+p]
		}
	}
	for j := full; j < width; j++ {
		for p := range k {
			if j < n {
				dst[p*width+j] = src[j*stride+p]
			} else {
				dst[p*width+j] = 0
			}
		}
	}
}

//go:noescape
func tileAVX2(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func tileAVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func halfAVX2(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

//go:noescape
func halfAVX512(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

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
