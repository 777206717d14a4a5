package main

import (
	"fmt"
	"slices"

	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// attention writes the products and the passes over scores of attention. Scores are stored with the
// keys down and the queries across. So what belongs to a query belongs to a lane.
func attention(c *build.Context) {
	columns(c, avx512, 40, []int{8, 4, 2, 1}) // 14 rows need more registers than there are
	columns(c, avx512, 32, []int{14, 8, 4, 2, 1})
	columns(c, avx512, 16, []int{8, 4, 2, 1})
	columns(c, avx512, 8, []int{8, 4, 2, 1})
	for _, n := range []int{16, 8} {
		columns(c, avx2, n, []int{6, 4, 2, 1})
	}
	for _, s := range []isa{avx2, avx512} {
		weigh(c, s, false, false)
		weigh(c, s, true, false)
		weigh(c, s, true, true)
		slopes(c, s)
		scaleLanes(c, s)
		weighPairs(c, s)
		slopePairs(c, s)
	}
}

// pieces are fresh registers for n values in a row. One of AVX-512 may be half as wide.
func pieces(c *build.Context, s isa, n int) (v []reg.VecVirtual) {
	for ; n >= s.lanes; n -= s.lanes {
		v = append(v, s.vector(c))
	}
	if n > 0 {
		v = append(v, c.YMM())
	}
	return v
}

// columns is a product of n columns. It takes sizes[0] rows at a time. What is left is the sum of
// some of the other sizes, whatever it is.
func columns(c *build.Context, s isa, n int, sizes []int) {
	c.Function(fmt.Sprintf("columns%d%s", n, s.name))
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(a, b, c *float32, m, k, rs, ks, bs, ldc int, add bool)")
	c.Doc(fmt.Sprintf("columns%d%s is attentionColumns.product for %d columns.", n, s.name, n))
	rs, ks, bs := load(c, "rs"), load(c, "ks"), load(c, "bs")
	for _, stride := range []reg.GPVirtual{rs, ks, bs} {
		c.SHLQ(Imm(2), stride)
	}
	for i, size := range sizes {
		here, next := fmt.Sprint("rows", size), fmt.Sprint("below", size)
		c.Label(here)
		c.CMPQ(param(c, "m"), U32(size))
		c.JL(LabelRef(next))
		someRows(c, s, n, size, rs, ks, bs)
		c.SUBQ(U32(size), param(c, "m"))
		if i == 0 {
			c.JMP(LabelRef(here))
		}
		c.Label(next)
	}
	end(c)
}

// someRows computes size rows of a product, and moves a and c on by as many.
func someRows(c *build.Context, s isa, n, size int, rs, ks, bs reg.GPVirtual) {
	to, ldc := load(c, "c"), load(c, "ldc")
	c.SHLQ(Imm(2), ldc)
	for range size {
		c.PREFETCHT0(Mem{Base: to})
		c.PREFETCHT0(Mem{Base: to, Disp: 4*n - 1})
		c.ADDQ(ldc, to)
	}
	a, b, k := rowsOf(c, load(c, "a"), rs, size), load(c, "b"), load(c, "k")
	acc := make([][]reg.VecVirtual, size)
	for i := range acc {
		acc[i] = pieces(c, s, n)
		for _, v := range acc[i] {
			c.VXORPS(v, v, v)
		}
	}
	step := fmt.Sprint("step", size)
	c.Label(step)
	row := pieces(c, s, n)
	for j, v := range row {
		c.VMOVUPS(Mem{Base: b, Disp: j * s.bytes()}, v)
	}
	for i := range acc {
		v := width(row[0]).vector(c)
		c.VBROADCASTSS(a.at(i, 0), v)
		for j := range row {
			x := v
			if width(row[j]) != width(v) {
				x = v.AsY().(reg.VecVirtual)
			}
			c.VFMADD231PS(row[j], x, acc[i][j])
		}
	}
	c.ADDQ(bs, b)
	for _, base := range a.bases {
		c.ADDQ(ks, base)
	}
	c.DECQ(k)
	c.JNZ(LabelRef(step))

	store, stored := fmt.Sprint("store", size), fmt.Sprint("stored", size)
	to, ldc = load(c, "c"), load(c, "ldc")
	c.SHLQ(Imm(2), ldc)
	c.CMPB(param(c, "add"), Imm(0))
	c.JE(LabelRef(store))
	for _, add := range []bool{true, false} {
		for i := range acc {
			for j, v := range acc[i] {
				at := Mem{Base: to, Disp: j * s.bytes()}
				if add {
					c.VADDPS(at, v, v)
				}
				c.VMOVUPS(v, at)
			}
			c.ADDQ(ldc, to)
		}
		if add {
			c.JMP(LabelRef(stored))
			c.Label(store)
		}
	}
	c.Label(stored)
	c.MOVQ(to, param(c, "c"))
	on := c.GP64()
	c.IMUL3Q(U32(size), rs, on)
	c.ADDQ(on, param(c, "a"))
}

// rowsOf is newRows for a stride in bytes.
func rowsOf(c *build.Context, first, stride reg.GPVirtual, n int) rows {
	r := rows{bases: []reg.GPVirtual{first}, stride: stride}
	for i := 3; i < n; i += 3 {
		b := c.GP64()
		c.LEAQ(Mem{Base: r.bases[len(r.bases)-1], Index: stride, Scale: 2}, b)
		c.ADDQ(stride, b)
		r.bases = append(r.bases, b)
	}
	return r
}

// width is the instruction set whose registers are as wide as v.
func width(v reg.VecVirtual) isa {
	if v.Size() == 64 {
		return avx512
	}
	return avx2
}

// The rows of attentionTable.
const (
	kLeast = iota
	kMagic
	kOneBits
	kPower // from the highest power down: six rows
)

// A lanes walks over a block of scores by lanes: down the rows of one register, and then to the
// next.
type lanes struct {
	*build.Context
	isa
	stride reg.GPVirtual
}

// newLanes begins a function whose parameters are rows, n and stride, besides pointers.
func newLanes(c *build.Context, s isa, name, signature, doc string) *lanes {
	c.Function(name + s.name)
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr(signature)
	c.Doc(name + s.name + " " + doc)
	w := &lanes{c, s, load(c, "stride")}
	c.SHLQ(Imm(2), w.stride)
	return w
}

// each writes the walk over the registers of a row. The pointers that are named move along, those
// to bfloat16 values by half as many bytes.
func (w *lanes) each(
	pointers []string, body func(at map[string]reg.GPVirtual), halves ...string,
) {
	n, at := load(w.Context, "n"), map[string]reg.GPVirtual{}
	for _, name := range slices.Concat(pointers, halves) {
		at[name] = load(w.Context, name)
	}
	w.Label("lanes")
	body(at)
	for _, name := range pointers {
		w.ADDQ(U32(w.bytes()), at[name])
	}
	for _, name := range halves {
		w.ADDQ(U32(w.bytes()/2), at[name])
	}
	w.SUBQ(U32(w.lanes()), n)
	w.JG(LabelRef("lanes"))
	end(w.Context)
}

func (w *lanes) lanes() int { return w.isa.lanes }

// down writes a walk down the rows of a register of each matrix.
func (w *lanes) down(label string, matrices []reg.GPVirtual, body func(at []Mem)) {
	left := load(w.Context, "rows")
	var at []Mem
	var moving []reg.GPVirtual
	for _, x := range matrices {
		p := w.GP64()
		w.MOVQ(x, p)
		moving, at = append(moving, p), append(at, Mem{Base: p})
	}
	w.Label(label)
	body(at)
	for _, p := range moving {
		w.ADDQ(w.stride, p)
	}
	w.DECQ(left)
	w.JNZ(LabelRef(label))
}

func (w *lanes) load(at Mem) reg.VecVirtual {
	v := w.vector(w.Context)
	w.VMOVUPS(at, v)
	return v
}

// exp2 is 2^t for t ≤ 0, in the steps of exp2Generic. k are the rows of attentionTable.
func (w *lanes) exp2(t reg.VecVirtual, k []Op) reg.VecVirtual {
	n, whole, p := w.vector(w.Context), w.vector(w.Context), w.vector(w.Context)
	w.VMOVUPS(k[kLeast], p)
	w.VMAXPS(t, p, t) // the second operand, t, if it is not a number
	w.VADDPS(k[kMagic], t, n)
	w.VSUBPS(k[kMagic], n, whole)
	w.VSUBPS(whole, t, t)
	w.VMOVUPS(k[kPower], p)
	for _, c := range k[kPower+1:] {
		w.VFMADD213PS(c, t, p)
	}
	w.VPSLLD(Imm(23), n, n)
	w.VPADDD(k[kOneBits], n, n)
	w.VMULPS(n, p, p)
	return p
}

// powers loads the rows of attentionTable that exp2 reads.
func (w *lanes) powers() []Op {
	table, k := load(w.Context, "table"), make([]Op, kPower+6)
	for i := range k {
		at := Mem{Base: table, Disp: 64 * i}
		if k[i] = at; w.isa.lanes == 16 { // AVX2 has too few registers
			k[i] = w.load(at)
		}
	}
	return k
}

// score loads scores, times scale if there is one.
func (w *lanes) score(at Mem, scale reg.VecVirtual) reg.VecVirtual {
	if scale == nil {
		return w.load(at)
	}
	v := w.vector(w.Context)
	w.VMULPS(at, scale, v)
	return v
}

// rise brings the highest scores up to date, and stores by how much they reduce earlier weights.
func (w *lanes) rise(
	at map[string]reg.GPVirtual, scale reg.VecVirtual, k []Op,
) (top reg.VecVirtual) {
	old := w.load(Mem{Base: at["top"]})
	var tops [4]reg.VecVirtual // of every fourth row, as a maximum has to wait for the one before
	for i := range tops {
		if scale != nil {
			tops[i] = constant(w.Context, w.isa, 0xff800000) // -Inf
			continue
		}
		tops[i] = w.vector(w.Context)
		w.VMOVAPS(old, tops[i])
	}
	x, left := w.GP64(), load(w.Context, "rows")
	w.MOVQ(at["x"], x)
	highest := func(top reg.VecVirtual) {
		v := w.load(Mem{Base: x})
		w.VMAXPS(top, v, top) // the second operand, top, if v is not a number
		w.ADDQ(w.stride, x)
	}
	w.SUBQ(Imm(4), left)
	w.JL(LabelRef("rest"))
	w.Label("highest")
	for _, top := range tops {
		highest(top)
	}
	w.SUBQ(Imm(4), left)
	w.JGE(LabelRef("highest"))
	w.Label("rest")
	w.ADDQ(Imm(4), left)
	w.JZ(LabelRef("risen"))
	w.Label("one")
	highest(tops[0])
	w.DECQ(left)
	w.JNZ(LabelRef("one"))
	w.Label("risen")
	for i := 2; i > 0; i /= 2 {
		for j := range i {
			w.VMAXPS(tops[i+j], tops[j], tops[j])
		}
	}
	top = tops[0]
	if scale != nil { // the highest one stays the highest, as scale is positive
		w.VMULPS(scale, top, top)
		w.VMAXPS(old, top, top)
	}
	w.VMOVUPS(top, Mem{Base: at["top"]})
	w.VSUBPS(top, old, old)
	w.VMOVUPS(w.exp2(old, k), Mem{Base: at["factor"]})
	return top
}

// weight is 2^(score−top), and is added to sum.
func (w *lanes) weight(at Mem, scale, top, sum reg.VecVirtual, k []Op) reg.VecVirtual {
	v := w.score(at, scale)
	w.VSUBPS(top, v, v)
	v = w.exp2(v, k)
	w.VADDPS(v, sum, sum)
	return v
}

// keep adds what was known after earlier keys, times the factor, to v, and stores the sum.
func (w *lanes) keep(at map[string]reg.GPVirtual, name string, v reg.VecVirtual) {
	factor := w.load(Mem{Base: at["factor"]})
	w.VFMADD231PS(Mem{Base: at[name]}, factor, v)
	w.VMOVUPS(v, Mem{Base: at[name]})
}

// zeros is a fresh register of zeros.
func (w *lanes) zeros() reg.VecVirtual {
	v := w.vector(w.Context)
	w.isa.zero(w.Context, v)
	return v
}

// weigh writes attentionPasses.weigh, or weighGrad. With scaled the scores are multiplied first.
func weigh(c *build.Context, s isa, grad, scaled bool) {
	name, more := "weigh", ""
	pointers := []string{"x", "top", "sum", "factor"}
	if grad {
		name, more = "weighGrad", ", dx, delta"
		pointers = append(pointers, "dx", "delta")
	}
	passes := "attentionPasses." + name
	if scaled {
		passes, name = "attentionPairs."+name, name+"Scaled"
	}
	signature := fmt.Sprintf(
		"func(x, top, sum, factor%s *float32, rows, n, stride int, table *float32", more)
	if scaled {
		signature += ", scale float32"
	}
	w := newLanes(c, s, name, signature+")",
		fmt.Sprintf("is %s for n columns, whole registers.", passes))
	k, scale := w.powers(), reg.VecVirtual(nil)
	if scaled {
		scale = broadcast(c, s, "scale")
	}
	w.each(pointers, func(at map[string]reg.GPVirtual) {
		top := w.rise(at, scale, k)
		sum, delta := w.zeros(), w.zeros()
		matrices := []reg.GPVirtual{at["x"]}
		if grad {
			matrices = append(matrices, at["dx"])
		}
		w.down("exp", matrices, func(x []Mem) {
			v := w.weight(x[0], scale, top, sum, k)
			c.VMOVUPS(v, x[0])
			if grad {
				c.VFMADD231PS(x[1], v, delta)
			}
		})
		w.keep(at, "sum", sum)
		if grad {
			w.keep(at, "delta", delta)
		}
	})
}

func slopes(c *build.Context, s isa) {
	w := newLanes(c, s, "slopes",
		"func(x, dx, factor, delta *float32, rows, n, stride int, root float32)",
		"is attentionPasses.slopes for n columns, whole registers.")
	root := broadcast(c, s, "root")
	w.each([]string{"x", "dx", "factor", "delta"}, func(at map[string]reg.GPVirtual) {
		factor, delta := w.load(Mem{Base: at["factor"]}), w.load(Mem{Base: at["delta"]})
		w.down("next", []reg.GPVirtual{at["x"], at["dx"]}, func(x []Mem) {
			p, d := s.vector(c), w.load(x[1])
			w.slope(x[0], p, d, factor, delta, root)
			c.VMOVUPS(p, x[0])
			c.VMOVUPS(d, x[1])
		})
	})
}

// slope makes p the weights at x times factor, and then d the gradients of their scores.
func (w *lanes) slope(x Mem, p, d, factor, delta, root reg.VecVirtual) {
	w.VMULPS(x, factor, p)
	w.VSUBPS(delta, d, d)
	w.VMULPS(p, d, d)
	w.VMULPS(root, d, d)
}

func scaleLanes(c *build.Context, s isa) {
	w := newLanes(c, s, "scaleLanes", "func(x, factor *float32, rows, n, stride int)",
		"is attentionPasses.scale for n columns, whole registers.")
	w.each([]string{"x", "factor"}, func(at map[string]reg.GPVirtual) {
		factor := w.load(Mem{Base: at["factor"]})
		w.down("next", []reg.GPVirtual{at["x"]}, func(x []Mem) {
			v := s.vector(c)
			c.VMULPS(x[0], factor, v)
			c.VMOVUPS(v, x[0])
		})
	})
}
