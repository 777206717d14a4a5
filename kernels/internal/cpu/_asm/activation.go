package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// The rows of the table of constants that every function here gets. Each is as wide as a register.
// The table is activationTable in the package, and has the same order.
const (
	kLog2E = iota
	kLn2High
	kLn2Low
	kLowest
	kHighest
	kOne
	kHalf
	kExponent // 127, as an integer
	kTaylor   // 1/7!, 1/6!, … 1/3!: five rows
	kQuick    = kTaylor + 5
	kRootHalf = kQuick + 1
	kDensity  = kRootHalf + 1
	kAbs      = kDensity + 1 // every bit but the sign
	kErfc     = kAbs + 1     // from the highest power down: ten rows
)

// An emitter writes arithmetic on registers of one instruction set.
type emitter struct {
	*build.Context
	isa
	table reg.GPVirtual
}

func (e emitter) k(row int) Mem { return Mem{Base: e.table, Disp: 64 * row} }

func (e emitter) new() reg.VecVirtual { return e.vector(e.Context) }

func (e emitter) load(row int) reg.VecVirtual {
	v := e.new()
	e.VMOVUPS(e.k(row), v)
	return v
}

func (e emitter) mul(a Op, b reg.VecVirtual) reg.VecVirtual {
	v := e.new()
	e.VMULPS(a, b, v)
	return v
}

// negate is −a.
func (e emitter) negate(a reg.VecVirtual) reg.VecVirtual {
	v := e.new()
	e.zero(e.Context, v)
	e.VSUBPS(a, v, v)
	return v
}

// exp is e^x, in the steps of exp32.
func (e emitter) exp(x reg.VecVirtual) reg.VecVirtual {
	r, n, m, whole, p := e.new(), e.new(), e.new(), e.new(), e.new()
	e.VMOVUPS(e.k(kLowest), r)
	e.VMAXPS(x, r, r) // the second operand, x, if it is not a number
	e.VMOVUPS(e.k(kHighest), m)
	e.VMINPS(r, m, r)
	e.VMULPS(e.k(kLog2E), r, n)
	e.VCVTPS2DQ(n, n)
	e.VCVTDQ2PS(n, whole)
	e.VFNMADD231PS(e.k(kLn2High), whole, r)
	e.VFNMADD231PS(e.k(kLn2Low), whole, r)
	e.VMOVUPS(e.k(kTaylor), p)
	for i := 1; i < 5; i++ {
		e.VFMADD213PS(e.k(kTaylor+i), r, p)
	}
	e.VFMADD213PS(e.k(kHalf), r, p)
	e.VMULPS(r, p, p)
	e.VFMADD213PS(r, r, p) // p·r + r
	e.VADDPS(e.k(kOne), p, p)
	e.VPSRAD(Imm(1), n, m)
	e.VPSUBD(m, n, n)
	for _, half := range []reg.VecVirtual{m, n} {
		e.VPADDD(e.k(kExponent), half, half)
		e.VPSLLD(Imm(23), half, half)
		e.VMULPS(half, p, p)
	}
	return p
}

// sigmoid is 1/(1+e^−x).
func (e emitter) sigmoid(x reg.VecVirtual) reg.VecVirtual {
	v, one := e.exp(e.negate(x)), e.load(kOne)
	e.VADDPS(one, v, v)
	e.VDIVPS(v, one, v)
	return v
}

// slope is d(x·σ(x))/dx = σ·(1 + x·(1−σ)).
func (e emitter) slope(x reg.VecVirtual) reg.VecVirtual {
	s := e.sigmoid(x)
	v := e.load(kOne)
	e.VSUBPS(s, v, v)
	e.VFMADD213PS(e.k(kOne), x, v)
	e.VMULPS(s, v, v)
	return v
}

