package main

import (
	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

// An isa is a vector instruction set as far as the generators tell them apart.
type isa struct {
	name  string // what function names end in
	lanes int    // float32 values in a register
}

var (
	avx2   = isa{"AVX2", 8}
	avx512 = isa{"AVX512", 16}
)

// vector is a fresh register.
func (s isa) vector(c *build.Context) reg.VecVirtual {
	if s.lanes == 16 {
		return c.ZMM()
	}
	return c.YMM()
}

// vectors are n fresh registers.
func (s isa) vectors(c *build.Context, n int) []reg.VecVirtual {
	v := make([]reg.VecVirtual, n)
	for i := range v {
		v[i] = s.vector(c)
	}
	return v
}

// zero clears v.
func (s isa) zero(c *build.Context, v reg.VecVirtual) {
	if s.lanes == 16 {
		c.VPXORD(v, v, v)
		return
	}
	c.VXORPS(v, v, v)
}

// bytes is the size of a register.
func (s isa) bytes() int { return 4 * s.lanes }
