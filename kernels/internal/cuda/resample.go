package cuda

import "fmt"

// A Resampling is between images [N,H,W,C] and images [N,OH,OW,C].
type Resampling struct{ N, H, W, OH, OW, C int }

// UpsampleNearest is
//
//	y[n,i,j] = x[n, ⌊i·H/OH⌋, ⌊j·W/OW⌋]
//
// for all channels.
func UpsampleNearest(q *Queue, y, x Tensor, r Resampling) { q.enlarge("nearest", y, x, r, 0) }

// UpsampleNearestGrad is the gradient of UpsampleNearest by x. For each value of x it sums dy over
// the values of y that are copies of it, in float32.
func UpsampleNearestGrad(q *Queue, dx, dy Tensor, r Resampling) {
	q.shrink("nearest_grad", dx, dy, r, 0)
}

// AveragePool is the mean over windows of k×k that are k apart,
//
//	y[n,i,j] = Σ_{u,v<k} x[n, k·i+u, k·j+v] / k²
//
// for all channels, with OH ≤ H/k and OW ≤ W/k, in float32. Rows and columns of x that fill no
// window do not count.
func AveragePool(q *Queue, y, x Tensor, r Resampling, k int) {
	r.mustPool("AveragePool", k)
	q.enlarge("average", y, x, r, k)
}

// AveragePoolGrad is the gradient of AveragePool by x.
func AveragePoolGrad(q *Queue, dx, dy Tensor, r Resampling, k int) {
	r.mustPool("AveragePoolGrad", k)
	q.shrink("average_grad", dx, dy, r, k)
}

func (r Resampling) mustPool(kernel string, k int) {
	if k < 1 || r.OH*k > r.H || r.OW*k > r.W {
		panic(fmt.Sprintf("cuda: %s: windows of %d do not fit in %+v", kernel, k, r))
	}
}

const (
	// resampleThreads is kResampleThreads of resample.cu.
	resampleThreads = 256
	// resampleBlocks is from how many blocks on the threads of a block make several pixels each, up
	// to resamplePixels.
	resampleBlocks = 2048
	resamplePixels = 8
)

// enlarge appends the making of images [N,OH,OW,C] of images [N,H,W,C].
func (q *Queue) enlarge(kernel string, y, x Tensor, r Resampling, k int) {
	q.resample(kernel, y, x, r.N, [2]int{r.OH, r.OW}, [2]int{r.H, r.W}, r.C, k)
}

// shrink appends the making of images [N,H,W,C] of images [N,OH,OW,C].
func (q *Queue) shrink(kernel string, x, y Tensor, r Resampling, k int) {
	q.resample(kernel, x, y, r.N, [2]int{r.H, r.W}, [2]int{r.OH, r.OW}, r.C, k)
}

// resample appends the making of n images dst of one size, height and width, of images src of
// another.
func (q *Queue) resample(kernel string, dst, src Tensor, n int, to, from [2]int, c, k int) {
	mustBe(kernel, dst.Type, n*to[0]*to[1]*c, dst)
	mustBe(kernel, dst.Type, n*from[0]*from[1]*c, src)
	for i := range to {
		if (to[i]+1)*(from[i]+1) > 1<<31-1 {
			panic(fmt.Sprintf("cuda: %s: images of %v and %v are too large", kernel, to, from))
		}
	}
	if dst.Len == 0 {
		return
	}
	values := 16 / dst.Type.Size()
	wide := c%values == 0 && aligned(dst, src)
	if !wide {
		values = 1
	}
	threads := min(ceilDiv(c, values), resampleThreads)
	height := min(resampleThreads/threads, to[1])
	rows, pieces := n*to[0], ceilDiv(to[1], height)
	pieces = min(pieces, max(ceilDiv(resampleBlocks, rows), ceilDiv(pieces, resamplePixels)), 65535)
	q.add(kernel+dst.Type.suffix(), [3]int{rows, pieces, 1}, threads*height, 0,
		[]Tensor{dst}, []Tensor{src},
		dst, src, to[0], to[1], from[0], from[1], c, k, threads, wide)
}
