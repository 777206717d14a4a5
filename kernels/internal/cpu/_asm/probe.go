package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// accumulators is how many registers a probe of arithmetic adds to in turn. A multiply-add takes
// four cycles, and processors begin two in a cycle at most.
const accumulators = 12

// probe writes what shows the most that the processor does: n rounds of arithmetic that waits for
// nothing but its units, and reading that does nothing else.
func probe(c *build.Context) {
	for _, s := range []isa{avx2, avx512} {
		multiplyAdds(c, s)
	}
	dotProducts(c)
	for _, s := range []isa{avx2, avx512} {
		readAll(c, s)
	}
	identify(c)
}

// multiplyAdds writes rounds of multiply-adds of float32 values.
func multiplyAdds(c *build.Context, s isa) {
	c.Function("multiplyAdds" + s.name)
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(n int)")
	n := load(c, "n")
	acc := s.vectors(c, accumulators)
	x := s.vector(c)
	s.zero(c, x)
	for _, v := range acc {
		s.zero(c, v)
	}
	c.Label("again")
	for _, v := range acc {
		c.VFMADD231PS(x, x, v)
	}
	c.DECQ(n)
	c.JNZ(LabelRef("again"))
	end(c)
}

// dotProducts writes rounds of VDPBF16PS, which adds the products of pairs of bfloat16 values. The
// assembler of Go does not know it.
func dotProducts(c *build.Context) {
	c.Function("dotProductsAVX512BF16")
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(n int)")
	n := load(c, "n")
	for _, z := range []reg.VecPhysical{
		reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7, reg.Z8, reg.Z9, reg.Z10,
		reg.Z11, reg.Z12,
	} {
		c.VPXORD(z, z, z)
	}
	c.Label("again")
	for i := range accumulators {
		c.Comment(fmt.Sprintf("VDPBF16PS Z%d, Z%d, Z%d", accumulators, accumulators, i))
		for _, b := range dotProduct(i, accumulators) {
			c.Instruction(&ir.Instruction{Opcode: "BYTE", Operands: []Op{U8(b)}})
		}
	}
	c.DECQ(n)
	c.JNZ(LabelRef("again"))
	end(c)
}

// dotProduct is VDPBF16PS of the register x with itself, added to the register acc. Both are below
// 16. Intel's manual has the encoding as EVEX.512.F3.0F38.W0 52 /r.
func dotProduct(acc, x int) []byte {
	invert := func(bit int) byte { return byte(^bit & 1) }
	return []byte{
		0x62,
		invert(acc>>3)<<7 | 1<<6 | invert(x>>3)<<5 | 1<<4 | 2, // bits 3 of the registers; 0F38
		byte(^x&15)<<3 | 1<<2 | 2,                             // the first factor; F3
		2<<5 | 1<<3,                                           // 512 bits
		0x52,
		3<<6 | byte(acc&7)<<3 | byte(x&7),
	}
}

// readAll writes loads of n values, a multiple of 128.
func readAll(c *build.Context, s isa) {
	n, at := begin(c, "read", s, "func(x *float32, n int)", "loads n values, a multiple of 128.",
		"x")
	loop(c, "again", n, 128, func(i reg.GPVirtual) {
		for at0, v := 0, s.vector(c); at0 < 4*128; at0 += s.bytes() {
			c.VMOVUPS(Mem{Base: at[0], Index: i, Scale: 1, Disp: at0}, v)
		}
	})
	end(c)
}

// identify writes what the processor says of itself.
func identify(c *build.Context) {
	c.Function("cpuid")
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(leaf uint32) (a, b, c, d uint32)")
	c.Load(c.Param("leaf"), reg.EAX)
	c.XORL(reg.ECX, reg.ECX)
	c.CPUID()
	for i, r := range []reg.Register{reg.EAX, reg.EBX, reg.ECX, reg.EDX} {
		c.Store(r, c.Return(string("abcd"[i])))
	}
	c.RET()
}
