package cpu

import (
	"fmt"
	"unsafe"
)

// CopyRows is
//
//	for i := range rows {
//		copy(dst[i*dstStride:][:n], src[i*srcStride:][:n])
//	}
//
// It panics if dst or src is too short.
func CopyRows(pool *Pool, dst, src []float32, rows, dstStride, srcStride, n int) {
	if rows == 0 || n == 0 {
		return
	}
	mustHoldRows(len(dst), len(src), rows, dstStride, srcStride, n)
	copyRows(pool, bytesOf(dst, 4), bytesOf(src, 4), rows, 4*dstStride, 4*srcStride, 4*n)
}

// CopyRowsBF16 is CopyRows for bfloat16 values.
func CopyRowsBF16(pool *Pool, dst, src []uint16, rows, dstStride, srcStride, n int) {
	if rows == 0 || n == 0 {
		return
	}
	mustHoldRows(len(dst), len(src), rows, dstStride, srcStride, n)
	copyRows(pool, bytesOf(dst, 2), bytesOf(src, 2), rows, 2*dstStride, 2*srcStride, 2*n)
}

func mustHoldRows(dst, src, rows, dstStride, srcStride, n int) {
	if dst < (rows-1)*dstStride+n || src < (rows-1)*srcStride+n {
		panic(fmt.Sprintf("cpu: CopyRows: %d and %d values for %d rows of %d, %d and %d apart",
			dst, src, rows, n, dstStride, srcStride))
	}
}

// bytesOf is the memory of values of so many bytes.
func bytesOf[T float32 | uint16](x []T, size int) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), size*len(x))
}

// copyBlock is how many bytes one part copies.
const copyBlock = 4 * elementBlock

// copyRows copies rows of n bytes.
func copyRows(pool *Pool, dst, src []byte, rows, dstStride, srcStride, n int) {
	t := copyTasks.get()
	*t = copyTask{dst: dst, src: src, rows: rows, dstStride: dstStride, srcStride: srcStride, n: n}
	t.block = max(1, copyBlock/n)
	t.pieces = ceilDiv(n, copyBlock)
	pool.Parallel(ceilDiv(rows, t.block)*t.pieces, t)
	copyTasks.put(t)
}

// A copyTask copies blocks of short rows, or pieces of long rows.
type copyTask struct {
	dst, src             []byte
	rows                 int
	dstStride, srcStride int
	n                    int
	block, pieces        int
}

var copyTasks freeList[copyTask]

func (t *copyTask) Do(_, part int) {
	from, to := span(part%t.pieces, copyBlock, t.n)
	lo, hi := span(part/t.pieces, t.block, t.rows)
	for i := lo; i < hi; i++ {
		copy(t.dst[i*t.dstStride+from:i*t.dstStride+to], t.src[i*t.srcStride+from:i*t.srcStride+to])
	}
}

// GatherRows is
//
//	for i, k := range index {
//		copy(dst[i*columns:][:columns], src[(i*step+int(k))*columns:])
//	}
//
// With step 0 an index is the number of a row of src. Otherwise sample i has step rows of src, and
// its index is the number of one of them. It panics on wrong lengths and on an index of no row.
func GatherRows(pool *Pool, dst, src, index []float32, columns, step int) {
	mustMatch("GatherRows", len(index)*columns, dst)
	mustIndex("GatherRows", src, index, columns, step)
	t := gatherTasks.get()
	*t = gatherTask{dst: dst, src: src, index: index, columns: columns, step: step}
	t.block = max(1, elementBlock/columns)
	pool.Parallel(ceilDiv(len(index), t.block), t)
	gatherTasks.put(t)
}

type gatherTask struct {
	dst, src, index      []float32
	columns, step, block int
}

var gatherTasks freeList[gatherTask]

func (t *gatherTask) Do(_, part int) {
	lo, hi := span(part, t.block, len(t.index))
	for i := lo; i < hi; i++ {
		row := i*t.step + int(t.index[i])
		copy(t.dst[i*t.columns:][:t.columns], t.src[row*t.columns:])
	}
}

// scatterColumns is how many columns one part of ScatterRows adds up.
const scatterColumns = 64

// ScatterRows is the gradient of GatherRows by src. It sets dst to zero, and then
//
//	for i, k := range index {
//		dst[(i*step+int(k))*columns:][:columns] += dy[i*columns:][:columns]
//	}
//
// It panics as GatherRows does.
func ScatterRows(pool *Pool, dst, dy, index []float32, columns, step int) {
	mustMatch("ScatterRows", len(index)*columns, dy)
	mustIndex("ScatterRows", dst, index, columns, step)
	Fill(pool, dst, 0)
	t := scatterTasks.get()
	*t = scatterTask{dst: dst, dy: dy, index: index, columns: columns, step: step}
	pool.Parallel(ceilDiv(columns, scatterColumns), t)
	scatterTasks.put(t)
}

type scatterTask struct {
	dst, dy, index []float32
	columns, step  int
}

var scatterTasks freeList[scatterTask]

// Do adds up some columns of all rows. So rows that several indices name are summed in one order.
func (t *scatterTask) Do(_, part int) {
	lo, hi := span(part, scatterColumns, t.columns)
	for i, k := range t.index {
		at := (i*t.step + int(k)) * t.columns
		sum := t.dst[at+lo : at+hi]
		vec.add(sum, sum, t.dy[i*t.columns+lo:i*t.columns+hi])
	}
}

// mustIndex panics unless every index is the number of a row of x.
func mustIndex(kernel string, x, index []float32, columns, step int) {
	rows := step
	if step == 0 {
		rows = len(x) / columns
	}
	if len(x)%columns != 0 || step != 0 && len(x) != step*len(index)*columns {
		const wrong = "cpu: %s: %d values are no rows of %d for %d indices"
		panic(fmt.Sprintf(wrong, kernel, len(x), columns, len(index)))
	}
	for i, k := range index {
		if !(k >= 0 && int(k) < rows && k == float32(int(k))) {
			const wrong = "cpu: %s: index %d is %v, not an integer in 0 to %d"
			panic(fmt.Sprintf(wrong, kernel, i, k, rows-1))
		}
	}
}
