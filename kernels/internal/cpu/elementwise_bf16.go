package cpu

import "fmt"

// The kernels of this file do for bfloat16 values what others do for float32 ones: block by block
// they make float32 copies, which stay in a cache, compute, and round the result.

// halfBlock is how many values are widened at once.
const halfBlock = 2048

// A halfBuffer is the float32 copies of a block.
type halfBuffer struct{ dst, dst2, x, y, z [halfBlock]float32 }

var halfBuffers freeList[halfBuffer]

// widen returns values [lo,hi) of x in a buffer, or nothing of no x.
func widen(buffer *[halfBlock]float32, x []uint16, lo, hi int) []float32 {
	if x == nil {
		return nil
	}
	w := buffer[:hi-lo]
	conversion.from(w, x[lo:hi])
	return w
}

// A halfTask runs one of its bodies over blocks of the values.
type halfTask struct {
	unary     func(pool *Pool, dst, x []float32)
	binary    func(pool *Pool, dst, x, y []float32)
	scaled    func(pool *Pool, dst, x []float32, a float32)
	scaled2   func(pool *Pool, dst, x, y []float32, a float32)
	a         float32
	dst, x, y []uint16
}

var halfTasks freeList[halfTask]

func (t *halfTask) Do(_, part int) {
	b := halfBuffers.get()
	from, to := span(part, elementBlock, len(t.dst))
	for lo := from; lo < to; lo += halfBlock {
		hi := min(lo+halfBlock, to)
		dst, x, y := b.dst[:hi-lo], widen(&b.x, t.x, lo, hi), widen(&b.y, t.y, lo, hi)
		switch {
		case t.unary != nil:
			t.unary(serial, dst, x)
		case t.binary != nil:
			t.binary(serial, dst, x, y)
		case t.scaled != nil:
			t.scaled(serial, dst, x, t.a)
		default:
			t.scaled2(serial, dst, x, y, t.a)
		}
		conversion.to(t.dst[lo:hi], dst)
	}
	halfBuffers.put(b)
}

func runHalves(pool *Pool, h halfTask) {
	if len(h.x) != len(h.dst) || h.y != nil && len(h.y) != len(h.dst) {
		const wrong = "cpu: an elementwise kernel: %d, %d and %d values of bfloat16"
		panic(fmt.Sprintf(wrong, len(h.dst), len(h.x), len(h.y)))
	}
	t := halfTasks.get()
	*t = h
	pool.Parallel(ceilDiv(len(h.dst), elementBlock), t)
	halfTasks.put(t)
}

// UnaryBF16 is f, a kernel of this package that is elementwise, for bfloat16 values. dst may be x.
// It panics if the lengths differ, as do the three others.
func UnaryBF16(pool *Pool, f func(pool *Pool, dst, x []float32), dst, x []uint16) {
	runHalves(pool, halfTask{unary: f, dst: dst, x: x})
}

// BinaryBF16 is such an f of two tensors. dst may be x or y.
func BinaryBF16(pool *Pool, f func(pool *Pool, dst, x, y []float32), dst, x, y []uint16) {
	runHalves(pool, halfTask{binary: f, dst: dst, x: x, y: y})
}

// ScaleBF16 is dst[i] = a · x[i], rounded. dst may be x.
func ScaleBF16(pool *Pool, dst, x []uint16, a float32) {
	runHalves(pool, halfTask{scaled: Scale, dst: dst, x: x, a: a})
}

// SubScaleBF16 is dst[i] = a · (x[i] − y[i]), rounded. dst may be x or y.
func SubScaleBF16(pool *Pool, dst, x, y []uint16, a float32) {
	runHalves(pool, halfTask{scaled2: SubScale, dst: dst, x: x, y: y, a: a})
}

// A gegluBF16Task runs GEGLU or its gradient over blocks of rows.
type gegluBF16Task struct {
	out, x, dy   []uint16
	width, block int
}

var gegluBF16Tasks freeList[gegluBF16Task]

