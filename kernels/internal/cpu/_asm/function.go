package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// begin starts a function over n values, a multiple of the register's lanes. It returns n and the
// pointers that are named.
func begin(
	c *build.Context, name string, s isa, signature, doc string, pointers ...string,
) (n reg.GPVirtual, at []reg.GPVirtual) {
	c.Function(name + s.name)
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr(signature)
	c.Doc(name + s.name + " " + doc)
	for _, p := range pointers {
		at = append(at, load(c, p))
	}
	return load(c, "n"), at
}

// load is a parameter of the function, in a register.
func load(c *build.Context, name string) reg.GPVirtual {
	return c.Load(c.Param(name), c.GP64()).(reg.GPVirtual)
}

// param is where a parameter of the function is in memory.
func param(c *build.Context, name string) Mem {
	p, err := c.Param(name).Resolve()
	if err != nil {
		panic(name + ": " + err.Error())
	}
	return p.Addr
}

// end leaves a function that used wide registers.
func end(c *build.Context) {
	c.VZEROUPPER()
	c.RET()
}

// loop repeats body for n/step times, with an index that counts bytes.
func loop(c *build.Context, name string, n reg.GPVirtual, step int, body func(i reg.GPVirtual)) {
	i := c.GP64()
	c.XORQ(i, i)
	c.Label(name)
	body(i)
	c.ADDQ(U32(4*step), i)
	c.SUBQ(U32(step), n)
	c.JNZ(LabelRef(name))
}

// constant has the bits of value in every lane of a register.
func constant(c *build.Context, s isa, value uint32) reg.VecVirtual {
	x, v := c.GP32(), s.vector(c)
	c.MOVL(U32(value), x)
	c.VMOVD(x, v.AsX())
	c.VPBROADCASTD(v.AsX(), v)
	return v
}

// broadcast is a parameter of the function, in every lane of a register.
func broadcast(c *build.Context, s isa, name string) reg.VecVirtual {
	v := s.vector(c)
	c.VBROADCASTSS(param(c, name), v)
	return v
}

// addUp is the sum of all lanes of float64 registers, in the lowest lane of one.
func addUp(c *build.Context, s isa, sums []reg.VecVirtual) reg.VecVirtual {
	for _, v := range sums[1:] {
		c.VADDPD(v, sums[0], sums[0])
	}
	half := sums[0].AsY()
	if s.lanes == 16 {
		high := c.YMM()
		c.VEXTRACTF64X4(Imm(1), sums[0], high)
		c.VADDPD(high, half, half)
	}
	high := c.XMM()
	c.VEXTRACTF128(Imm(1), half, high)
	c.VADDPD(high, sums[0].AsX(), high)
	odd := c.XMM()
	c.VPERMILPD(Imm(1), high, odd)
	c.VADDSD(odd, high, high)
	return high
}
