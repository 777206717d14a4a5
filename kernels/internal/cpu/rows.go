package cpu

import "fmt"

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
	if len(dst) < (rows-1)*dstStride+n || len(src) < (rows-1)*srcStride+n {
		panic(fmt.Sprintf("cpu: CopyRows: %d and %d values for %d rows of %d, %d and %d apart",
			len(dst), len(src), rows, n, dstStride, srcStride))
	}
	t := copyTasks.get()
	*t = copyTask{dst: dst, src: src, rows: rows, dstStride: dstStride, srcStride: srcStride, n: n}
	t.block = max(1, elementBlock/n)
	t.pieces = ceilDiv(n, elementBlock)
	pool.Parallel(ceilDiv(rows, t.block)*t.pieces, t)
	copyTasks.put(t)
}

// A copyTask copies blocks of short rows, or pieces of long rows.
type copyTask struct {
	dst, src             []float32
	rows                 int
	dstStride, srcStride int
	n                    int
	block, pieces        int
}

var copyTasks freeList[copyTask]

func (t *copyTask) Do(_, part int) {
	from, to := span(part%t.pieces, elementBlock, t.n)
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
