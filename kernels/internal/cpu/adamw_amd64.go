//go:build !purego

package cpu

import (
	"unsafe"

	"golang.org/x/sys/cpu"
)

// updaters are those that this machine has, the fastest one last.
var updaters = availableUpdaters()

func availableUpdaters() []*updater {
	u := []*updater{&updaterGeneric}
	if cpu.X86.HasAVX2 && cpu.X86.HasFMA {
		u = append(u, wide("AVX2", adamwAVX2, sumSquaresAVX2, blendAVX2))
	}
	if cpu.X86.HasAVX512F {
		u = append(u, wide("AVX-512", adamwAVX512, sumSquaresAVX512, blendAVX512))
	}
	return u
}

// updateLanes divides every length that the assembly takes. The rest is left to the definition.
const updateLanes = 32

// wide makes an updater of assembly.
func wide(
	name string,
	adamw func(p, m, v, grad *float32, n int, s *float32),
	squares func(x *float32, n int) float64,
	blend func(dst, x *float32, n int, a float32),
) *updater {
	return &updater{
		name: name,
		adamw: func(p, m, v, g []float32, s *AdamWStep) {
			n := len(p) &^ (updateLanes - 1)
			if n > 0 {
				adamw(&p[0], &m[0], &v[0], &g[0], n, &s.Keep)
			}
			adamwGeneric(p[n:], m[n:], v[n:], g[n:], s)
		},
		sumSquares: func(x []float32) float64 {
			n := len(x) &^ (updateLanes - 1)
			sum := sumSquaresGeneric(x[n:])
			if n > 0 {
				sum += squares(&x[0], n)
			}
			return sum
		},
		blend: func(dst, x []float32, a float32) {
			n := len(dst) &^ (updateLanes - 1)
			if n > 0 {
				blend(&dst[0], &x[0], n, a)
			}
			blendGeneric(dst[n:], x[n:], a)
		},
	}
}

// The assembly reads an AdamWStep as eight float32 values.
var _ = [1]struct{}{}[unsafe.Sizeof(AdamWStep{})-32]

//go:noescape
func adamwAVX2(p, m, v, grad *float32, n int, s *float32)

//go:noescape
func adamwAVX512(p, m, v, grad *float32, n int, s *float32)

//go:noescape
func sumSquaresAVX2(x *float32, n int) float64

//go:noescape
func sumSquaresAVX512(x *float32, n int) float64

//go:noescape
func blendAVX2(dst, x *float32, n int, a float32)

//go:noescape
func blendAVX512(dst, x *float32, n int, a float32)
