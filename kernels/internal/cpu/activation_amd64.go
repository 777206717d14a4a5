//go:build !purego

package cpu

import "math"

// An elementwise function is one of assembly. n is a positive multiple of vectorLanes. One with a
// single input does not read y. table is activationTable.
type elementwise func(dst, x, y *float32, n int, table *float32)

// activationAssembly is the assembly of activationBodies.
type activationAssembly struct {
	add, mul, exp, sigmoid   elementwise
	silu, siluGrad           elementwise
	quickGELU, quickGELUGrad elementwise
	gelu, geluGrad           elementwise
}

var (
	activationAVX2 = activationAssembly{
		addAVX2, mulAVX2, expAVX2, sigmoidAVX2,
		siluAVX2, siluGradAVX2,
		quickGELUAVX2, quickGELUGradAVX2,
		geluAVX2, geluGradAVX2,
	}
	activationAVX512 = activationAssembly{
		addAVX512, mulAVX512, expAVX512, sigmoidAVX512,
		siluAVX512, siluGradAVX512,
		quickGELUAVX512, quickGELUGradAVX512,
		geluAVX512, geluGradAVX512,
	}
)

// bodies returns the definitions where there is no assembly.
func (a activationAssembly) bodies() activationBodies {
	v := activationGeneric
	v.add, v.mul = a.add.binary(addGeneric), a.mul.binary(mulGeneric)
	v.exp, v.sigmoid = a.exp.unary(expGeneric), a.sigmoid.unary(sigmoidGeneric)
	v.silu, v.siluGrad = a.silu.unary(siluGeneric), a.siluGrad.binary(siluGradGeneric)
	v.quickGELU = a.quickGELU.unary(quickGELUGeneric)
	v.quickGELUGrad = a.quickGELUGrad.binary(quickGELUGradGeneric)
	v.gelu, v.geluGrad = a.gelu.unary(geluGeneric), a.geluGrad.binary(geluGradGeneric)
	v.geglu = func(dst, value, gate []float32) {
		v.gelu(dst, gate)
		v.mul(dst, dst, value)
	}
	v.gegluGrad = func(dvalue, dgate, value, gate, dy []float32) {
		v.gelu(dvalue, gate)
		v.mul(dvalue, dvalue, dy)
		v.geluGrad(dgate, gate, value)
		v.mul(dgate, dgate, dy)
	}
	return v
}

// unary uses the definition for the values that do not fill registers.
func (f elementwise) unary(definition unary) unary {
	return func(dst, x []float32) {
		n := wholeLanes(len(dst))
		if n > 0 {
			_ = x[n-1]
			f(&dst[0], &x[0], &x[0], n, &activationTable[0][0])
		}
		definition(dst[n:], x[n:])
	}
}

// binary uses the definition for the values that do not fill registers.
func (f elementwise) binary(definition binary) binary {
	return func(dst, x, y []float32) {
		n := wholeLanes(len(dst))
		if n > 0 {
			_, _ = x[n-1], y[n-1]
			f(&dst[0], &x[0], &y[0], n, &activationTable[0][0])
		}
		definition(dst[n:], x[n:], y[n:])
	}
}

// activationTable holds the constants that the assembly reads. Each fills a register. The order is
// the one of the generator in _asm.
var activationTable = func() (table [27][16]float32) {
	rows := []float32{
		math.Log2E, ln2High, ln2Low, lowestExp, highestExp, 1, 0.5, math.Float32frombits(127),
		1.0 / 5040, 1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6,
		quick, math.Sqrt2 / 2, densityAt0, math.Float32frombits(1<<31 - 1),
	}
	rows = append(rows, erfc32[:]...)
	for i, v := range rows {
		for lane := range table[i] {
			table[i][lane] = v
		}
	}
	return table
}()

//go:noescape
func addAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func mulAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func expAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func sigmoidAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func siluAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func siluGradAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func quickGELUAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func quickGELUGradAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func geluAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func geluGradAVX2(dst, x, y *float32, n int, table *float32)

//go:noescape
func addAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func mulAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func expAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func sigmoidAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func siluAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func siluGradAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func quickGELUAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func quickGELUGradAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func geluAVX512(dst, x, y *float32, n int, table *float32)

//go:noescape
func geluGradAVX512(dst, x, y *float32, n int, table *float32)
