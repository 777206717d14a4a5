package cuda

import "fmt"

// AddMiddle is dst[i,j,k] = x[i,j,k] + y[i,k] for x and dst [a,b,c] and y [a,c]. dst may be x.
func AddMiddle(q *Queue, dst, x, y Tensor, a, b, c int) {
	mustBe("add_middle", dst.Type, a*b*c, x)
	q.middle("add_middle", dst, x, y, a, b, c, 1)
}

// RepeatMiddle is dst[i,j,k] = scale·y[i,k] for dst [a,b,c] and y [a,c].
func RepeatMiddle(q *Queue, dst, y Tensor, a, b, c int, scale float64) {
	q.middle("repeat_middle", dst, Tensor{}, y, a, b, c, scale)
}

func (q *Queue) middle(kernel string, dst, x, y Tensor, a, b, c int, scale float64) {
	mustBe(kernel, dst.Type, a*b*c, dst)
	mustBe(kernel, dst.Type, a*c, y)
	if dst.Len == 0 {
		return
	}
	wide := aligned(dst, x, y) && c%unit(dst.Type, true) == 0
	c /= unit(dst.Type, wide)
	n := a * b * c
	q.add(kernel+dst.Type.suffix(), elementGrid(n), elementThreads, 0,
		[]Tensor{dst}, []Tensor{x, y},
		dst, x, y, uint64(n), divisor(b*c, n), divisor(c, n), uint64(c), scale, wide)
}

// CopyRows is
//
//	for i := range rows {
//		copy(dst[i*dstStride:][:n], src[i*srcStride:][:n])
//	}
//
// It panics if dst or src is too short.
func CopyRows(q *Queue, dst, src Tensor, rows, dstStride, srcStride, n int) {
	if rows == 0 || n == 0 {
		return
	}
	to, from := (rows-1)*dstStride+n, (rows-1)*srcStride+n
	if dst.Len < to || src.Len < from || dst.Type != src.Type {
		const wrong = "cuda: copy_rows: %d values of type %d and %d of type %d " +
			"for %d rows of %d, %d and %d apart"
		panic(fmt.Sprintf(wrong, dst.Len, dst.Type, src.Len, src.Type,
			rows, n, dstStride, srcStride))
	}
	dst, src = dst.First(to), src.First(from)
	if dstStride == n && srcStride == n { // rows are contiguous
		rows, n = 1, rows*n
	}
	// All that a unit has to divide, in bytes.
	size := dst.Type.Size()
	all := dst.Address | src.Address | uint64(n*size)
	if rows > 1 {
		all |= uint64(dstStride*size) | uint64(srcStride*size)
	}
	unit := 16
	for all%uint64(unit) != 0 {
		unit /= 2
	}
	units := func(values int) int { return values * size / unit }
	columns := units(n)
	q.add(fmt.Sprintf("copy_rows_%d", unit), elementGrid(rows*columns), elementThreads, 0,
		[]Tensor{dst}, []Tensor{src}, dst, src,
		uint64(rows*columns), divisor(columns, rows*columns), uint64(columns),
		uint64(units(dstStride)), uint64(units(srcStride)))
}
