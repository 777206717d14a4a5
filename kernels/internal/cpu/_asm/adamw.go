package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func adamw(c *build.Context) {
	for _, s := range []isa{avx2, avx512} {
		adamwStep(c, s)
		squares(c, s)
		blend(c, s)
	}
}

// adamwStep is the body of AdamW.
func adamwStep(c *build.Context, s isa) {
	n, at := begin(c, "adamw", s, "func(p, m, v, grad *float32, n int, s *float32)",
		"is one step for n parameters; s points to an AdamWStep.", "p", "m", "v", "grad", "s")
	constant := make([]reg.VecVirtual, 8) // in the order of AdamWStep's fields
	for k := range constant {
		constant[k] = s.vector(c)
		c.VBROADCASTSS(Mem{Base: at[4], Disp: 4 * k}, constant[k])
	}
	keep, beta1, beta2, rest1 := constant[0], constant[1], constant[2], constant[3]
	rest2, rate, unbias, eps := constant[4], constant[5], constant[6], constant[7]
	loop(c, "step", n, s.lanes, func(i reg.GPVirtual) {
		p := Mem{Base: at[0], Index: i, Scale: 1}
		m := Mem{Base: at[1], Index: i, Scale: 1}
		v := Mem{Base: at[2], Index: i, Scale: 1}
		g, t, mean, square := s.vector(c), s.vector(c), s.vector(c), s.vector(c)
		c.VMOVUPS(Mem{Base: at[3], Index: i, Scale: 1}, g)
		c.VMULPS(rest1, g, mean)
		c.VFMADD231PS(m, beta1, mean)
		c.VMOVUPS(mean, m)
		c.VMULPS(rest2, g, t)
		c.VMULPS(g, t, square)
		c.VFMADD231PS(v, beta2, square)
		c.VMOVUPS(square, v)
		c.VSQRTPS(square, t)
		c.VFMADD213PS(eps, unbias, t)
		c.VMULPS(rate, mean, mean)
		c.VDIVPS(t, mean, mean)
		c.VMOVUPS(p, t)
		c.VFMSUB213PS(mean, keep, t)
		c.VMOVUPS(t, p)
	})
	end(c)
}

// squares is the body of SumSquares, with four registers of float64 sums.
func squares(c *build.Context, s isa) {
	n, at := begin(c, "sumSquares", s, "func(x *float32, n int) float64",
		"returns the sum of the squares of n values.", "x")
	const sums = 4
	sum := s.vectors(c, sums)
	for _, v := range sum {
		s.zero(c, v)
	}
	loop(c, "sum", n, sums*s.lanes/2, func(i reg.GPVirtual) {
		for k, v := range sum {
			x := s.vector(c)
			c.VCVTPS2PD(Mem{Base: at[0], Index: i, Scale: 1, Disp: k * s.bytes() / 2}, x)
			c.VFMADD231PD(x, x, v)
		}
	})
	c.Store(addUp(c, s, sum), c.ReturnIndex(0))
	end(c)
}

// blend is the body of Blend.
func blend(c *build.Context, s isa) {
	n, at := begin(c, "blend", s, "func(dst, x *float32, n int, a float32)",
		"moves n values of dst towards x by a.", "dst", "x")
	a := broadcast(c, s, "a")
	loop(c, "blend", n, s.lanes, func(i reg.GPVirtual) {
		dst := Mem{Base: at[0], Index: i, Scale: 1}
		old, t := s.vector(c), s.vector(c)
		c.VMOVUPS(dst, old)
		c.VMOVUPS(Mem{Base: at[1], Index: i, Scale: 1}, t)
		c.VSUBPS(old, t, t)
		c.VFMADD213PS(old, a, t)
		c.VMOVUPS(t, dst)
	})
	end(c)
}
