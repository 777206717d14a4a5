package kernels

import (
	"fmt"
	"unsafe"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// A Precision is how numbers are stored: the values of a Machine, or the weights in a file.
type Precision uint8

const (
	// Float32 is IEEE 754's binary32. It is the zero value.
	Float32 Precision = iota
	// BFloat16 has the range of Float32 and 8 bits of precision: it is the upper half of a Float32.
	BFloat16
	// Float16 is IEEE 754's binary16: 11 bits of precision, up to 65504. It is for files alone.
	Float16
)

// Size returns how many bytes a value takes.
func (p Precision) Size() int {
	if p == Float32 {
		return 4
	}
	return 2
}

// String returns the name that PyTorch has for p, such as "bfloat16".
func (p Precision) String() string {
	switch p {
	case Float32:
		return "float32"
	case BFloat16:
		return "bfloat16"
	case Float16:
		return "float16"
	}
	return fmt.Sprintf("Precision(%d)", uint8(p))
}

// A BF16 is a bfloat16: the upper half of a float32.
type BF16 uint16

// NewBF16 returns x rounded to the nearest bfloat16. Of two that are equally near it is the one
// whose last bit is 0. Values that are too large become infinite. NaN stays NaN.
func NewBF16(x float32) BF16 { return BF16(cpu.ToBF16(x)) }

// Float32 returns the value of b. Every bfloat16 is a float32, so nothing is rounded.
func (b BF16) Float32() float32 { return cpu.FromBF16(uint16(b)) }

// words is x in the type that package cpu has for bfloat16.
func words(x []BF16) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.SliceData(x)), len(x))
}
