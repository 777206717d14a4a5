package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/reg"
)

func gemm(c *build.Context) {
	for width := 2; width > 0; width-- {
		for mr := 6; mr > 0; mr -= 2 {
			tile(c, avx2, mr, width)
		}
		for mr := 14; mr > 0; mr -= 2 {
			tile(c, avx512, mr, width)
		}
	}
	tiles(c, avx2, 6, 2)
	tiles(c, avx512, 14, 2)
	tiles(c, avx512, 7, 3)
	transpose8(c)
	for _, n := range []int{6, 14, 16, 32} {
		copyRuns(c, n)
	}
}

// rows addresses rows of a matrix. It has a base register for every three rows, and a stride
// register.
type rows struct {
	bases  []reg.GPVirtual
	stride reg.GPVirtual
}

// newRows takes the first row's address and the stride in values; stride becomes bytes.
func newRows(c *build.Context, first, stride reg.GPVirtual, n int) rows {
	c.SHLQ(Imm(2), stride)
	r := rows{bases: []reg.GPVirtual{first}, stride: stride}
	three := c.GP64()
	c.LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, three)
	for i := 3; i < n; i += 3 {
		b := c.GP64()
		c.LEAQ(Mem{Base: r.bases[len(r.bases)-1], Index: three, Scale: 1}, b)
		r.bases = append(r.bases, b)
	}
	return r
}

// at is row i, disp bytes on.
func (r rows) at(i, disp int) Mem {
	m := Mem{Base: r.bases[i/3], Disp: disp}
	if i%3 > 0 {
		m.Index, m.Scale = r.stride, uint8(i%3)
	}
	return m
}

// tile is a tileFunc for mr rows of width registers: two, or one.
func tile(c *build.Context, s isa, mr, width int) {
	name := fmt.Sprintf("tile%dx%d%s", mr, width*s.lanes, s.name)
	c.Function(name)
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)")
	c.Doc(fmt.Sprintf("%s computes a tile of %d×%d.", name, mr, width*s.lanes))
	sums(c, s, mr, width, nil)
	end(c)
}

// tiles is microKernel.tiles for mr rows of two registers, or microKernel.wide with three.
func tiles(c *build.Context, s isa, mr, width int) {
	name := fmt.Sprintf("tiles%dx%d%s", mr, width*s.lanes, s.name)
	c.Function(name)
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(a, b, c, bias *float32, k, rs, ks, ldc int, add bool, " +
		"panel, count, step int, next, last *float32, move, n, inner, outer int)")
	c.Doc(fmt.Sprintf("%s computes tiles of %d×%d.", name, mr, width*s.lanes))
	c.Label("tile")
	sums(c, s, mr, width, newFetch(c))
	a, at, further := load(c, "a"), load(c, "c"), c.GP64()
	c.MOVQ(param(c, "step"), further)
	c.LEAQ(Mem{Base: a, Index: further, Scale: 4}, a)
	c.MOVQ(a, param(c, "a"))
	c.MOVQ(param(c, "ldc"), further)
	c.IMUL3Q(U32(4*mr), further, further)
	c.ADDQ(further, at)
	c.MOVQ(at, param(c, "c"))
	c.MOVQ(param(c, "move"), further)
	c.ADDQ(further, param(c, "next"))
	c.DECQ(param(c, "count"))
	c.JNZ(LabelRef("tile"))
	end(c)
}

// sums computes a tile, and fetches meanwhile, unless f is nil.
func sums(c *build.Context, s isa, mr, width int, f *fetch) {
	cRows := newRows(c, load(c, "c"), load(c, "ldc"), mr)
	for i := range mr {
		c.PREFETCHT0(cRows.at(i, 0))
		c.PREFETCHT0(cRows.at(i, width*s.bytes()-1))
	}
	aRows := newRows(c, load(c, "a"), load(c, "rs"), mr)
	b := load(c, "b")
	ks := load(c, "ks")
	c.SHLQ(Imm(2), ks)
	k := load(c, "k")
	var panel reg.GPVirtual // from one panel of B, which has two registers in a row, to the next
	if width > 2 {
		panel = load(c, "panel")
		c.SHLQ(Imm(2), panel)
	}
	acc := s.vectors(c, width*mr)
	for _, v := range acc {
		s.zero(c, v)
	}
	step := func(n int) { // the n-th of some steps of K
		row := s.vectors(c, width)
		for j, v := range row {
			at := Mem{Base: b, Disp: (2*n + j%2) * s.bytes()}
			if j > 1 {
				at.Index, at.Scale = panel, 1
			}
			c.VMOVUPS(at, v)
		}
		if f != nil {
			f.step(c)
		}
		for i := range mr {
			v := s.vector(c)
			c.VBROADCASTSS(aRows.at(i, 0), v)
			for j := range row {
				c.VFMADD231PS(row[j], v, acc[width*i+j])
			}
		}
		for _, base := range aRows.bases {
			c.ADDQ(ks, base)
		}
	}
	unrolled(c, k, b, 2*s.bytes(), step)
	finish(c, s, mr, width, acc)
}

