package kernels

import "fmt"

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

// Size is how many bytes a value takes.
func (p Precision) Size() int {
	if p == Float32 {
		return 4
	}
	return 2
}

// String is the name that PyTorch has for p, such as "bfloat16".
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
