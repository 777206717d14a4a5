package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

// Winograd's transforms belong to the points 0, ±a, ±b and ∞.
const (
	pointA, pointB   = 5.0 / 8, 3.0 / 2
	squareA, squareB = pointA * pointA, pointB * pointB

	filter0 = 1 / (squareA * squareB)
	filterA = 1 / (2 * squareA * (squareA - squareB))
	filterB = 1 / (2 * squareB * (squareB - squareA))
)

// filters are the values of G.
var filters = []float64{
	filter0, filterA, filterA * pointA, filterA * squareA,
	filterB, filterB * pointB, filterB * squareB,
}

// lines are the transforms in one dimension. Each makes to outputs from its inputs.
var lines = []line{
	{
		"Window", "is Bᵀ·src·B.", 6, 6, false, windowLine,
		[]float64{squareA * squareB, -squareA - squareB, -squareA, -squareB, pointA, pointB},
		[]int{4, 2},
	}, {
		"Filter", "is G·src·Gᵀ.", 3, 6, false, filterLine,
		filters, []int{4},
	}, {
		"Result", "is Aᵀ·src·A + bias.", 6, 4, true, resultLine,
		[]float64{pointA, pointB, squareA, squareB, squareA * pointA, squareB * pointB},
		[]int{4},
	}, {
		"Spread", "is A·src·Aᵀ.", 4, 6, false, spreadLine,
		[]float64{pointA, pointB, squareA, squareB},
		[]int{4, 2},
	}, {
		"Gather", "is Gᵀ·src·G.", 6, 3, false, gatherLine,
		filters, []int{4},
	},
}

type line struct {
	name, doc string
	from, to  int
	bias      bool
	write     func(w *lineWriter, in []reg.VecVirtual) []reg.VecVirtual
	constants []float64 // that write uses
	sizes     []int     // bytes of a value of src, one for each function
}

func winograd(c *build.Context) {
	data := map[float64]Mem{}
	for i, l := range lines {
		for _, v := range l.constants {
			if _, ok := data[v]; !ok {
				data[v] = c.ConstData(fmt.Sprintf("winograd%d", len(data)), F32(v))
			}
		}
		for _, s := range []isa{avx2, avx512} {
			for _, size := range l.sizes {
				w := lineWriter{c, s, lines[i], data, map[float64]reg.VecVirtual{}, size}
				w.function()
			}
		}
	}
}

// A lineWriter writes the function of a line for one instruction set.
type lineWriter struct {
	*build.Context
	isa
	line
	data      map[float64]Mem
	constants map[float64]reg.VecVirtual // if there are registers for them
	size      int                        // bytes of a value of src
}

// function writes a transform in two dimensions: of the columns, into memory of the function's own,
// and then of the rows.
func (w *lineWriter) function() {
	name, args := "winograd"+w.line.name, "dst, src *float32"
	if w.bias {
		args = "dst, src, bias *float32"
	}
	if w.size == 2 {
		name, args = name+"BF16", "dst *float32, src *uint16"
	}
	name += w.isa.name
	w.Function(name)
	w.SignatureExpr("func(" + args + ", dr, dc, sr, sc, n int)")
	w.Doc(name + " " + w.doc)
	own := w.AllocLocal(w.from*w.to*w.bytes() + 64)
	tmp := w.GP64()
	w.LEAQ(own.Offset(63), tmp)
	w.ANDQ(I8(-64), tmp)
	at := func(row, column int) Mem {
		return Mem{Base: tmp, Disp: (row*w.from + column) * w.bytes()}
	}
	src, dst, n := load(w.Context, "src"), load(w.Context, "dst"), load(w.Context, "n")
	sr, sc := w.stride("sr", w.size), w.stride("sc", w.size)
	dr, dc := w.stride("dr", 4), w.stride("dc", 4)
	pointers := []reg.GPVirtual{src, dst}
	if w.bias {
		pointers = append(pointers, load(w.Context, "bias"))
	}
	if w.lanes == 16 {
		for _, v := range w.line.constants {
			w.constants[v] = w.constant(v)
		}
	}

	w.Label("lanes")
	w.walk(src, sc, sr, w.from, func(j int, from func(i int) Mem) {
		for i, v := range w.write(w, w.loadAll(w.size, from)) {
			w.VMOVUPS(v, at(i, j))
		}
	})
	w.walk(dst, dr, dc, w.to, func(i int, to func(j int) Mem) {
		for j, v := range w.write(w, w.loadAll(4, func(j int) Mem { return at(i, j) })) {
			if w.bias {
				sum := w.vector(w.Context)
				w.VADDPS(Mem{Base: pointers[2]}, v, sum)
				v = sum
			}
			w.VMOVUPS(v, to(j))
		}
	})
	for i, p := range pointers {
		size := 4
		if i == 0 {
			size = w.size
		}
		w.ADDQ(U32(size*w.lanes), p)
	}
	w.SUBQ(U32(w.lanes), n)
	w.JNZ(LabelRef("lanes"))
	end(w.Context)
}

// walk calls each for n lines. Lines are across apart, and the elements of a line are along apart.
func (w *lineWriter) walk(
	first, across, along reg.GPVirtual, n int, each func(line int, at func(i int) Mem),
) {
	start, fourth := w.GP64(), w.GP64()
	w.MOVQ(first, start)
	w.LEAQ(Mem{Base: along, Index: along, Scale: 2}, fourth)
	w.ADDQ(start, fourth)
	for k := range n {
		if k > 0 {
			w.ADDQ(across, start)
			w.ADDQ(across, fourth)
		}
		each(k, func(i int) Mem {
			m := Mem{Base: [2]reg.GPVirtual{start, fourth}[i/3]}
			if i%3 > 0 {
				m.Index, m.Scale = along, uint8(i%3)
			}
			return m
		})
	}
}

