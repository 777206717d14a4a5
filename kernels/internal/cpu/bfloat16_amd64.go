//go:build !purego

package cpu

import "golang.org/x/sys/cpu"

// conversions are those that this machine has, the fastest one last.
var conversions = availableConversions()

func availableConversions() []converter {
	c := []converter{conversionGeneric}
	if cpu.X86.HasAVX2 {
		c = append(c, conversionAssembly{"AVX2", toBF16AVX2, fromBF16AVX2}.bodies())
	}
	if cpu.X86.HasAVX512F {
		c = append(c, conversionAssembly{"AVX-512", toBF16AVX512, fromBF16AVX512}.bodies())
	}
	return c
}

// A conversionAssembly is bodies that take multiples of 32 values.
type conversionAssembly struct {
	name string
	to   func(dst *uint16, x *float32, n int)
	from func(dst *float32, x *uint16, n int)
}

// bodies are those that take any number of values.
func (a conversionAssembly) bodies() converter {
	return converter{
		name: a.name,
		to: func(dst []uint16, x []float32) {
			n := len(x) &^ 31
			if n > 0 {
				a.to(&dst[0], &x[0], n)
			}
			toBF16Generic(dst[n:], x[n:])
		},
		from: func(dst []float32, x []uint16) {
			n := len(x) &^ 31
			if n > 0 {
				a.from(&dst[0], &x[0], n)
			}
			fromBF16Generic(dst[n:], x[n:])
		},
	}
}

//go:noescape
func toBF16AVX2(dst *uint16, x *float32, n int)

//go:noescape
func toBF16AVX512(dst *uint16, x *float32, n int)

//go:noescape
func fromBF16AVX2(dst *float32, x *uint16, n int)

//go:noescape
func fromBF16AVX512(dst *float32, x *uint16, n int)