func (t *gegluBF16Task) Do(_, part int) {
	b, w := halfBuffers.get(), t.width
	first, last := span(part, t.block, len(t.x)/(2*w))
	for r := first; r < last; r++ {
		for lo := 0; lo < w; lo += halfBlock {
			hi := min(lo+halfBlock, w)
			value := widen(&b.x, t.x[2*w*r:], lo, hi)
			gate := widen(&b.y, t.x[2*w*r+w:], lo, hi)
			if t.dy == nil {
				vec.geglu(b.dst[:hi-lo], value, gate)
				conversion.to(t.out[w*r+lo:w*r+hi], b.dst[:hi-lo])
				continue
			}
			dy := widen(&b.z, t.dy[w*r:], lo, hi)
			vec.gegluGrad(b.dst[:hi-lo], b.dst2[:hi-lo], value, gate, dy)
			conversion.to(t.out[2*w*r+lo:2*w*r+hi], b.dst[:hi-lo])
			conversion.to(t.out[2*w*r+w+lo:2*w*r+w+hi], b.dst2[:hi-lo])
		}
	}
	halfBuffers.put(b)
}

func runGEGLUBF16(pool *Pool, g gegluBF16Task) {
	g.block = max(1, elementBlock/g.width)
	t := gegluBF16Tasks.get()
	*t = g
	pool.Parallel(ceilDiv(len(g.x)/(2*g.width), g.block), t)
	gegluBF16Tasks.put(t)
}

// GEGLUBF16 is GEGLU for bfloat16 values. It panics as GEGLU does.
func GEGLUBF16(pool *Pool, dst, x []uint16, width int) {
	checkGEGLU("GEGLUBF16", len(x), len(dst), width)
	runGEGLUBF16(pool, gegluBF16Task{out: dst, x: x, width: width})
}

// GEGLUGradBF16 is GEGLUGrad for bfloat16 values. It panics as GEGLUGrad does.
func GEGLUGradBF16(pool *Pool, dx, x, dy []uint16, width int) {
	checkGEGLU("GEGLUGradBF16", len(x), len(dy), width)
	if len(dx) != len(x) {
		panic(fmt.Sprintf("cpu: GEGLUGradBF16: %d values for a gradient of %d", len(dx), len(x)))
	}
	runGEGLUBF16(pool, gegluBF16Task{out: dx, x: x, dy: dy, width: width})
}

// AddMiddleBF16 is AddMiddle for bfloat16 values. It panics as AddMiddle does.
func AddMiddleBF16(pool *Pool, dst, x, y []uint16, a, b, c int) {
	if len(dst) != a*b*c || len(x) != a*b*c || len(y) != a*c {
		const wrong = "cpu: AddMiddleBF16: %d, %d and %d values for [%d,%d,%d]"
		panic(fmt.Sprintf(wrong, len(dst), len(x), len(y), a, b, c))
	}
	t := addMiddleBF16Tasks.get()
	*t = addMiddleBF16Task{dst: dst, x: x, y: y, a: a, b: b, c: c}
	t.block = max(1, elementBlock/max(1, c))
	pool.Parallel(ceilDiv(a*b, t.block), t)
	addMiddleBF16Tasks.put(t)
}

type addMiddleBF16Task struct {
	dst, x, y      []uint16
	a, b, c, block int
}

var addMiddleBF16Tasks freeList[addMiddleBF16Task]

func (t *addMiddleBF16Task) Do(_, part int) {
	buffer := halfBuffers.get()
	first, last := span(part, t.block, t.a*t.b)
	for row := first; row < last; row++ {
		for lo := 0; lo < t.c; lo += halfBlock {
			hi := min(lo+halfBlock, t.c)
			x := widen(&buffer.x, t.x[row*t.c:], lo, hi)
			vec.add(x, x, widen(&buffer.y, t.y[row/t.b*t.c:], lo, hi))
			conversion.to(t.dst[row*t.c+lo:row*t.c+hi], x)
		}
	}
	halfBuffers.put(buffer)
}
