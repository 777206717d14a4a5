package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// layerNorms writes the passes of layer norm over a block of rows, and the sums of rows. What
// belongs to a row is four values of the matrix of: mean, rstd, slope and offset.
func layerNorms(c *build.Context) {
	for _, s := range []isa{avx2, avx512} {
		rowWeights(c, s)
		normalizeRows(c, s)
		rowGradSums(c, s)
		rowInputGrad(c, s)
		columnSums(c, s)
	}
}

// of is value k of the row in hand, in every lane.
func (w *strip) of(k int) reg.VecVirtual {
	v := w.new()
	w.VBROADCASTSS(Mem{Base: w.at["of"], Index: w.row, Scale: 1, Disp: 4 * k}, v)
	return v
}

// rowWeights takes a row at a time, as every sum is of a row.
func rowWeights(c *build.Context, s isa) {
	n, at := begin(c, "rowWeights", s,
		"func(x, dz, scale *float32, n int, mean, rstd float32) (first, second float64)",
		"returns the sums of scale·dz and of scale·dz·(x−mean)·rstd of n values.",
		"x", "dz", "scale")
	w := &strip{Context: c, isa: s}
	mean, rstd := broadcast(c, s, "mean"), broadcast(c, s, "rstd")
	sums := [2][]reg.VecVirtual{s.vectors(c, 2), s.vectors(c, 2)}
	for _, v := range append(sums[0], sums[1]...) {
		s.zero(c, v)
	}
	loop(c, "next", n, s.lanes, func(i reg.GPVirtual) {
		v := s.vector(c)
		c.VMOVUPS(Mem{Base: at[0], Index: i, Scale: 1}, v)
		c.VSUBPS(mean, v, v)
		c.VMULPS(rstd, v, v)
		for k, x := range w.halvesOf(v) {
			dz, scale := s.vector(c), s.vector(c)
			c.VCVTPS2PD(Mem{Base: at[1], Index: i, Scale: 1, Disp: k * s.bytes() / 2}, dz)
			c.VCVTPS2PD(Mem{Base: at[2], Index: i, Scale: 1, Disp: k * s.bytes() / 2}, scale)
			c.VMULPD(dz, scale, scale)
			c.VADDPD(scale, sums[0][k], sums[0][k])
			c.VFMADD231PD(scale, x, sums[1][k])
		}
	})
	for i, sum := range sums {
		c.Store(addUp(c, s, sum), c.ReturnIndex(i))
	}
	end(c)
}

func normalizeRows(c *build.Context, s isa) {
	w := newStrip(c, s, "normalizeRows", "func(dst, x, of, scale, shift *float32, n, rows int)",
		"is (x−mean)·rstd·scale + shift for rows of n values.",
		"dst", "x", "of", "scale", "shift")
	var scale, shift []reg.VecVirtual
	w.each(func() {
		scale, shift = w.columns("scale"), w.columns("shift")
	}, func() {
		mean, rstd := w.of(0), w.of(1)
		for k := range scale {
			v := w.normalized(k, mean, rstd)
			w.VFMADD213PS(shift[k], scale[k], v)
			w.VMOVUPS(v, w.cellAt("dst", k))
		}
	}, func() {})
}

func rowGradSums(c *build.Context, s isa) {
	w := newStrip(c, s, "rowGradSums",
		"func(first, second *float64, x, dz, of *float32, n, rows int)",
		"is the sums of dz and of dz·(x−mean)·rstd over rows of n values.",
		"first", "second", "x", "dz", "of")
	var first, second []reg.VecVirtual
	w.each(func() {
		first, second = w.zeros(), w.zeros()
	}, func() {
		mean, rstd := w.of(0), w.of(1)
		for k := range w.parts() {
			w.addGrad(k, w.normalized(k, mean, rstd), first, second)
		}
	}, func() {
		w.storeSums("first", first)
		w.storeSums("second", second)
	})
}

func rowInputGrad(c *build.Context, s isa) {
	w := newStrip(c, s, "rowInputGrad", "func(dst, x, dz, of, scale *float32, n, rows int)",
		"is dz·scale·rstd + (x−mean)·slope + offset for rows of n values.",
		"dst", "x", "dz", "of", "scale")
	var scale []reg.VecVirtual
	w.each(func() {
		scale = w.columns("scale")
	}, func() {
		mean, rstd, slope, offset := w.of(0), w.of(1), w.of(2), w.of(3)
		for k := range scale {
			v, t := w.new(), w.new()
			w.VMOVUPS(w.cellAt("x", k), v)
			w.VSUBPS(mean, v, v)
			w.VFMADD213PS(offset, slope, v)
			w.VMULPS(w.cellAt("dz", k), scale[k], t)
			w.VFMADD231PS(t, rstd, v)
			w.VMOVUPS(v, w.cellAt("dst", k))
		}
	}, func() {})
}

func columnSums(c *build.Context, s isa) {
	w := newStrip(c, s, "columnSums", "func(sums *float64, x *float32, n, rows int)",
		"is the sum of rows of n values.", "sums", "x")
	var sums []reg.VecVirtual
	w.each(func() {
		sums = w.zeros()
	}, func() {
		for k, v := range sums {
			w.VADDPD(w.widen("x", k), v, v)
		}
	}, func() {
		w.storeSums("sums", sums)
	})
}
