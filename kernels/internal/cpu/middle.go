package cpu

import "fmt"

// The kernels of this file take a tensor as [a,b,c] in row-major order. They sum or repeat along b.

// middleColumns is how many columns are summed at once.
const middleColumns = 64

// SumMiddle is
//
//	dst[i,k] = scale · Σ_j x[i,j,k]
//
// accumulated in float64. It panics on wrong lengths.
func SumMiddle(pool *Pool, dst, x []float32, a, b, c int, scale float64) {
	mustBe3D("SumMiddle", x, dst, a, b, c)
	t := middleTasks.get()
	*t = middleTask{op: sumMiddle, dst: dst, x: x, a: a, b: b, c: c, scale: scale}
	t.pieces = ceilDiv(c, middleColumns)
	t.block = max(1, elementBlock/max(1, b*min(c, middleColumns)))
	pool.Parallel(ceilDiv(a*t.pieces, t.block), t)
	middleTasks.put(t)
}

// RepeatMiddle is dst[i,j,k] = scale · y[i,k]. It panics on wrong lengths.
func RepeatMiddle(pool *Pool, dst, y []float32, a, b, c int, scale float64) {
	mustBe3D("RepeatMiddle", dst, y, a, b, c)
	t := middleTasks.get()
	*t = middleTask{op: repeatMiddle, dst: dst, y: y, a: a, b: b, c: c, scale: scale}
	t.block = max(1, elementBlock/max(1, c))
	pool.Parallel(ceilDiv(a*b, t.block), t)
	middleTasks.put(t)
}

// AddMiddle is dst[i,j,k] = x[i,j,k] + y[i,k]. dst may be x. It panics on wrong lengths.
func AddMiddle(pool *Pool, dst, x, y []float32, a, b, c int) {
	mustBe3D("AddMiddle", x, y, a, b, c)
	mustMatch("AddMiddle", len(x), dst)
	t := middleTasks.get()
	*t = middleTask{op: addMiddle, dst: dst, x: x, y: y, a: a, b: b, c: c}
	t.block = max(1, elementBlock/max(1, c))
	pool.Parallel(ceilDiv(a*b, t.block), t)
	middleTasks.put(t)
}

type middleOp uint8

const (
	sumMiddle middleOp = iota
	repeatMiddle
	addMiddle
)

// A middleTask does blocks of rows of x or dst. For sumMiddle it does blocks of sums, whose rows
// are cut into pieces of middleColumns.
type middleTask struct {
	op            middleOp
	dst, x, y     []float32
	a, b, c       int
	scale         float64
	block, pieces int
}

var middleTasks freeList[middleTask]

func (t *middleTask) Do(_, part int) {
	if t.op == sumMiddle {
		lo, hi := span(part, t.block, t.a*t.pieces)
		for i := lo; i < hi; i++ {
			t.sum(i/t.pieces, i%t.pieces)
		}
		return
	}
	lo, hi := span(part, t.block, t.a*t.b)
	for row := lo; row < hi; row++ {
		dst, y := t.dst[row*t.c:][:t.c], t.y[row/t.b*t.c:][:t.c]
		switch {
		case t.op == addMiddle:
			vec.add(dst, t.x[row*t.c:][:t.c], y)
		case t.scale == 1:
			copy(dst, y)
		default:
			vec.scale(dst, y, float32(t.scale))
		}
	}
}

// sum sums some columns of the i-th matrix.
func (t *middleTask) sum(i, piece int) {
	var sums [middleColumns]float64
	lo, hi := span(piece, middleColumns, t.c)
	s := sums[:hi-lo]
	for j := range t.b {
		addWidened(s, t.x[(i*t.b+j)*t.c+lo:][:hi-lo])
	}
	dst := t.dst[i*t.c+lo:][:hi-lo]
	for k := range dst {
		dst[k] = float32(t.scale * s[k])
	}
}

func mustBe3D(kernel string, full, reduced []float32, a, b, c int) {
	if len(full) != a*b*c || len(reduced) != a*c {
		const wrong = "cpu: %s: %d and %d values for [%d,%d,%d]"
		panic(fmt.Sprintf(wrong, kernel, len(full), len(reduced), a, b, c))
	}
}
