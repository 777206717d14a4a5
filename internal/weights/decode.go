package weights

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/nlpodyssey/safetensors"
	"github.com/x448/float16"
)

// decode converts len(dst) values of type d, which b holds, to float32. It reports false for a type
// that is not read.
func decode(dst []float32, b []byte, d safetensors.DType) bool {
	le := binary.LittleEndian
	switch d {
	case safetensors.F32:
		for i := range dst {
			dst[i] = math.Float32frombits(le.Uint32(b[4*i:]))
		}
	case safetensors.F16:
		for i := range dst {
			dst[i] = float16.Frombits(le.Uint16(b[2*i:])).Float32()
		}
	case safetensors.BF16:
		for i := range dst {
			dst[i] = math.Float32frombits(uint32(le.Uint16(b[2*i:])) << 16)
		}
	case safetensors.F64:
		for i := range dst {
			dst[i] = float32(math.Float64frombits(le.Uint64(b[8*i:])))
		}
	case safetensors.I64:
		for i := range dst {
			dst[i] = float32(int64(le.Uint64(b[8*i:])))
		}
	case safetensors.I32:
		for i := range dst {
			dst[i] = float32(int32(le.Uint32(b[4*i:])))
		}
	case safetensors.U8:
		for i := range dst {
			dst[i] = float32(b[i])
		}
	case f8e4m3:
		for i := range dst {
			dst[i] = float8(b[i])
		}
	case f8e5m2:
		for i := range dst { // the upper half of a float16
			dst[i] = float16.Frombits(uint16(b[i]) << 8).Float32()
		}
	default:
		return false
	}
	return true
}

// float8 is a number of F8_E4M3: a sign, 4 bits of an exponent whose bias is 7, and 3 of a
// fraction. It has no infinities, and ±0x7f is NaN (Micikevicius et al. 2022).
func float8(b byte) float32 {
	exponent, fraction := int(b>>3&15), float64(b&7)
	var v float64
	switch {
	case b&0x7f == 0x7f:
		return float32(math.NaN())
	case exponent == 0:
		v = math.Ldexp(fraction, -9)
	default:
		v = math.Ldexp(8+fraction, exponent-10)
	}
	if b > 0x7f {
		v = -v
	}
	return float32(v)
}

// decodeBlock is how many values are decoded before they are checked. They still lie in the cache
// then.
const decodeBlock = 1 << 14

// floats decodes a stored tensor into dst, in the file's order, and gives back the memory of its
// pages.
func (s stored) floats(dst []float32) error {
	defer s.of.forget(s.from, s.to)
	if !decode(dst, s.bytes(), s.dtype) {
		return fmt.Errorf("tensor %s is %s, which is not read", Printable(s.origin), s.kind)
	}
	return nil
}

// into decodes a stored tensor of finite numbers into a parameter's memory, and gives back the
// memory of its pages. It needs no memory besides, but for one filter of a convolution.
func (s stored) into(p parameter) error {
	defer s.of.forget(s.from, s.to)
	dst, one := p.Value.Float32s(), s.width
	rows, row := (s.size()+decodeBlock-1)/decodeBlock, decodeBlock
	var filter []float32
	if p.layout == conv {
		rows = p.Value.Shape()[0]
		row = len(dst) / rows
		filter = make([]float32, row)
	}
	for i := range rows {
		from, to := i*row, min((i+1)*row, len(dst))
		values := dst[from:to]
		if filter != nil {
			values = filter
		}
		if !decode(values, s.bytes()[from*one:to*one], s.dtype) {
			return fmt.Errorf("%s is %s, which is not read", Printable(s.origin), s.kind)
		}
		for k, v := range values {
			if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
				return fmt.Errorf("%s is %v at element %d", Printable(s.origin), v, from+k)
			}
		}
		if filter != nil {
			channelsLast(dst[from:to], filter, p.Value.Shape()[3])
		}
	}
	return nil
}

// channelsLast reorders one filter [Cin,KH,KW] to [KH,KW,Cin].
func channelsLast(dst, src []float32, in int) {
	area := len(src) / in
	for c := range in {
		for a, v := range src[c*area : (c+1)*area] {
			dst[a*in+c] = v
		}
	}
}