// normal is Φ(x), in the steps of normal32.
func (e emitter) normal(x reg.VecVirtual) reg.VecVirtual {
	z, t, p := e.new(), e.load(kOne), e.new()
	e.VMULPS(e.k(kRootHalf), x, z)
	e.and(e.k(kAbs), z)
	one := e.load(kOne)
	e.VFMADD231PS(e.k(kHalf), z, t)
	e.VDIVPS(t, one, t)
	e.VMOVUPS(e.k(kErfc), p)
	for i := 1; i < 10; i++ {
		e.VFMADD213PS(e.k(kErfc+i), t, p)
	}
	e.VFNMADD231PS(z, z, p)
	tail := e.exp(p)
	e.VMULPS(t, tail, tail)
	e.VMULPS(e.k(kHalf), tail, tail)
	// tail where x < 0, 1 − tail elsewhere: the sign of x picks.
	upper := e.load(kOne)
	e.VSUBPS(tail, upper, upper)
	sign := e.new()
	e.VPSRAD(Imm(31), x, sign)
	e.pick(sign, tail, upper)
	return upper
}

// and clears the bits of v that mask does not have.
func (e emitter) and(mask Mem, v reg.VecVirtual) {
	if e.lanes == 16 {
		e.VPANDD(mask, v, v)
		return
	}
	e.VPAND(mask, v, v)
}

// pick makes b the bits of a where mask is set: b ^= (a ^ b) & mask.
func (e emitter) pick(mask, a, b reg.VecVirtual) {
	t := e.new()
	if e.lanes == 16 {
		e.VPXORD(a, b, t)
		e.VPANDD(mask, t, t)
		e.VPXORD(t, b, b)
		return
	}
	e.VPXOR(a, b, t)
	e.VPAND(mask, t, t)
	e.VPXOR(t, b, b)
}

// bell is Φ(x) + x·φ(x), the slope of GELU.
func (e emitter) bell(x reg.VecVirtual) reg.VecVirtual {
	v := e.normal(x)
	q := e.mul(e.k(kHalf), x)
	d := e.exp(e.negate(e.mul(x, q)))
	e.VMULPS(e.k(kDensity), d, d)
	e.VFMADD231PS(d, x, v)
	return v
}

// activation writes the elementwise functions. They all have one signature. A unary function does
// not read y.
func activation(c *build.Context) {
	const signature = "func(dst, x, y *float32, n int, table *float32)"
	type vec = reg.VecVirtual
	for _, s := range []isa{avx2, avx512} {
		for _, f := range []struct {
			name string
			body func(e emitter, x vec, y Mem) vec
		}{
			{"exp", func(e emitter, x vec, _ Mem) vec { return e.exp(x) }},
			{"sigmoid", func(e emitter, x vec, _ Mem) vec { return e.sigmoid(x) }},
			{"silu", func(e emitter, x vec, _ Mem) vec { return e.mul(x, e.sigmoid(x)) }},
			{"siluGrad", func(e emitter, x vec, y Mem) vec { return e.mul(y, e.slope(x)) }},
			{"quickGELU", func(e emitter, x vec, _ Mem) vec {
				return e.mul(x, e.sigmoid(e.mul(e.k(kQuick), x)))
			}},
			{"quickGELUGrad", func(e emitter, x vec, y Mem) vec {
				return e.mul(y, e.slope(e.mul(e.k(kQuick), x)))
			}},
			{"gelu", func(e emitter, x vec, _ Mem) vec { return e.mul(x, e.normal(x)) }},
			{"geluGrad", func(e emitter, x vec, y Mem) vec { return e.mul(y, e.bell(x)) }},
			{"add", func(e emitter, x vec, y Mem) vec {
				e.VADDPS(y, x, x)
				return x
			}},
			{"mul", func(e emitter, x vec, y Mem) vec { return e.mul(y, x) }},
		} {
			doc := "is " + f.name + " of n values."
			n, at := begin(c, f.name, s, signature, doc, "dst", "x", "y", "table")
			e := emitter{c, s, at[3]}
			loop(c, "next", n, s.lanes, func(i reg.GPVirtual) {
				dst := Mem{Base: at[0], Index: i, Scale: 1}
				x, y := e.new(), Mem{Base: at[2], Index: i, Scale: 1}
				c.VMOVUPS(Mem{Base: at[1], Index: i, Scale: 1}, x)
				c.VMOVUPS(f.body(e, x, y), dst)
			})
			end(c)
		}
	}
}
