package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/operand"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
	"github.com/mmcloughlin/avo/reg"
)

func gemmBF16(c *build.Context) {
	tileBF16(c, avx2, 6)
	tileBF16(c, avx512, 14)
	tileDot(c)
	runsDot(c)
	for _, n := range []int{32, 16, 8, 4, 2} {
		interleave(c, n)
	}
	copyRows(c)
	pairColumns8(c)
	for _, s := range []isa{avx2, avx512} {
		storeTile(c, s, "storeBF16", true, false)
		storeTile(c, s, "storeFloat32", false, false)
		storeTile(c, s, "streamFloat32", false, true)
	}
}

// byteRows is newRows for a stride in bytes.
func byteRows(c *build.Context, first, stride reg.GPVirtual, n int) rows {
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

func functionOfTile(c *build.Context, name string, s isa, mr int) {
	c.Function(name)
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(a, b *uint16, c *float32, k, rs, ks int, add bool)")
	c.Doc(fmt.Sprintf("%s computes a tile of %d×%d.", name, mr, 2*s.lanes))
}

// start makes the sums of a tile zero, or loads them if the parameter add is set.
func start[V Op](c *build.Context, s isa, tile reg.GPVirtual, sums []V) {
	add := c.GP8()
	c.Load(c.Param("add"), add)
	c.TESTB(add, add)
	c.JZ(LabelRef("zero"))
	for i, v := range sums {
		c.VMOVUPS(Mem{Base: tile, Disp: i * s.bytes()}, v)
	}
	c.JMP(LabelRef("begun"))
	c.Label("zero")
	for _, v := range sums {
		if s.lanes == 16 {
			c.VPXORD(v, v, v)
		} else {
			c.VXORPS(v, v, v)
		}
	}
	c.Label("begun")
}

// mxcsr is the control register that rounds to nearest, takes denormal operands as zero, and makes
// denormal results zero. No exception stops the program.
const mxcsr = 0x9fc0

// tileBF16 is microBF16.tile with multiply-adds of float32 values: for the upper halves of all
// pairs of a step, and then for the lower ones.
func tileBF16(c *build.Context, s isa, mr int) {
	functionOfTile(c, "tileBF16"+s.name, s, mr)
	was := c.AllocLocal(8)
	now := was.Offset(4)
	control := func(opcode string, m Mem) {
		c.Instruction(&ir.Instruction{Opcode: opcode, Operands: []Op{m}})
	}
	control("STMXCSR", was)
	c.MOVL(U32(mxcsr), now)
	control("LDMXCSR", now)
	a := byteRows(c, load(c, "a"), load(c, "rs"), mr)
	b, tile, ks, k := load(c, "b"), load(c, "c"), load(c, "ks"), load(c, "k")
	acc := s.vectors(c, 2*mr)
	start(c, s, tile, acc)
	mask := s.vector(c)
	if s.lanes == 16 {
		c.VPTERNLOGD(Imm(0xff), mask, mask, mask)
	} else {
		c.VPCMPEQD(mask, mask, mask)
	}
	c.VPSLLD(Imm(16), mask, mask)
	c.Label("step")
	for _, half := range []func(v reg.VecVirtual){
		func(v reg.VecVirtual) {
			if s.lanes == 16 {
				c.VPANDD(mask, v, v)
			} else {
				c.VPAND(mask, v, v)
			}
		},
		func(v reg.VecVirtual) { c.VPSLLD(Imm(16), v, v) },
	} {
		row := s.vectors(c, 2)
		for j, v := range row {
			c.VMOVUPS(Mem{Base: b, Disp: j * s.bytes()}, v)
			half(v)
		}
		for i := range mr {
			v := s.vector(c)
			c.VBROADCASTSS(a.at(i, 0), v)
			half(v)
			for j := range row {
				c.VFMADD231PS(row[j], v, acc[2*i+j])
			}
		}
	}
	for _, base := range a.bases {
		c.ADDQ(ks, base)
	}
	c.ADDQ(U32(2*s.bytes()), b)
	c.DECQ(k)
	c.JNZ(LabelRef("step"))
	for i, v := range acc {
		c.VMOVUPS(v, Mem{Base: tile, Disp: i * s.bytes()})
	}
	control("LDMXCSR", was)
	end(c)
}

// tileDot is microBF16.tile with VDPBF16PS, which neither avo nor Go's assembler knows. Its
// encoding names registers by number, so those of the tile are not left to avo.
func tileDot(c *build.Context) {
	const mr = 14
	s := avx512
	functionOfTile(c, "tileDotAVX512", s, mr)
	a := byteRows(c, load(c, "a"), load(c, "rs"), mr)
	b, tile, ks, k := load(c, "b"), load(c, "c"), load(c, "ks"), load(c, "k")
	z := func(i int) Op { return vectorRegisters[i] }
	const row, pair = 2 * mr, 2*mr + 2 // of B, and of A
	start(c, s, tile, vectorRegisters[:2*mr])
	step := func(n int) {
		for j := range 2 {
			c.VMOVUPS(Mem{Base: b, Disp: (2*n + j) * s.bytes()}, z(row+j))
		}
		for i := range mr {
			v := pair + i%2
			c.VBROADCASTSS(a.at(i, 0), z(v))
			for j := range 2 {
				dotBF16(c, 2*i+j, row+j, v)
			}
		}
		for _, base := range a.bases {
			c.ADDQ(ks, base)
		}
	}
	unrolled(c, k, b, 2*s.bytes(), step)
	for i := range 2 * mr {
		c.VMOVUPS(z(i), Mem{Base: tile, Disp: i * s.bytes()})
	}
	end(c)
}

// runsDot is microBF16.runs with VDPBF16PS.
func runsDot(c *build.Context) {
	const mr = 8
	s := avx512
	c.Function("runsDotAVX512")
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(a, b *uint16, c *float32, zeros *uint16, runs *int, add bool)")
	c.Doc(fmt.Sprintf("runsDotAVX512 computes a tile of %d×%d.", mr, 2*s.lanes))
	tile := load(c, "c")
	z := func(i int) Op { return vectorRegisters[i] }
	const row, pair = 2 * mr, 2*mr + 2 // of B, and of A
	start(c, s, tile, vectorRegisters[:2*mr])
	eachRun(c, mr, 2, func(a []reg.GPVirtual, b, at, n reg.GPVirtual) {
		c.Label("step")
		for j := range 2 {
			c.VMOVUPS(Mem{Base: b, Disp: j * s.bytes()}, z(row+j))
		}
		for i := range mr {
			v := pair + i
			c.VBROADCASTSS(Mem{Base: a[i], Index: at, Scale: 1}, z(v))
			for j := range 2 {
				dotBF16(c, 2*i+j, row+j, v)
			}
		}
		c.ADDQ(Imm(4), at)
		c.ADDQ(U32(2*s.bytes()), b)
		c.SUBQ(Imm(2), n)
		c.JNZ(LabelRef("step"))
	})
	for i := range 2 * mr {
		c.VMOVUPS(z(i), Mem{Base: tile, Disp: i * s.bytes()})
	}
	end(c)
}

var vectorRegisters = []reg.VecPhysical{
	reg.Z0, reg.Z1, reg.Z2, reg.Z3, reg.Z4, reg.Z5, reg.Z6, reg.Z7,
	reg.Z8, reg.Z9, reg.Z10, reg.Z11, reg.Z12, reg.Z13, reg.Z14, reg.Z15,
	reg.Z16, reg.Z17, reg.Z18, reg.Z19, reg.Z20, reg.Z21, reg.Z22, reg.Z23,
	reg.Z24, reg.Z25, reg.Z26, reg.Z27, reg.Z28, reg.Z29, reg.Z30, reg.Z31,
}

// dotBF16 is VDPBF16PS Zy, Zx, Zacc, encoded as EVEX.512.F3.0F38.W0 52 /r (Intel's manual, volume
// 2). The bits of register numbers outside of ModRM are inverted.
func dotBF16(c *build.Context, acc, x, y int) {
	bit := func(n, i int) uint32 { return uint32(^n >> i & 1) }
	p0 := bit(acc, 3)<<7 | bit(y, 4)<<6 | bit(y, 3)<<5 | bit(acc, 4)<<4 | 0b010
	p1 := uint32(^x&15)<<3 | 1<<2 | 0b10
	p2 := uint32(0b10<<5) | bit(x, 4)<<3
	modrm := uint32(0b11<<6 | acc&7<<3 | y&7)
	c.Instruction(&ir.Instruction{
		Opcode: "LONG", Operands: []Op{U32(0x62 | p0<<8 | p1<<16 | p2<<24)},
	})
	c.Instruction(&ir.Instruction{
		Opcode: "WORD", Operands: []Op{U16(0x52 | modrm<<8)},
	})
}

// interleave is dst[(p*width+j)*2+h] = src[(2p+h)*stride+j] for p < k, j < count*n and h < 2. The
// parameters stride and width are in bytes: those of a row of src, and of a step of dst.
func interleave(c *build.Context, n int) {
	c.Function(fmt.Sprintf("interleave%dAVX2", n))
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(dst, src *uint16, stride, width, count, k int)")
	nextDst, nextSrc := load(c, "dst"), load(c, "src")
	stride, width, k := load(c, "stride"), load(c, "width"), load(c, "k")
	ahead, further := c.GP64(), c.GP64()
	if n == 32 {
		c.MOVQ(stride, ahead)
		c.SHLQ(Imm(4), ahead)
		c.LEAQ(Mem{Base: ahead, Index: stride, Scale: 1}, further)
	}
	c.Label("pair")
	dst, src, count := c.GP64(), c.GP64(), load(c, "count")
	c.MOVQ(nextDst, dst)
	c.MOVQ(nextSrc, src)
	c.Label("columns")
	if n == 32 { // a whole line of each row
		c.PREFETCHT0(Mem{Base: src, Index: ahead, Scale: 1})
		c.PREFETCHT0(Mem{Base: src, Index: further, Scale: 1})
	}
	for j := 0; j < n; {
		first := Mem{Base: src, Disp: 2 * j}
		second := Mem{Base: src, Index: stride, Scale: 1, Disp: 2 * j}
		to := Mem{Base: dst, Disp: 4 * j}
		x, y, low, high := c.YMM(), c.YMM(), c.YMM(), c.YMM()
		switch {
		case n-j >= 16:
			c.VMOVDQU(first, x)
			c.VMOVDQU(second, y)
			c.VPUNPCKLWD(y, x, low)
			c.VPUNPCKHWD(y, x, high)
			c.VPERM2I128(Imm(0x20), high, low, x)
			c.VMOVDQU(x, to)
			c.VPERM2I128(Imm(0x31), high, low, x)
			c.VMOVDQU(x, to.Offset(32))
			j += 16
		case n-j >= 8:
			c.VMOVDQU(first, x.AsX())
			c.VMOVDQU(second, y.AsX())
			c.VPUNPCKLWD(y.AsX(), x.AsX(), low.AsX())
			c.VPUNPCKHWD(y.AsX(), x.AsX(), high.AsX())
			c.VMOVDQU(low.AsX(), to)
			c.VMOVDQU(high.AsX(), to.Offset(16))
			j += 8
		case n-j >= 4:
			c.VMOVQ(first, x.AsX())
			c.VMOVQ(second, y.AsX())
			c.VPUNPCKLWD(y.AsX(), x.AsX(), low.AsX())
			c.VMOVDQU(low.AsX(), to)
			j += 4
		default:
			c.VMOVD(first, x.AsX())
			c.VMOVD(second, y.AsX())
			c.VPUNPCKLWD(y.AsX(), x.AsX(), low.AsX())
			c.VMOVQ(low.AsX(), to)
			j += 2
		}
	}
	c.ADDQ(U32(4*n), dst)
	c.ADDQ(U32(2*n), src)
	c.DECQ(count)
	c.JNZ(LabelRef("columns"))
	c.LEAQ(Mem{Base: nextSrc, Index: stride, Scale: 2}, nextSrc)
	c.ADDQ(width, nextDst)
	c.DECQ(k)
	c.JNZ(LabelRef("pair"))
	end(c)
}

// copyRows is dst[p*width+j] = src[p*stride+j] for p < k and j < last+16. It copies blocks of 16,
// the last of which begins at last. stride, width and last are in bytes.
func copyRows(c *build.Context) {
	c.Function("copyRows16AVX2")
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(dst, src *uint16, stride, width, last, k int)")
	dst, src, k := load(c, "dst"), load(c, "src"), load(c, "k")
	stride, width, last := load(c, "stride"), load(c, "width"), load(c, "last")
	v, at := c.YMM(), c.GP64()
	block := func() {
		c.VMOVDQU(Mem{Base: src, Index: at, Scale: 1}, v)
		c.VMOVDQU(v, Mem{Base: dst, Index: at, Scale: 1})
	}
	c.Label("row")
	c.XORQ(at, at)
	c.JMP(LabelRef("next"))
	c.Label("block")
	block()
	c.ADDQ(Imm(32), at)
	c.Label("next")
	c.CMPQ(at, last)
	c.JL(LabelRef("block"))
	c.MOVQ(last, at)
	block()
	c.ADDQ(stride, src)
	c.ADDQ(width, dst)
	c.DECQ(k)
	c.JNZ(LabelRef("row"))
	end(c)
}

// pairColumns8 is dst[(p*width+j)*2+h] = src[j*stride+2p+h] for p < k, a multiple of 8, j < 8 and
// h < 2. stride and width are in bytes: those of a row of src, and of a step of dst.
func pairColumns8(c *build.Context) {
	c.Function("pairColumns8AVX2")
	c.Attributes(build.NOSPLIT)
	c.SignatureExpr("func(dst, src *uint16, stride, width, k int)")
	dst, width := load(c, "dst"), load(c, "width")
	src := byteRows(c, load(c, "src"), load(c, "stride"), 8)
	k := load(c, "k")
	c.Label("eight")
	transposeDwords(c, src, dst, width)
	for _, base := range src.bases {
		c.ADDQ(Imm(32), base)
	}
	c.SUBQ(Imm(8), k)
	c.JNZ(LabelRef("eight"))
	end(c)
}

// transposeDwords writes a block of eight by eight values of 32 bits, column after column.
func transposeDwords(c *build.Context, src rows, dst, width reg.GPVirtual) {
	for half := range 2 { // of the columns
		var in [4]reg.VecVirtual
		for i := range in { // rows i and i+4 side by side
			in[i] = c.YMM()
			c.VMOVUPS(src.at(i, 16*half), in[i].AsX())
			c.VINSERTF128(Imm(1), src.at(i+4, 16*half), in[i], in[i])
		}
		t := avx2.vectors(c, 4)
		c.VUNPCKLPS(in[1], in[0], t[0])
		c.VUNPCKHPS(in[1], in[0], t[1])
		c.VUNPCKLPS(in[3], in[2], t[2])
		c.VUNPCKHPS(in[3], in[2], t[3])
		for i := range 4 {
			v := c.YMM()
			c.VSHUFPS(Imm([2]uint64{0x44, 0xee}[i%2]), t[2+i/2], t[i/2], v)
			c.VMOVUPS(v, Mem{Base: dst})
			c.ADDQ(width, dst)
		}
	}
}

// storeTile is microBF16.store, or, without half, microBF16.storeWhole, or, past the caches,
// microBF16.stream. A row of a tile has two registers.
func storeTile(c *build.Context, s isa, name string, half, stream bool) {
	c.Function(name + s.name)
	if half {
		c.SignatureExpr("func(dst *uint16, src, bias *float32, ld, rows int)")
	} else {
		c.SignatureExpr("func(dst, src, bias *float32, ld, rows int)")
	}
	c.Attributes(build.NOSPLIT)
	dst, src, ld, n := load(c, "dst"), load(c, "src"), load(c, "ld"), load(c, "rows")
	bias := load(c, "bias")
	var to rounder
	if half {
		to = newRounder(c, s)
	}
	b := s.vectors(c, 2)
	for j, v := range b {
		c.VMOVUPS(Mem{Base: bias, Disp: j * s.bytes()}, v)
	}
	c.Label("row")
	x := s.vectors(c, 2)
	for j, v := range x {
		c.VADDPS(Mem{Base: src, Disp: j * s.bytes()}, b[j], v)
		switch to := (Mem{Base: dst, Disp: j * s.bytes()}); {
		case stream:
			c.VMOVNTPS(v, to)
		case !half:
			c.VMOVUPS(v, to)
		}
	}
	if half {
		to.store(c, x, Mem{Base: dst})
	}
	c.ADDQ(U32(2*s.bytes()), src)
	c.ADDQ(ld, dst)
	c.DECQ(n)
	c.JNZ(LabelRef("row"))
	if stream {
		c.SFENCE() // such stores are not in order with those that say the part is done
	}
	end(c)
}