// finish stores the sums of a tile, of mr rows of width registers, as a tileFunc does.
func finish(c *build.Context, s isa, mr, width int, acc []reg.VecVirtual) {
	cRows := newRows(c, load(c, "c"), load(c, "ldc"), mr) // no registers were held for it
	add := c.GP8()
	c.Load(c.Param("add"), add)
	c.TESTB(add, add)
	c.JZ(LabelRef("bias"))
	for i, v := range acc {
		c.VADDPS(cRows.at(i/width, i%width*s.bytes()), v, v)
	}
	c.Label("bias")
	bias := load(c, "bias")
	c.TESTQ(bias, bias)
	c.JZ(LabelRef("store"))
	for i := range width {
		v := s.vector(c)
		c.VMOVUPS(Mem{Base: bias, Disp: i * s.bytes()}, v)
		for r := range mr {
			c.VADDPS(v, acc[width*r+i], acc[width*r+i])
		}
	}
	c.Label("store")
	for i, v := range acc {
		c.VMOVUPS(v, cRows.at(i/width, i%width*s.bytes()))
	}
}

// unrolled writes k steps, which may be none, four at a time. A step reads so many bytes at b: step
// n of four those that begin n times as far on.
func unrolled(c *build.Context, k, b reg.GPVirtual, bytes int, step func(n int)) {
	const unroll = 4
	c.SUBQ(Imm(unroll), k)
	c.JL(LabelRef("rest"))
	c.Label("steps")
	for n := range unroll {
		step(n)
	}
	c.ADDQ(U32(unroll*bytes), b)
	c.SUBQ(Imm(unroll), k)
	c.JGE(LabelRef("steps"))
	c.Label("rest")
	c.ADDQ(Imm(unroll), k)
	c.JZ(LabelRef("summed"))
	c.Label("step")
	step(0)
	c.ADDQ(U32(bytes), b)
	c.DECQ(k)
	c.JNZ(LabelRef("step"))
	c.Label("summed")
}

// A fetch fetches one line of memory after another: n of them, inner bytes apart, and n more that
// begin outer bytes behind the first, and so on. What it does not change stays in memory, as there
// are few registers.
type fetch struct {
	at, start, left reg.GPVirtual
	n, inner, outer Mem
}

// newFetch begins at next, or at last for the last tile.
func newFetch(c *build.Context) *fetch {
	f := &fetch{
		at: load(c, "next"), start: c.GP64(), left: load(c, "n"),
		n: param(c, "n"), inner: param(c, "inner"), outer: param(c, "outer"),
	}
	c.CMPQ(param(c, "count"), Imm(1))
	c.CMOVQEQ(param(c, "last"), f.at)
	c.MOVQ(f.at, f.start)
	c.ADDQ(f.outer, f.start)
	return f
}

func (f *fetch) step(c *build.Context) {
	c.PREFETCHT0(Mem{Base: f.at})
	c.ADDQ(f.inner, f.at)
	further := c.GP64()
	c.MOVQ(f.start, further)
	c.ADDQ(f.outer, further)
	c.DECQ(f.left)
	c.CMOVQEQ(f.start, f.at)
	c.CMOVQEQ(further, f.start)
	c.CMOVQEQ(f.n, f.left)
}

// transpose8 is dst[p*width+j] = src[j*stride+p] for p < k, a multiple of 8, and j < 8.
func transpose8(c *build.Context) {
	c.Function("transpose8AVX2")
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(dst, src *float32, stride, width, k int)")
	dst := load(c, "dst")
	width := load(c, "width")
	src := newRows(c, load(c, "src"), load(c, "stride"), 8)
	k := load(c, "k")
	c.SHLQ(Imm(2), width)

	c.Label("eight")
	transposeDwords(c, src, dst, width)
	for _, base := range src.bases {
		c.ADDQ(Imm(32), base)
	}
	c.SUBQ(Imm(8), k)
	c.JNZ(LabelRef("eight"))
	end(c)
}

// copyRuns is dst[p*n+i] = src[p*stride+i] for p < k and i < n.
func copyRuns(c *build.Context, n int) {
	c.Function(fmt.Sprintf("copy%dAVX2", n))
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(dst, src *float32, stride, k int)")
	dst := load(c, "dst")
	src := load(c, "src")
	stride := load(c, "stride")
	k := load(c, "k")
	c.SHLQ(Imm(2), stride)
	ahead := c.GP64()
	c.MOVQ(stride, ahead)
	c.SHLQ(Imm(3), ahead)
	c.Label("run")
	for i := 0; i < n; i += 16 {
		c.PREFETCHT0(Mem{Base: src, Index: ahead, Scale: 1, Disp: 4 * i})
	}
	for i := 0; i < n; {
		from, to := Mem{Base: src, Disp: 4 * i}, Mem{Base: dst, Disp: 4 * i}
		switch v := c.YMM(); {
		case n-i >= 8:
			c.VMOVUPS(from, v)
			c.VMOVUPS(v, to)
			i += 8
		case n-i >= 4:
			c.VMOVUPS(from, v.AsX())
			c.VMOVUPS(v.AsX(), to)
			i += 4
		default:
			c.VMOVSD(from, v.AsX())
			c.VMOVSD(v.AsX(), to)
			i += 2
		}
	}
	c.ADDQ(stride, src)
	c.ADDQ(Imm(uint64(4*n)), dst)
	c.DECQ(k)
	c.JNZ(LabelRef("run"))
	end(c)
}
