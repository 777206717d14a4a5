package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func conv(c *build.Context) {
	for width := 2; width > 0; width-- {
		for mr := 6; mr > 0; mr -= 2 {
			runs(c, avx2, mr, width)
		}
		for mr := 8; mr > 0; mr -= 2 {
			runs(c, avx512, mr, width)
		}
	}
}

// runs is a runsFunc for mr rows of width registers: two, or one.
func runs(c *build.Context, s isa, mr, width int) {
	name := fmt.Sprintf("runs%dx%d%s", mr, width*s.lanes, s.name)
	c.Function(name)
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, " +
		"fetch *float32, move int)")
	c.Doc(fmt.Sprintf("%s computes a tile of %d×%d.", name, mr, width*s.lanes))

	cRows := newRows(c, load(c, "c"), load(c, "ldc"), mr)
	for i := range mr {
		c.PREFETCHT0(cRows.at(i, 0))
		c.PREFETCHT0(cRows.at(i, width*s.bytes()-1))
	}
	acc := s.vectors(c, width*mr)
	for _, v := range acc {
		s.zero(c, v)
	}
	eachRun(c, mr, 4, func(a []reg.GPVirtual, b, at, n reg.GPVirtual) {
		ks, bs, far := load(c, "ks"), load(c, "bs"), load(c, "fetch")
		c.SHLQ(Imm(2), ks)
		c.SHLQ(Imm(2), bs)

		c.Label("step")
		row := s.vectors(c, width)
		for j, v := range row {
			c.VMOVUPS(Mem{Base: b, Disp: j * s.bytes()}, v)
		}
		c.ADDQ(bs, b)
		c.PREFETCHT0(Mem{Base: far})
		c.ADDQ(param(c, "move"), far)
		for i := range mr {
			v := s.vector(c)
			c.VBROADCASTSS(Mem{Base: a[i], Index: at, Scale: 1}, v)
			for j := range row {
				c.VFMADD231PS(row[j], v, acc[width*i+j])
			}
		}
		c.ADDQ(ks, at)
		c.DECQ(n)
		c.JNZ(LabelRef("step"))
		c.MOVQ(far, param(c, "fetch"))
	})
	finish(c, s, mr, width, acc)
	end(c)
}

// eachRun repeats body for each of the parameter runs: with where its rows of A begin, where its
// first row of B does, a register that is 0, and how many steps it has. Values take size bytes.
func eachRun(
	c *build.Context, mr int, size uint8, body func(a []reg.GPVirtual, b, at, n reg.GPVirtual),
) {
	r, n := load(c, "runs"), c.GP64()
	c.MOVQ(Mem{Base: r}, n)
	c.TESTQ(n, n)
	c.JZ(LabelRef("summed"))

	c.Label("run")
	a := make([]reg.GPVirtual, mr)
	base, zeros := load(c, "a"), load(c, "zeros")
	for i := range a {
		a[i] = c.GP64()
		c.MOVQ(Mem{Base: r, Disp: 16 + 8*i}, a[i])
		c.TESTQ(a[i], a[i])
		c.LEAQ(Mem{Base: base, Index: a[i], Scale: size}, a[i])
		c.CMOVQLT(zeros, a[i])
	}
	at, b := c.GP64(), load(c, "b")
	c.MOVQ(Mem{Base: r, Disp: 8}, at)
	c.LEAQ(Mem{Base: b, Index: at, Scale: size}, b)
	c.XORQ(at, at)
	body(a, b, at, n)

	c.ADDQ(Imm(16+8*8), r)
	c.MOVQ(Mem{Base: r}, n)
	c.TESTQ(n, n)
	c.JNZ(LabelRef("run"))
	c.Label("summed")
}
