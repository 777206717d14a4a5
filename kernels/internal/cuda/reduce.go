package cuda

import (
	"fmt"
	"math"
)

const (
	// reduceThreads is kReduceThreads of reduce.cuh.
	reduceThreads = 256
	// reduceShared is what block_sum of doubles needs.
	reduceShared = reduceThreads / 32 * 8
	// reduceBlocks bounds the grid of a sum, and so how many partial sums there are. It is the same
	// for every device, and so is the order of a sum. So many blocks fill the largest devices.
	reduceBlocks = 1024
)

// reduceGrid returns how many blocks add up n values of type t: each thread has at least four
// vectors, if there are so many.
func reduceGrid(t Type, n int) int {
	return min(max(1, ceilDiv(n*t.Size(), 4*16*reduceThreads)), reduceBlocks)
}

// partials returns the part of a workspace that n doubles take. It panics if they do not fit.
func partials(kernel string, ws Tensor, n int) Tensor {
	if ws.bytes() < 8*n || ws.Address%16 != 0 {
		const wrong = "cuda: %s: a workspace of %d bytes at %#x, not %d at a multiple of 16"
		panic(fmt.Sprintf(wrong, kernel, ws.bytes(), ws.Address, 8*n))
	}
	return Tensor{Address: ws.Address, Type: Float32, Len: 2 * n}
}

// total appends dst[0] = Σ sums[i] / divisor, where sums are n doubles.
func (q *Queue) total(dst, sums Tensor, n int, divisor float64) {
	q.add("total_f32", [3]int{1, 1, 1}, reduceThreads, reduceShared,
		[]Tensor{dst}, []Tensor{sums}, dst, sums, uint64(n), math.Float64bits(divisor))
}

// SumWorkspace returns how many bytes of workspace Sum of n values needs. A workspace begins at a
// multiple of 16, here and for all functions that take one.
func SumWorkspace(n int) int { return 8 * reduceGrid(Float32, n) }

// Sum is
//
//	dst[0] = Σ x[i]
//
// accumulated in float64 and rounded once. dst is float32.
func Sum(q *Queue, dst, x, ws Tensor) {
	mustBe("Sum", Float32, 1, dst)
	blocks := reduceGrid(x.Type, x.Len)
	sums := partials("Sum", ws, blocks)
	q.add("sum"+x.Type.suffix(), [3]int{blocks, 1, 1}, reduceThreads, reduceShared,
		[]Tensor{sums}, []Tensor{x}, x, sums, uint64(x.Len), aligned(x))
	q.total(dst, sums, blocks, 1)
}

// A middleCut is how SumMiddle cuts a tensor [a,b,c] into blocks.
type middleCut struct {
	values        int // of a row that a thread has at once
	width, height int // threads of a block
	pieces        int // of a row, each for a block
	parts, part   int // of the rows, each for a block, and how many rows one has
}

const (
	// middleNarrow is how many threads share 128 bytes of a row: memory moves no less.
	middleNarrow = 8
	// middleAlone is how many rows at most a thread adds up if no second launch is to come.
	middleAlone = 16
	// middleRows is how many rows a thread adds up at least if a second launch is to come.
	middleRows = 16
	// middleBlocks is how many blocks add up a tall matrix: enough to keep memory busy, and few
	// enough for their sums to be a small part of what is read.
	middleBlocks = 512
)

// cutMiddle cuts so that few rows are added up in one launch, in narrow blocks that are high. Many
// rows are cut into parts, in blocks that are as wide as memory is contiguous. values is how many
// values of a row a thread has at once.
func cutMiddle(a, b, c, values int) middleCut {
	m := middleCut{values: values}
	vectors := ceilDiv(c, values)
	narrow := middleNarrow
	if values == 1 {
		narrow = 32
	}
	wide := func(threads int) {
		m.pieces = ceilDiv(vectors, threads)
		m.width = ceilDiv(vectors, m.pieces)
		m.height = max(1, min(reduceThreads/m.width, b))
	}
	wide(narrow)
	m.parts, m.part = 1, b
	if b <= middleAlone*m.height || a*m.pieces >= middleBlocks {
		return m
	}
	wide(reduceThreads)
	m.parts = min(ceilDiv(middleBlocks, a*m.pieces), ceilDiv(b, middleRows*m.height))
	m.part = ceilDiv(b, m.parts)
	m.parts = ceilDiv(b, m.part)
	return m
}

