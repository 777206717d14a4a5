package main

import (
	"github.com/mmcloughlin/avo/build"
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

// dotProducts writes rounds of VDPBF16PS, which adds the products of pairs of bfloat16 values.
func dotProducts(c *build.Context) {
	c.Function("dotProductsAVX512BF16")
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(n int)")
	n := load(c, "n")
	for _, z := range vectorRegisters[:accumulators+1] {
		c.VPXORD(z, z, z)
	}
	c.Label("again")
	for i := range accumulators {
		dotBF16(c, i, accumulators, accumulators)
	}
	c.DECQ(n)
	c.JNZ(LabelRef("again"))
	end(c)
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
