package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// normColumns is how many columns the norms' functions take at once; n is a multiple of it.
const normColumns = 16

// norms writes the passes of normalizations over a block of rows. Each goes down the rows of 16
// columns, and then to the next columns. So the values that belong to a column stay in registers.
func norms(c *build.Context) {
	for _, s := range []isa{avx2, avx512} {
		moments(c, s)
		normalize(c, s)
		gradSums(c, s)
		inputGrad(c, s)
	}
}

// A strip walks over a matrix [rows,n] by columns.
type strip struct {
	*build.Context
	isa
	n, rows, stride reg.GPVirtual // stride in bytes
	at              map[string]reg.GPVirtual
	column, cell    reg.GPVirtual // byte offsets of the columns in hand: in a row, in the matrix
	row             reg.GPVirtual // byte offset of the row in hand in the matrix of, [rows,4]
}

func newStrip(c *build.Context, s isa, name, signature, doc string, pointers ...string) *strip {
	w := &strip{Context: c, isa: s, at: map[string]reg.GPVirtual{}}
	n, at := begin(c, name, s, signature, doc, pointers...)
	for i, p := range pointers {
		w.at[p] = at[i]
	}
	w.n, w.rows = n, load(c, "rows")
	w.stride, w.column, w.cell, w.row = c.GP64(), c.GP64(), c.GP64(), c.GP64()
	c.MOVQ(n, w.stride)
	c.SHLQ(Imm(2), w.stride)
	return w
}

// each writes the walk. It writes first before the rows of a strip, row for every row, and last
// behind them.
func (w *strip) each(first, row, last func()) {
	w.XORQ(w.column, w.column)
	w.Label("columns")
	first()
	left := w.GP64()
	w.MOVQ(w.rows, left)
	w.MOVQ(w.column, w.cell)
	_, rows := w.at["of"]
	if rows {
		w.XORQ(w.row, w.row)
	}
	w.Label("rows")
	row()
	w.ADDQ(w.stride, w.cell)
	if rows {
		w.ADDQ(Imm(16), w.row)
	}
	w.DECQ(left)
	w.JNZ(LabelRef("rows"))
	last()
	w.ADDQ(U32(4*normColumns), w.column)
	w.SUBQ(U32(normColumns), w.n)
	w.JNZ(LabelRef("columns"))
	end(w.Context)
}

// parts is how many registers hold the columns in hand, in float32 and in float64.
func (w *strip) parts() int  { return normColumns / w.lanes }
func (w *strip) halves() int { return 2 * w.parts() }

// columnAt and cellAt are register k of a row of values that belong to columns, and of the matrix.
func (w *strip) columnAt(name string, k int) Mem {
	return Mem{Base: w.at[name], Index: w.column, Scale: 1, Disp: k * w.bytes()}
}

func (w *strip) cellAt(name string, k int) Mem {
	return Mem{Base: w.at[name], Index: w.cell, Scale: 1, Disp: k * w.bytes()}
}

// sumAt is register k of float64 sums of columns.
func (w *strip) sumAt(name string, k int) Mem {
	return Mem{Base: w.at[name], Index: w.column, Scale: 2, Disp: k * w.bytes()}
}

// columns loads what belongs to the columns in hand.
func (w *strip) columns(name string) []reg.VecVirtual {
	v := w.vectors(w.Context, w.parts())
	for k := range v {
		w.VMOVUPS(w.columnAt(name, k), v[k])
	}
	return v
}

func (w *strip) zeros() []reg.VecVirtual {
	v := w.vectors(w.Context, w.halves())
	for k := range v {
		w.zero(w.Context, v[k])
	}
	return v
}

func (w *strip) storeSums(name string, sums []reg.VecVirtual) {
	for k, v := range sums {
		w.VMOVUPD(v, w.sumAt(name, k))
	}
}

// widen is half k of the matrix's cells in hand, in float64.
func (w *strip) widen(name string, k int) reg.VecVirtual {
	v := w.new()
	w.VCVTPS2PD(Mem{Base: w.at[name], Index: w.cell, Scale: 1, Disp: k * w.bytes() / 2}, v)
	return v
}

func (w *strip) new() reg.VecVirtual { return w.vector(w.Context) }

