package cuda

// elementThreads is kElementThreads of elementwise.cu.
const elementThreads = 256

// elementBlocks bounds the grid of an elementwise kernel. Threads go on to further values. So many
// blocks fill the largest devices several times over.
const elementBlocks = 2048

// elements appends dst = f(x, y, a), value by value. y may have no values. dst may be x or y.
func (q *Queue) elements(kernel string, dst, x, y Tensor, a float64) {
	n := dst.Len
	mustBe(kernel, dst.Type, n, x)
	if y.Len > 0 {
		mustBe(kernel, dst.Type, n, y)
	}
	if n == 0 {
		return
	}
	grid := min(ceilDiv(n*dst.Type.Size(), 16*elementThreads), elementBlocks)
	q.add(kernel+dst.Type.suffix(), [3]int{grid, 1, 1}, elementThreads, 0,
		[]Tensor{dst}, []Tensor{x, y}, dst, x, y, uint64(n), a, aligned(dst, x, y))
}

// Add is dst[i] = x[i] + y[i]. dst may be x or y.
func Add(q *Queue, dst, x, y Tensor) { q.elements("add", dst, x, y, 0) }

// SubScale is dst[i] = a·(x[i] − y[i]). dst may be x or y.
func SubScale(q *Queue, dst, x, y Tensor, a float64) { q.elements("sub", dst, x, y, a) }

// Mul is dst[i] = x[i]·y[i]. dst may be x or y.
func Mul(q *Queue, dst, x, y Tensor) { q.elements("mul", dst, x, y, 0) }

// Scale is dst[i] = a·x[i]. dst may be x.
func Scale(q *Queue, dst, x Tensor, a float64) { q.elements("scale", dst, x, Tensor{}, a) }
