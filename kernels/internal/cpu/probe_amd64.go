//go:build !purego

package cpu

import (
	"fmt"

	"golang.org/x/sys/cpu"
)

// multiplyAddLanes is how many values a register has in multiplyAdds. It is 0 without a body.
var multiplyAddLanes = map[*microKernel]int{&microAVX2: 8, &microAVX512: 16}[micro]

// dotProductLanes is how many values a register has in dotProducts.
var dotProductLanes = func() int {
	if cpu.X86.HasAVX512F && cpu.X86.HasAVX512BF16 {
		return 32
	}
	return 0
}()

// multiplyAdds does n rounds of multiply-adds of registers. They wait for nothing but the
// arithmetic units.
func multiplyAdds(n int) {
	if micro == &microAVX512 {
		multiplyAddsAVX512(n)
		return
	}
	multiplyAddsAVX2(n)
}

// dotProducts does n rounds of VDPBF16PS.
func dotProducts(n int) { dotProductsAVX512BF16(n) }

// readAll reads values. Their number is a multiple of 128.
func readAll(x []float32) {
	switch micro {
	case &microAVX512:
		readAVX512(&x[0], len(x))
	case &microAVX2:
		readAVX2(&x[0], len(x))
	default:
		readSink.Store(int64(readAllGeneric(x)))
	}
}

// Processor says which kind of processor this is: its vendor, family and model.
func Processor() string {
	_, b, c, d := cpuid(0)
	var vendor []byte
	for _, letters := range []uint32{b, d, c} {
		for ; letters > 0; letters >>= 8 {
			vendor = append(vendor, byte(letters))
		}
	}
	version, _, _, _ := cpuid(1)
	family, model := signature(version)
	return fmt.Sprintf("%s family %d model %d", vendor, family, model)
}

// signature is the family and the model in what leaf 1 says of a processor.
func signature(version uint32) (family, model uint32) {
	family, model = version>>8&15, version>>4&15
	if family == 6 || family == 15 {
		model += version >> 16 & 15 << 4
	}
	if family == 15 {
		family += version >> 20 & 255
	}
	return family, model
}

//go:noescape
func cpuid(leaf uint32) (a, b, c, d uint32)

func multiplyAddsAVX2(n int)

func multiplyAddsAVX512(n int)

func dotProductsAVX512BF16(n int)

//go:noescape
func readAVX2(x *float32, n int)

//go:noescape
func readAVX512(x *float32, n int)
