package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// softmax writes the passes over a row of scores and over its gradient. Each takes a multiple of 16
// values.
func softmax(c *build.Context) {
	for _, s := range []isa{avx2, avx512} {
		scale(c, s)
		highest(c, s)
		expShift(c, s)
		dot(c, s)
		softmaxGrad(c, s)
	}
}

func scale(c *build.Context, s isa) {
	n, at := begin(c, "scale", s, "func(dst, x *float32, n int, a float32)",
		"is a·x for n values.", "dst", "x")
	a := broadcast(c, s, "a")
	loop(c, "next", n, s.lanes, func(i reg.GPVirtual) {
		v := s.vector(c)
		c.VMULPS(Mem{Base: at[1], Index: i, Scale: 1}, a, v)
		c.VMOVUPS(v, Mem{Base: at[0], Index: i, Scale: 1})
	})
	end(c)
}

// highest passes over NaN. If one of its operands is not a number, VMAXPS returns the second, which
// is the highest value so far.
func highest(c *build.Context, s isa) {
	n, at := begin(c, "max", s, "func(x *float32, n int, least float32) float32",
		"returns the largest of n values and least.", "x")
	top := broadcast(c, s, "least")
	loop(c, "next", n, s.lanes, func(i reg.GPVirtual) {
		v := s.vector(c)
		c.VMOVUPS(Mem{Base: at[0], Index: i, Scale: 1}, v)
		c.VMAXPS(top, v, top)
	})
	c.Store(fold(c, s, top, c.VMAXPS), c.ReturnIndex(0))
	end(c)
}

// fold reduces a register to its lowest float32 lane.
func fold(c *build.Context, s isa, v reg.VecVirtual, f func(...Op)) reg.VecVirtual {
	half := v.AsY()
	if s.lanes == 16 {
		high := c.YMM()
		c.VEXTRACTF64X4(Imm(1), v, high)
		f(high, half, half)
	}
	high := c.XMM()
	c.VEXTRACTF128(Imm(1), half, high)
	low := v.AsX().(reg.VecVirtual)
	f(high, low, low)
	for _, order := range []uint64{0x4e, 0xb1} {
		other := c.XMM()
		c.VPERMILPS(Imm(order), low, other)
		f(other, low, low)
	}
	return low
}

// expShift stores float32 values and adds them up in float64.
func expShift(c *build.Context, s isa) {
	n, at := begin(c, "expShift", s,
		"func(x *float32, n int, shift float32, table *float32) float64",
		"makes n values e^(x−shift) and returns their sum.", "x", "table")
	e := emitter{c, s, at[1]}
	shift := broadcast(c, s, "shift")
	w := &strip{Context: c, isa: s}
	sum := s.vectors(c, 2)
	for _, v := range sum {
		s.zero(c, v)
	}
	loop(c, "next", n, s.lanes, func(i reg.GPVirtual) {
		v := s.vector(c)
		c.VMOVUPS(Mem{Base: at[0], Index: i, Scale: 1}, v)
		c.VSUBPS(shift, v, v)
		v = e.exp(v)
		c.VMOVUPS(v, Mem{Base: at[0], Index: i, Scale: 1})
		for k, half := range w.halvesOf(v) {
			c.VADDPD(half, sum[k], sum[k])
		}
	})
	c.Store(addUp(c, s, sum), c.ReturnIndex(0))
	end(c)
}

func dot(c *build.Context, s isa) {
	n, at := begin(c, "dot", s, "func(x, y *float32, n int) float64",
		"returns the sum of x·y of n values.", "x", "y")
	const sums = 2
	sum := s.vectors(c, sums)
	for _, v := range sum {
		s.zero(c, v)
	}
	loop(c, "next", n, sums*s.lanes/2, func(i reg.GPVirtual) {
		for k, v := range sum {
			x, y := s.vector(c), s.vector(c)
			c.VCVTPS2PD(Mem{Base: at[0], Index: i, Scale: 1, Disp: k * s.bytes() / 2}, x)
			c.VCVTPS2PD(Mem{Base: at[1], Index: i, Scale: 1, Disp: k * s.bytes() / 2}, y)
			c.VFMADD231PD(x, y, v)
		}
	})
	c.Store(addUp(c, s, sum), c.ReturnIndex(0))
	end(c)
}

func softmaxGrad(c *build.Context, s isa) {
	n, at := begin(c, "softmaxGrad", s, "func(p, dp *float32, n int, delta float32)",
		"makes n values p·(dp−delta).", "p", "dp")
	delta := broadcast(c, s, "delta")
	loop(c, "next", n, s.lanes, func(i reg.GPVirtual) {
		p, v := Mem{Base: at[0], Index: i, Scale: 1}, s.vector(c)
		c.VMOVUPS(Mem{Base: at[1], Index: i, Scale: 1}, v)
		c.VSUBPS(delta, v, v)
		c.VMULPS(p, v, v)
		c.VMOVUPS(v, p)
	})
	end(c)
}
