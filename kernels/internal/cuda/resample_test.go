package cuda_test

import (
	"fmt"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// at returns where the channels of pixel i,j of image n begin.
func at(n, i, j, height, width, c int) int { return ((n*height+i)*width + j) * c }

// nearest is UpsampleNearest and its gradient.
func nearest(r cuda.Resampling, x, dy []float32) (y, dx []float32) {
	y, dx = make([]float32, len(dy)), make([]float32, len(x))
	for n := range r.N {
		for i := range r.OH {
			for j := range r.OW {
				from := at(n, i*r.H/r.OH, j*r.W/r.OW, r.H, r.W, r.C)
				to := at(n, i, j, r.OH, r.OW, r.C)
				for k := range r.C {
					y[to+k] = x[from+k]
					dx[from+k] += dy[to+k]
				}
			}
		}
	}
	return y, dx
}

// average is AveragePool and its gradient.
func average(r cuda.Resampling, x, dy []float32, k int) (y, dx []float32) {
	y, dx = make([]float32, len(dy)), make([]float32, len(x))
	scale := 1 / float32(k*k)
	for n := range r.N {
		for i := range r.OH * k {
			for j := range r.OW * k {
				from, to := at(n, i, j, r.H, r.W, r.C), at(n, i/k, j/k, r.OH, r.OW, r.C)
				for c := range r.C {
					y[to+c] += x[from+c]
					dx[from+c] = dy[to+c] * scale
				}
			}
		}
	}
	for i := range y {
		y[i] *= scale
	}
	return y, dx
}

func testResampling(
	t *testing.T, check checker, r cuda.Resampling, offset int,
	queue func(q *cuda.Queue, y, dx, x, dy cuda.Tensor),
	want func(x, dy []float32) (y, dx []float32),
) {
	t.Helper()
	for _, typ := range types {
		t.Run(fmt.Sprint(typ, r, offset), func(t *testing.T) {
			nx, ny := r.N*r.H*r.W*r.C, r.N*r.OH*r.OW*r.C
			x, dy := rounded(typ, normal(nx)), rounded(typ, normal(ny))
			in := cudatest.In(typ, x)
			in.Offset = offset
			got := check(t, func(q *cuda.Queue, at []cuda.Tensor) {
				queue(q, at[0], at[1], at[2], at[3])
			}, cudatest.Out(typ, ny), cudatest.Out(typ, nx), in, cudatest.In(typ, dy))
			y, dx := want(x, dy)
			same(t, got[0], rounded(typ, y))
			same(t, got[1], rounded(typ, dx))
		})
	}
}

func testNearest(t *testing.T, check checker, r cuda.Resampling, offset int) {
	t.Helper()
	testResampling(t, check, r, offset, func(q *cuda.Queue, y, dx, x, dy cuda.Tensor) {
		cuda.UpsampleNearest(q, y, x, r)
		cuda.UpsampleNearestGrad(q, dx, dy, r)
	}, func(x, dy []float32) (y, dx []float32) { return nearest(r, x, dy) })
}

func testAverage(t *testing.T, check checker, r cuda.Resampling, k, offset int) {
	t.Helper()
	testResampling(t, check, r, offset, func(q *cuda.Queue, y, dx, x, dy cuda.Tensor) {
		cuda.AveragePool(q, y, x, r, k)
		cuda.AveragePoolGrad(q, dx, dy, r, k)
	}, func(x, dy []float32) (y, dx []float32) { return average(r, x, dy, k) })
}

func TestUpsampleNearest(t *testing.T) {
	check := cudatest.Check
	testNearest(t, check, cuda.Resampling{N: 1, H: 1, W: 1, OH: 1, OW: 1, C: 1}, 0)
	testNearest(t, check, cuda.Resampling{N: 2, H: 2, W: 3, OH: 4, OW: 6, C: 24}, 0)
	testNearest(t, check, cuda.Resampling{N: 1, H: 3, W: 2, OH: 7, OW: 5, C: 8}, 1)
	testNearest(t, check, cuda.Resampling{N: 2, H: 5, W: 7, OH: 3, OW: 4, C: 3}, 0)
	testNearest(t, check, cuda.Resampling{N: 1, H: 1, W: 2, OH: 2, OW: 3, C: 1040}, 0)
}

func TestAveragePool(t *testing.T) {
	check := cudatest.Check
	testAverage(t, check, cuda.Resampling{N: 2, H: 4, W: 6, OH: 2, OW: 3, C: 16}, 2, 0)
	testAverage(t, check, cuda.Resampling{N: 1, H: 7, W: 8, OH: 2, OW: 2, C: 5}, 3, 0)
	testAverage(t, check, cuda.Resampling{N: 1, H: 5, W: 3, OH: 1, OW: 1, C: 8}, 2, 1)
}

// TestLargeImages has rows that are cut into pieces whose threads make several pixels, and more
// channels than a block has threads.
func TestLargeImages(t *testing.T) {
	check := cudatest.CheckPlain
	testNearest(t, check, cuda.Resampling{N: 2, H: 600, W: 9, OH: 1200, OW: 18, C: 68}, 0)
	testNearest(t, check, cuda.Resampling{N: 1, H: 2, W: 3, OH: 4, OW: 5, C: 2080}, 0)
	testAverage(t, check, cuda.Resampling{N: 1, H: 9, W: 70, OH: 4, OW: 35, C: 40}, 2, 0)
}
