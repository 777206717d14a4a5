package main

import (
	. "github.com/mmcloughlin/avo/operand"

	"github.com/mmcloughlin/avo/build"
)

// probe writes n rounds of multiply-adds. They wait for nothing but the arithmetic units. Their
// rate is the most that the processor can do.
func probe(c *build.Context) {
	for _, s := range []isa{avx2, avx512} {
		c.Function("multiplyAdds" + s.name)
		c.Attributes(build.NOSPLIT)
		c.SignatureExpr("func(n int)")
		n := load(c, "n")
		acc := s.vectors(c, 12)
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
		c.VZEROUPPER()
		c.RET()
	}
}
