package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func bfloat16(c *build.Context) {
	for _, s := range []isa{avx2, avx512} {
		toBF16(c, s)
		fromBF16(c, s)
	}
}

// A rounder rounds float32 values to bfloat16, as ToBF16 does.
type rounder struct {
	s                isa
	one, half, quiet reg.VecVirtual // 1, just below half a unit, and the bit of NaN
}

func newRounder(c *build.Context, s isa) rounder {
	return rounder{
		s: s, one: constant(c, s, 1), half: constant(c, s, 0x7fff), quiet: constant(c, s, 0x40),
	}
}

// round leaves in each lane of x the bits of the bfloat16.
func (r rounder) round(c *build.Context, x reg.VecVirtual) {
	upper, odd := r.s.vector(c), r.s.vector(c)
	c.VPSRLD(Imm(16), x, upper)
	if r.s.lanes == 16 {
		nan := c.K()
		c.VCMPPS(Imm(3), x, x, nan)
		c.VPANDD(r.one, upper, odd)
		c.VPADDD(r.half, x, x)
		c.VPADDD(odd, x, x)
		c.VPSRLD(Imm(16), x, x)
		c.VPORD(r.quiet, upper, nan, x)
		return
	}
	nan := c.YMM()
	c.VCMPPS(Imm(3), x, x, nan)
	c.VPAND(r.one, upper, odd)
	c.VPADDD(r.half, x, x)
	c.VPADDD(odd, x, x)
	c.VPSRLD(Imm(16), x, x)
	c.VPOR(r.quiet, upper, upper)
	c.VBLENDVPS(nan, upper, x, x)
}

// store rounds two registers and stores the bfloat16 values.
func (r rounder) store(c *build.Context, x []reg.VecVirtual, dst Mem) {
	for _, v := range x {
		r.round(c, v)
	}
	if r.s.lanes == 16 {
		for j, v := range x {
			c.VPMOVDW(v, dst.Offset(32*j))
		}
		return
	}
	c.VPACKUSDW(x[1], x[0], x[0])
	c.VPERMQ(Imm(0xd8), x[0], x[0])
	c.VMOVDQU(x[0], dst)
}

// halfLoop repeats body for n/32 times, with indices that count bytes of float32 and of bfloat16
// values.
func halfLoop(c *build.Context, n reg.GPVirtual, body func(whole, half reg.GPVirtual)) {
	whole, half := c.GP64(), c.GP64()
	c.XORQ(whole, whole)
	c.XORQ(half, half)
	c.Label("loop")
	body(whole, half)
	c.ADDQ(U32(128), whole)
	c.ADDQ(U32(64), half)
	c.SUBQ(U32(32), n)
	c.JNZ(LabelRef("loop"))
	end(c)
}

func toBF16(c *build.Context, s isa) {
	const doc = "is dst[i] = ToBF16(x[i])."
	n, at := begin(c, "toBF16", s, "func(dst *uint16, x *float32, n int)", doc, "dst", "x")
	r := newRounder(c, s)
	halfLoop(c, n, func(whole, half reg.GPVirtual) {
		for i := 0; i < 128; i += 2 * s.bytes() {
			x := s.vectors(c, 2)
			for j, v := range x {
				c.VMOVUPS(Mem{Base: at[1], Index: whole, Scale: 1, Disp: i + j*s.bytes()}, v)
			}
			r.store(c, x, Mem{Base: at[0], Index: half, Scale: 1, Disp: i / 2})
		}
	})
}

func fromBF16(c *build.Context, s isa) {
	const doc = "is dst[i] = FromBF16(x[i])."
	n, at := begin(c, "fromBF16", s, "func(dst *float32, x *uint16, n int)", doc, "dst", "x")
	halfLoop(c, n, func(whole, half reg.GPVirtual) {
		for i := 0; i < 128; i += s.bytes() {
			v := s.vector(c)
			c.VPMOVZXWD(Mem{Base: at[1], Index: half, Scale: 1, Disp: i / 2}, v)
			c.VPSLLD(Imm(16), v, v)
			c.VMOVUPS(v, Mem{Base: at[0], Index: whole, Scale: 1, Disp: i})
		}
	})
}
