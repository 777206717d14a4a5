package main

import (
	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// A twoRows walks over columns as lanes does, and down them by two rows at a time. A row has two
// registers of float32 values, or one of bfloat16 values, or two of pairs.
type twoRows struct {
	lanes
	one, half, upper reg.VecVirtual // 1, just below half a unit, and the upper halves
	i                reg.GPVirtual  // counts bytes of bfloat16 values
}

func newTwoRows(c *build.Context, s isa, name, signature, doc string) *twoRows {
	c.Function(name + s.name)
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr(signature)
	c.Doc(name + s.name + " " + doc)
	w := &twoRows{
		lanes: lanes{c, s, c.GP64()},
		one:   constant(c, s, 1), half: constant(c, s, 0x7fff), upper: constant(c, s, 0xffff0000),
		i: c.GP64(),
	}
	c.MOVQ(U32(2*s.bytes()), w.stride)
	return w
}

// at is where a float32 row is, and atHalf is where one of bfloat16 is.
func (w *twoRows) at(x reg.GPVirtual, row int) Mem {
	return Mem{Base: x, Index: w.i, Scale: 2, Disp: 2 * row * w.bytes()}
}

func (w *twoRows) atHalf(x reg.GPVirtual, row int) Mem {
	return Mem{Base: x, Index: w.i, Scale: 1, Disp: row * w.bytes()}
}

// down calls body for two rows, and, if their number is odd, for the last one.
func (w *twoRows) down(body func(rows int)) {
	left := load(w.Context, "rows")
	w.XORQ(w.i, w.i)
	w.SUBQ(Imm(2), left)
	w.JL(LabelRef("odd"))
	w.Label("two")
	body(2)
	w.ADDQ(U32(2*w.bytes()), w.i)
	w.SUBQ(Imm(2), left)
	w.JGE(LabelRef("two"))
	w.Label("odd")
	w.CMPQ(left, I32(-1))
	w.JL(LabelRef("even"))
	body(1)
	w.Label("even")
}

// raise adds to x what rounds it to bfloat16 if the lower half is dropped then. If x is not a
// number, its lower half has to be zero. So it is where NaN comes from bfloat16 values or from
// operations.
func (w *twoRows) raise(x reg.VecVirtual) {
	odd := w.vector(w.Context)
	w.VPSRLD(Imm(16), x, odd)
	if w.isa.lanes == 16 {
		w.VPANDD(w.one, odd, odd)
	} else {
		w.VPAND(w.one, odd, odd)
	}
	w.VPADDD(w.half, x, x)
	w.VPADDD(odd, x, x)
}

// pair stores pairs of one row or of two, which are raised. The first is in the lower halves.
// Without a second, the upper halves are zero.
func (w *twoRows) pair(raised []reg.VecVirtual, at Mem) {
	v := w.vector(w.Context)
	w.VPSRLD(Imm(16), raised[0], v)
	switch {
	case len(raised) == 1:
	case w.isa.lanes == 16:
		w.VPTERNLOGD(Imm(0xf8), w.upper, raised[1], v) // v | raised&upper
	default:
		w.VPBLENDW(Imm(0xaa), raised[1], v, v)
	}
	w.VMOVUPS(v, at)
}

// row stores one row, which is raised.
func (w *twoRows) row(raised reg.VecVirtual, at Mem) {
	v := w.vector(w.Context)
	w.VPSRLD(Imm(16), raised, v)
	if w.isa.lanes == 16 {
		w.VPMOVDW(v, at)
		return
	}
	w.VPACKUSDW(v, v, v)
	w.VPERMQ(Imm(0xd8), v, v)
	w.VMOVUPS(v.AsX(), at)
}

func weighPairs(c *build.Context, s isa) {
	w := newTwoRows(c, s, "weighPairs", "func(x, top, sum, factor *float32, pairs *uint16, "+
		"rows, n int, table *float32, scale float32)",
		"is attentionPairs.weigh for n columns, whole registers.")
	k, scale := w.powers(), broadcast(c, s, "scale")
	w.each([]string{"x", "top", "sum", "factor", "pairs"}, func(at map[string]reg.GPVirtual) {
		top, sum := w.rise(at, scale, k), w.zeros()
		w.down(func(rows int) {
			v := make([]reg.VecVirtual, rows)
			for row := range v {
				v[row] = w.weight(w.at(at["x"], row), scale, top, sum, k)
			}
			for _, v := range v {
				w.raise(v)
			}
			w.pair(v, w.atHalf(at["pairs"], 0))
		})
		w.keep(at, "sum", sum)
	})
}

func slopePairs(c *build.Context, s isa) {
	w := newTwoRows(c, s, "slopePairs", "func(x, dx, factor, delta *float32, "+
		"pairs, weights, slopes *uint16, rows, n int, root float32)",
		"is attentionPairs.slopes for n columns, whole registers.")
	root := broadcast(c, s, "root")
	w.each([]string{"x", "dx", "factor", "delta", "pairs"}, func(at map[string]reg.GPVirtual) {
		factor, delta := w.load(Mem{Base: at["factor"]}), w.load(Mem{Base: at["delta"]})
		w.down(func(rows int) {
			d := make([]reg.VecVirtual, rows)
			for row := range d {
				p := s.vector(c)
				d[row] = w.load(w.at(at["dx"], row))
				w.slope(w.at(at["x"], row), p, d[row], factor, delta, root)
				w.raise(p)
				w.raise(d[row])
				w.row(p, w.atHalf(at["weights"], row))
				w.row(d[row], w.atHalf(at["slopes"], row))
			}
			w.pair(d, w.atHalf(at["pairs"], 0))
		})
	}, "weights", "slopes")
}