// loadAll are the inputs of a line, whose values have so many bytes.
func (w *lineWriter) loadAll(size int, at func(i int) Mem) []reg.VecVirtual {
	in := w.vectors(w.Context, w.from)
	for i, v := range in {
		if size == 2 {
			w.VPMOVZXWD(at(i), v)
			w.VPSLLD(Imm(16), v, v)
			continue
		}
		w.VMOVUPS(at(i), v)
	}
	return in
}

// stride is a parameter that counts values of so many bytes, in bytes.
func (w *lineWriter) stride(name string, size int) reg.GPVirtual {
	s := load(w.Context, name)
	w.SHLQ(Imm(uint64(size/2)), s)
	return s
}

// constant is v in every lane.
func (w *lineWriter) constant(v float64) reg.VecVirtual {
	if r, ok := w.constants[v]; ok {
		return r
	}
	m, ok := w.data[v]
	if !ok {
		panic(fmt.Sprint(w.line.name, " does not name its constant ", v))
	}
	r := w.vector(w.Context)
	w.VBROADCASTSS(m, r)
	return r
}

// times is c·x.
func (w *lineWriter) times(c float64, x reg.VecVirtual) reg.VecVirtual {
	r := w.vector(w.Context)
	w.VMULPS(w.constant(c), x, r)
	return r
}

// plus is x + c·y, in x's register.
func (w *lineWriter) plus(x reg.VecVirtual, c float64, y reg.VecVirtual) reg.VecVirtual {
	w.VFMADD231PS(w.constant(c), y, x)
	return x
}

// both are x + c·y and x − c·y. The second is in x's register.
func (w *lineWriter) both(
	x reg.VecVirtual, c float64, y reg.VecVirtual,
) (sum, rest reg.VecVirtual) {
	sum = w.vector(w.Context)
	w.VMOVAPS(x, sum)
	w.VFMADD231PS(w.constant(c), y, sum)
	w.VFNMADD231PS(w.constant(c), y, x)
	return sum, x
}

// pair are x + y and x − y.
func (w *lineWriter) pair(x, y reg.VecVirtual) (sum, rest reg.VecVirtual) {
	sum, rest = w.vector(w.Context), w.vector(w.Context)
	w.VADDPS(y, x, sum)
	w.VSUBPS(y, x, rest)
	return sum, rest
}

// copied is x in a register of its own.
func (w *lineWriter) copied(x reg.VecVirtual) reg.VecVirtual {
	r := w.vector(w.Context)
	w.VMOVAPS(x, r)
	return r
}

func windowLine(w *lineWriter, d []reg.VecVirtual) []reg.VecVirtual {
	even, odd := w.plus(w.copied(d[4]), -squareB, d[2]), w.plus(w.copied(d[3]), -squareB, d[1])
	a1, a2 := w.both(even, pointA, odd)
	even, odd = w.plus(w.copied(d[4]), -squareA, d[2]), w.plus(w.copied(d[3]), -squareA, d[1])
	b1, b2 := w.both(even, pointB, odd)
	first := w.plus(w.plus(d[4], -squareA-squareB, d[2]), squareA*squareB, d[0])
	last := w.plus(w.plus(d[5], -squareA-squareB, d[3]), squareA*squareB, d[1])
	return []reg.VecVirtual{first, a1, a2, b1, b2, last}
}

func filterLine(w *lineWriter, g []reg.VecVirtual) []reg.VecVirtual {
	a1, a2 := w.both(w.plus(w.times(filterA, g[0]), filterA*squareA, g[2]), filterA*pointA, g[1])
	b1, b2 := w.both(w.plus(w.times(filterB, g[0]), filterB*squareB, g[2]), filterB*pointB, g[1])
	return []reg.VecVirtual{w.times(filter0, g[0]), a1, a2, b1, b2, g[2]}
}

func resultLine(w *lineWriter, m []reg.VecVirtual) []reg.VecVirtual {
	sumA, restA := w.pair(m[1], m[2])
	sumB, restB := w.pair(m[3], m[4])
	third := w.plus(w.times(squareA, sumA), squareB, sumB)
	second := w.plus(w.times(pointA, restA), pointB, restB)
	fourth := w.plus(w.plus(m[5], squareA*pointA, restA), squareB*pointB, restB)
	w.VADDPS(sumA, m[0], m[0])
	w.VADDPS(sumB, m[0], m[0])
	return []reg.VecVirtual{m[0], second, third, fourth}
}

func spreadLine(w *lineWriter, d []reg.VecVirtual) []reg.VecVirtual {
	even, odd := w.plus(w.copied(d[0]), squareA, d[2]), w.plus(w.copied(d[1]), squareA, d[3])
	a1, a2 := w.both(even, pointA, odd)
	even, odd = w.plus(w.copied(d[0]), squareB, d[2]), w.plus(w.copied(d[1]), squareB, d[3])
	b1, b2 := w.both(even, pointB, odd)
	return []reg.VecVirtual{d[0], a1, a2, b1, b2, d[3]}
}

func gatherLine(w *lineWriter, m []reg.VecVirtual) []reg.VecVirtual {
	sumA, restA := w.pair(m[1], m[2])
	sumB, restB := w.pair(m[3], m[4])
	first := w.plus(w.plus(w.times(filter0, m[0]), filterA, sumA), filterB, sumB)
	second := w.plus(w.times(filterA*pointA, restA), filterB*pointB, restB)
	third := w.plus(w.plus(m[5], filterA*squareA, sumA), filterB*squareB, sumB)
	return []reg.VecVirtual{first, second, third}
}