// halvesOf are the two float64 registers of a float32 one.
func (w *strip) halvesOf(v reg.VecVirtual) [2]reg.VecVirtual {
	low, high := w.new(), w.new()
	if w.lanes == 16 {
		half := w.YMM()
		w.VEXTRACTF64X4(Imm(1), v, half)
		w.VCVTPS2PD(v.AsY(), low)
		w.VCVTPS2PD(half, high)
		return [2]reg.VecVirtual{low, high}
	}
	half := w.XMM()
	w.VEXTRACTF128(Imm(1), v, half)
	w.VCVTPS2PD(v.AsX(), low)
	w.VCVTPS2PD(half, high)
	return [2]reg.VecVirtual{low, high}
}

// normalized is register k of the cells in hand, normalized.
func (w *strip) normalized(k int, mean, rstd reg.VecVirtual) reg.VecVirtual {
	v := w.new()
	w.VMOVUPS(w.cellAt("x", k), v)
	w.VSUBPS(mean, v, v)
	w.VMULPS(rstd, v, v)
	return v
}

// addGrad adds dz and dz·x of register k of the cells in hand, where x is normalized.
func (w *strip) addGrad(k int, x reg.VecVirtual, first, second []reg.VecVirtual) {
	for half, x := range w.halvesOf(x) {
		at := 2*k + half
		dz := w.widen("dz", at)
		w.VADDPD(dz, first[at], first[at])
		w.VFMADD231PD(dz, x, second[at])
	}
}

func moments(c *build.Context, s isa) {
	w := newStrip(c, s, "moments", "func(first, second *float64, x *float32, n, rows int)",
		"is the sums of n columns and of their squares.", "first", "second", "x")
	var first, second []reg.VecVirtual
	w.each(func() {
		first, second = w.zeros(), w.zeros()
	}, func() {
		for k := range first {
			x := w.widen("x", k)
			w.VADDPD(x, first[k], first[k])
			w.VFMADD231PD(x, x, second[k])
		}
	}, func() {
		w.storeSums("first", first)
		w.storeSums("second", second)
	})
}

func normalize(c *build.Context, s isa) {
	w := newStrip(c, s, "normalize",
		"func(dst, x, mean, rstd, scale, shift *float32, n, rows int)",
		"is (x−mean)·rstd·scale + shift for n columns.",
		"dst", "x", "mean", "rstd", "scale", "shift")
	var mean, rstd, scale, shift []reg.VecVirtual
	w.each(func() {
		mean, rstd = w.columns("mean"), w.columns("rstd")
		scale, shift = w.columns("scale"), w.columns("shift")
	}, func() {
		for k := range mean {
			v := w.normalized(k, mean[k], rstd[k])
			w.VFMADD213PS(shift[k], scale[k], v)
			w.VMOVUPS(v, w.cellAt("dst", k))
		}
	}, func() {})
}

func gradSums(c *build.Context, s isa) {
	w := newStrip(c, s, "gradSums",
		"func(first, second *float64, x, dz, mean, rstd *float32, n, rows int)",
		"is the sums of dz and of dz·(x−mean)·rstd for n columns.",
		"first", "second", "x", "dz", "mean", "rstd")
	var first, second, mean, rstd []reg.VecVirtual
	w.each(func() {
		first, second, mean, rstd = w.zeros(), w.zeros(), w.columns("mean"), w.columns("rstd")
	}, func() {
		for k := range mean {
			w.addGrad(k, w.normalized(k, mean[k], rstd[k]), first, second)
		}
	}, func() {
		w.storeSums("first", first)
		w.storeSums("second", second)
	})
}

func inputGrad(c *build.Context, s isa) {
	w := newStrip(c, s, "inputGrad",
		"func(dst, x, dz, mean, a, b, d *float32, n, rows int)",
		"is dz·a + (x−mean)·b + d for n columns.",
		"dst", "x", "dz", "mean", "a", "b", "d")
	var mean, a, b, d []reg.VecVirtual
	w.each(func() {
		mean, a, b, d = w.columns("mean"), w.columns("a"), w.columns("b"), w.columns("d")
	}, func() {
		for k := range mean {
			v, t := w.new(), w.new()
			w.VMOVUPS(w.cellAt("x", k), v)
			w.VSUBPS(mean[k], v, v)
			w.VFMADD213PS(d[k], b[k], v)
			w.VMOVUPS(w.cellAt("dz", k), t)
			w.VFMADD231PS(t, a[k], v)
			w.VMOVUPS(v, w.cellAt("dst", k))
		}
	}, func() {})
}