// cutSums cuts the second launch of SumMiddle, whose rows are the parts of the first one.
func cutSums(parts, c int) middleCut {
	m := middleCut{values: 1, parts: 1, part: parts}
	m.pieces = ceilDiv(c, middleNarrow)
	m.width = ceilDiv(c, m.pieces)
	m.height = min(reduceThreads/m.width, parts)
	return m
}

// SumMiddleWorkspace returns how many bytes of workspace SumMiddle and ColumnSums (where a is 1, b
// the rows and c the columns) need for values of type t.
func SumMiddleWorkspace(t Type, a, b, c int) int {
	bytes := 0
	for _, values := range []int{1, 16 / t.Size()} {
		if m := cutMiddle(a, b, c, values); m.parts > 1 {
			bytes = max(bytes, 8*a*m.parts*c)
		}
	}
	return bytes
}

// SumMiddle is, for x [a,b,c],
//
//	dst[i,k] = scale · Σ_j x[i,j,k]
//
// accumulated in float64 and rounded once. dst [a,c] is float32.
func SumMiddle(q *Queue, dst, x Tensor, a, b, c int, scale float64, ws Tensor) {
	mustBe("SumMiddle", Float32, a*c, dst)
	mustBe("SumMiddle", x.Type, a*b*c, x)
	if a*c == 0 {
		return
	}
	values := 16 / x.Type.Size()
	if c%values != 0 || !aligned(x) {
		values = 1
	}
	m := cutMiddle(a, b, c, values)
	if m.parts == 1 {
		q.sums("middle"+x.Type.suffix(), dst, x, a, b, c, m, scale)
		return
	}
	sums := partials("SumMiddle", ws, a*m.parts*c)
	q.sums("middle"+x.Type.suffix(), sums, x, a, b, c, m, 1)
	q.sums("middle_f64", dst, sums, a, m.parts, c, cutSums(m.parts, c), scale)
}

func (q *Queue) sums(kernel string, dst, x Tensor, a, b, c int, m middleCut, scale float64) {
	threads := m.width * m.height
	q.add(kernel, [3]int{a * m.parts * m.pieces, 1, 1}, threads, 8*m.values*threads,
		[]Tensor{dst}, []Tensor{x}, dst, x, math.Float64bits(scale),
		b, c, m.pieces, m.parts, m.part, m.width, m.values > 1)
}

// ColumnSums is
//
//	sums[j] = Σ_i x[i,j]
//
// for x [rows,columns], accumulated in float64 and rounded once. sums is float32. The workspace is
// SumMiddleWorkspace(x.Type, 1, rows, columns).
func ColumnSums(q *Queue, sums, x Tensor, rows, columns int, ws Tensor) {
	SumMiddle(q, sums, x, 1, rows, columns, 1, ws)
}

// L2Normalize is
//
//	y[i,j] = x[i,j] / ‖x[i]‖
//
// for float32 rows of the given width, with the Euclidean norms in float64. A row of zeros stays as
// it is. y may be x.
func L2Normalize(q *Queue, y, x Tensor, width int) {
	q.norms("l2_normalize_f32", y, x, Tensor{}, width)
}

// L2NormalizeGrad is the gradient of L2Normalize by x, with y = x/‖x‖:
//
//	dx[i,j] = (dy[i,j] − y[i,j]·Σ_k y[i,k]·dy[i,k]) / ‖x[i]‖
//
// dx may be x or dy.
func L2NormalizeGrad(q *Queue, dx, x, dy Tensor, width int) {
	mustBe("L2NormalizeGrad", Float32, dx.Len, dy)
	q.norms("l2_normalize_grad_f32", dx, x, dy, width)
}

func (q *Queue) norms(kernel string, dst, x, dy Tensor, width int) {
	mustBe(kernel, Float32, dst.Len, dst, x)
	if dst.Len == 0 {
		return
	}
	if width < 1 || dst.Len%width != 0 {
		panic(fmt.Sprintf("cuda: %s: %d values are no rows of %d", kernel, dst.Len, width))
	}
	q.add(kernel, [3]int{dst.Len / width, 1, 1}, reduceThreads, reduceShared,
		[]Tensor{dst}, []Tensor{x, dy}, dst, x, dy, width)
}
