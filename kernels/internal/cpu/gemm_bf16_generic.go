package cpu

import (
	"math"
	"unsafe"
)

// dotBF16 is the arithmetic of products of bfloat16 values, and of the instruction VDPBF16PS: it
// adds the products of two pairs to a sum, the second pair's first. Each product is added exactly,
// and the result is rounded once. Denormal operands count as zero, and so does a sum or a result
// that is denormal. What the bits of a NaN are is left open.
func dotBF16(sum float32, x, y [2]uint16) float32 {
	return addProduct(addProduct(sum, x[1], y[1]), x[0], y[0])
}

// least is the value from which on a result is rounded to a normal float32.
const least = 0x1p-126 - 0x1p-151

// addProduct is sum + x·y. The product is exact in float64, and rounding the sum to float64 first
// does not change what it is as a float32: x·y has 16 bits, and so the sum has more than 53 only
// where one term is far below the other's last bit.
func addProduct(sum float32, x, y uint16) float32 {
	s := float64(sum)
	if math.Abs(s) < 0x1p-126 {
		s = math.Copysign(0, s)
	}
	s += normalBF16(x) * normalBF16(y)
	if math.Abs(s) < least {
		s = math.Copysign(0, s)
	}
	return float32(s)
}

// normalBF16 is the value of b, or zero if it is denormal.
func normalBF16(b uint16) float64 {
	if b&0x7f80 == 0 {
		b &= 0x8000
	}
	return float64(FromBF16(b))
}

// microBF16Generic is the micro-kernel in Go, for a tile of 4×4.
var microBF16Generic = microBF16{
	name: "generic", mr: 4, nr: 4, tile: tileBF16Generic, store: storeBF16Generic,
	storeWhole: storeFloat32Generic,
	interleave: interleaveGeneric, pairColumns: pairColumnsGeneric, copyRows: copyRowsGeneric,
}

func tileBF16Generic(a, b *uint16, c *float32, k, rs, ks int, add bool) {
	rs, ks = rs/2, ks/2
	as, bs, cs := unsafe.Slice(a, 3*rs+(k-1)*ks+2), unsafe.Slice(b, 8*k), unsafe.Slice(c, 16)
	if !add {
		clear(cs)
	}
	for i := range 4 {
		for p := range k {
			x := [2]uint16(as[i*rs+p*ks:])
			for j := range 4 {
				cs[4*i+j] = dotBF16(cs[4*i+j], x, [2]uint16(bs[8*p+2*j:]))
			}
		}
	}
}

func storeBF16Generic(dst *uint16, src, bias *float32, ld, rows int) {
	ld /= 2
	d, s := unsafe.Slice(dst, (rows-1)*ld+4), unsafe.Slice(src, 4*rows)
	for i := range rows {
		for j, b := range unsafe.Slice(bias, 4) {
			d[i*ld+j] = ToBF16(s[4*i+j] + b)
		}
	}
}

func storeFloat32Generic(dst, src, bias *float32, ld, rows int) {
	ld /= 4
	d, s := unsafe.Slice(dst, (rows-1)*ld+4), unsafe.Slice(src, 4*rows)
	for i := range rows {
		for j, b := range unsafe.Slice(bias, 4) {
			d[i*ld+j] = s[4*i+j] + b
		}
	}
}

// interleaveGeneric is the definition of microBF16.interleave.
func interleaveGeneric(dst, src []uint16, stride, width, wide, n, k int) {
	for p := range ceilDiv(k, 2) {
		for j := range wide {
			var pair [2]uint16
			for h := range min(2, k-2*p) {
				if j < n {
					pair[h] = src[(2*p+h)*stride+j]
				}
			}
			copy(dst[(p*width+j)*2:], pair[:])
		}
	}
}

// pairColumnsGeneric is the definition of microBF16.pairColumns.
func pairColumnsGeneric(dst, src []uint16, stride, width, n, k int) {
	for j := range width {
		for p := range ceilDiv(k, 2) {
			var pair [2]uint16
			for h := range min(2, k-2*p) {
				if j < n {
					pair[h] = src[j*stride+2*p+h]
				}
			}
			copy(dst[(p*width+j)*2:], pair[:])
		}
	}
}

// copyRowsGeneric is the definition of microBF16.copyRows.
func copyRowsGeneric(dst, src []uint16, stride, width, n, k int) {
	for p := range k {
		copy(dst[p*width:][:n], src[p*stride:])
	}
}
