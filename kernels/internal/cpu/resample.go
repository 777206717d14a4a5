package cpu

import "fmt"

// A Resampling is between images [N,H,W,C] and images [N,OH,OW,C].
type Resampling struct{ N, H, W, OH, OW, C int }

func (r Resampling) mustFit(kernel string, x, y []float32) {
	if len(x) != r.N*r.H*r.W*r.C || len(y) != r.N*r.OH*r.OW*r.C {
		panic(fmt.Sprintf("cpu: %s: %d and %d values for %+v", kernel, len(x), len(y), r))
	}
}

// UpsampleNearest is
//
//	y[n,i,j] = x[n, ⌊i·H/OH⌋, ⌊j·W/OW⌋]
//
// for all channels. It panics on wrong lengths.
func UpsampleNearest(pool *Pool, y, x []float32, r Resampling) {
	r.mustFit("UpsampleNearest", x, y)
	runResampling(pool, resampleTask{Resampling: r, op: nearest, dst: y, src: x}, r.OH, r.OW)
}

// UpsampleNearestGrad is the gradient of UpsampleNearest by x. For each value of x it sums dy over
// the values of y that are copies of it. It panics on wrong lengths.
func UpsampleNearestGrad(pool *Pool, dx, dy []float32, r Resampling) {
	r.mustFit("UpsampleNearestGrad", dx, dy)
	runResampling(pool, resampleTask{Resampling: r, op: nearestGrad, dst: dx, src: dy}, r.H, r.W)
}

// AveragePool is the mean over windows of k×k that are k apart,
//
//	y[n,i,j] = Σ_{u,v<k} x[n, k·i+u, k·j+v] / k²
//
// for all channels, with OH ≤ H/k and OW ≤ W/k. Rows and columns of x that fill no window do not
// count. It panics on wrong lengths.
func AveragePool(pool *Pool, y, x []float32, r Resampling, k int) {
	r.mustPool("AveragePool", k)
	r.mustFit("AveragePool", x, y)
	runResampling(pool, resampleTask{Resampling: r, op: pool2D, k: k, dst: y, src: x}, r.OH, r.OW)
}

// AveragePoolGrad is the gradient of AveragePool by x. It panics on wrong lengths.
func AveragePoolGrad(pool *Pool, dx, dy []float32, r Resampling, k int) {
	r.mustPool("AveragePoolGrad", k)
	r.mustFit("AveragePoolGrad", dx, dy)
	t := resampleTask{Resampling: r, op: pool2DGrad, k: k, dst: dx, src: dy}
	runResampling(pool, t, r.H, r.W)
}

func (r Resampling) mustPool(kernel string, k int) {
	if k < 1 || r.OH*k > r.H || r.OW*k > r.W {
		panic(fmt.Sprintf("cpu: %s: windows of %d do not fit in %+v", kernel, k, r))
	}
}

type resampleOp uint8

const (
	nearest resampleOp = iota
	nearestGrad
	pool2D
	pool2DGrad
)

// A resampleTask does blocks of rows of dst. The images of dst have the given height.
type resampleTask struct {
	Resampling
	op            resampleOp
	k             int
	dst, src      []float32
	height, block int
}

var resampleTasks freeList[resampleTask]

func runResampling(pool *Pool, r resampleTask, height, width int) {
	t := resampleTasks.get()
	*t = r
	t.height = height
	t.block = max(1, elementBlock/max(1, width*r.C))
	pool.Parallel(ceilDiv(r.N*height, t.block), t)
	resampleTasks.put(t)
}

func (t *resampleTask) Do(_, part int) {
	lo, hi := span(part, t.block, t.N*t.height)
	for row := lo; row < hi; row++ {
		n, i := row/t.height, row%t.height
		switch t.op {
		case nearest:
			t.nearest(n, i)
		case nearestGrad:
			t.nearestGrad(n, i)
		case pool2D:
			t.pool(n, i)
		default:
			t.poolGrad(n, i)
		}
	}
}

// pixel returns the channels of pixel (i,j) of image n, where images have the given size.
func (t *resampleTask) pixel(image []float32, n, i, j, height, width int) []float32 {
	at := ((n*height+i)*width + j) * t.C
	return image[at : at+t.C : at+t.C]
}

func (t *resampleTask) nearest(n, i int) {
	for j := range t.OW {
		y := t.pixel(t.dst, n, i, j, t.OH, t.OW)
		copy(y, t.pixel(t.src, n, i*t.H/t.OH, j*t.W/t.OW, t.H, t.W))
	}
}

func (t *resampleTask) nearestGrad(n, i int) {
	clear(t.dst[(n*t.H+i)*t.W*t.C:][:t.W*t.C])
	// ⌊u·H/OH⌋ = i for u from ⌈i·OH/H⌉ to ⌈(i+1)·OH/H⌉, exclusive.
	for u := ceilDiv(i*t.OH, t.H); u < ceilDiv((i+1)*t.OH, t.H); u++ {
		for v := range t.OW {
			sum := t.pixel(t.dst, n, i, v*t.W/t.OW, t.H, t.W)
			vec.add(sum, sum, t.pixel(t.src, n, u, v, t.OH, t.OW))
		}
	}
}

func (t *resampleTask) pool(n, i int) {
	scale := 1 / float32(t.k*t.k)
	for j := range t.OW {
		sum := t.pixel(t.dst, n, i, j, t.OH, t.OW)
		clear(sum)
		for w := range t.k * t.k {
			vec.add(sum, sum, t.pixel(t.src, n, t.k*i+w/t.k, t.k*j+w%t.k, t.H, t.W))
		}
		vec.scale(sum, sum, scale)
	}
}

func (t *resampleTask) poolGrad(n, i int) {
	scale := 1 / float32(t.k*t.k)
	for j := range t.W {
		dx := t.pixel(t.dst, n, i, j, t.H, t.W)
		if i/t.k < t.OH && j/t.k < t.OW {
			vec.scale(dx, t.pixel(t.src, n, i/t.k, j/t.k, t.OH, t.OW), scale)
		} else {
			clear(dx)
		}
	}
}
