package cuda_test

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// mustBeNear fails if got errs more than factor times as much as a plain loop over float32 values.
// That loop's error is the worst of plain's. It counts as a unit in the last place of the largest
// value at least, as a few sums may be good by chance.
func mustBeNear(t *testing.T, what string, got, plain []float32, exact []float64, factor float64) {
	t.Helper()
	allowed := 0.0
	for i, v := range exact {
		allowed = max(allowed, math.Abs(float64(plain[i])-v), 0x1p-23*math.Abs(v))
	}
	for i, v := range exact {
		if err := math.Abs(float64(got[i]) - v); !(err <= factor*allowed) {
			const wrong = "%s: value %d is %v, not %v: it errs %.2g, %.1f times as much as a loop"
			t.Fatalf(wrong, what, i, got[i], v, err, err/allowed)
		}
	}
}

// forDevices runs f for a device whose tiles are small, and for one on which products are large.
func forDevices(t *testing.T, f func(t *testing.T)) {
	for _, n := range []int{132, 1} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			old := cuda.SetMultiprocessors(n)
			defer cuda.SetMultiprocessors(old)
			f(t)
		})
	}
}

// kernelsOf returns the kernels that a function queues.
func kernelsOf(queue func(q *cuda.Queue)) string {
	var q cuda.Queue
	queue(&q)
	var names []string
	for _, l := range q.Launches {
		names = append(names, l.Kernel)
	}
	return strings.Join(names, " ")
}

// testGemmFloat32 tests one product.
func testGemmFloat32(t *testing.T, p cuda.Product, bias bool, offset int, plainOnly bool) {
	t.Helper()
	a, b, c := normal(p.M*p.K), normal(p.K*p.N + 1)[1:], normal(p.M*p.N + 2)[2:]
	var bs []float32
	if bias {
		bs = normal(p.N + 3)[3:]
	}
	plain, exact := make([]float32, p.M*p.N), make([]float64, p.M*p.N)
	for i := range p.M {
		for j := range p.N {
			var s float32
			var e float64
			for k := range p.K {
				x, y := a[i*p.K+k], b[k*p.N+j]
				if p.TransA {
					x = a[k*p.M+i]
				}
				if p.TransB {
					y = b[j*p.K+k]
				}
				s += x * y
				e += float64(x) * float64(y)
			}
			if p.Accumulate {
				s += c[i*p.N+j]
				e += float64(c[i*p.N+j])
			}
			if bias {
				s += bs[j]
				e += float64(bs[j])
			}
			plain[i*p.N+j], exact[i*p.N+j] = s, e
		}
	}
	in := func(x []float32) cudatest.Operand {
		o := cudatest.In(cuda.Float32, x)
		o.Offset = offset
		return o
	}
	out := cudatest.Out(cuda.Float32, p.M*p.N)
	if p.Accumulate {
		out = cudatest.In(cuda.Float32, c)
	}
	out.Offset = offset
	check := cudatest.Check
	if plainOnly {
		check = cudatest.CheckPlain
	}
	got := check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		p := p
		p.C, p.A, p.B, p.Bias = at[0], at[1], at[2], at[3]
		cuda.Gemm(q, p, at[4])
	}, out, in(a), in(b), in(bs), workspace(sizes(p).Workspace()))[0]
	mustBeNear(t, "C", got, plain, exact, 2)
}

// sizes is p with operands of its lengths.
func sizes(p cuda.Product) cuda.Product {
	of := func(n int) cuda.Tensor { return cuda.Tensor{Len: n} }
	p.A, p.B, p.C = of(p.M*p.K), of(p.K*p.N), of(p.M*p.N)
	return p
}

// TestGemmFloat32Kernels tests which kernels compute products. Large ones fill an H100 with large
// tiles. The others have smaller tiles, or parts.
func TestGemmFloat32Kernels(t *testing.T) {
	for _, c := range []struct {
		p    cuda.Product
		want string
	}{
		{cuda.Product{M: 1, N: 1, K: 1}, "gemm_nn_small_f32"},
		{cuda.Product{M: 4, N: 1280, K: 320, TransB: true}, "gemm_nt_small_f32"},
		{cuda.Product{M: 16384, N: 320, K: 320, TransB: true}, "gemm_nt_large_f32"},
		{cuda.Product{M: 320, N: 320, K: 32768, TransA: true}, "gemm_tn_large_f32 sum_parts_f32"},
		{cuda.Product{M: 64, N: 8, K: 4096, TransA: true}, "gemm_tn_small_f32 sum_parts_f32"},
		{cuda.Product{M: 2048, N: 1280, K: 640, TransA: true, TransB: true}, "gemm_tt_large_f32"},
	} {
		got := kernelsOf(func(q *cuda.Queue) {
			cuda.Gemm(q, sizes(c.p), cuda.Tensor{Len: c.p.Workspace()})
		})
		if got != c.want {
			t.Errorf("%d×%d×%d is computed by %s, not %s", c.p.M, c.p.N, c.p.K, got, c.want)
		}
	}
}

func TestGemmFloat32(t *testing.T) {
	forDevices(t, func(t *testing.T) {
		for i, s := range [][3]int{
			{1, 1, 1}, {4, 4, 4}, {5, 3, 17}, {65, 66, 16}, {132, 68, 36}, {131, 7, 33},
		} {
			for trans := range 4 {
				p := cuda.Product{
					M: s[0], N: s[1], K: s[2], TransA: trans&1 != 0, TransB: trans&2 != 0,
					Accumulate: (i+trans)%2 == 1,
				}
				name := fmt.Sprintf("%d×%d×%d,%v,%v", p.M, p.N, p.K, p.TransA, p.TransB)
				t.Run(name, func(t *testing.T) {
					// Rows that are multiples of 4 are read as vectors if they are aligned.
					testGemmFloat32(t, p, i%2 == 0, 0, false)
					if p.M%4 == 0 && p.M < 100 {
						testGemmFloat32(t, p, i%2 == 0, 1, false)
					}
				})
			}
		}
	})
}

// TestGemmFloat32Parts tests products that are deep, so that k is cut into parts.
func TestGemmFloat32Parts(t *testing.T) {
	forDevices(t, func(t *testing.T) {
		for i, s := range [][3]int{{3, 5, 530}, {70, 8, 1024}} {
			p := cuda.Product{M: s[0], N: s[1], K: s[2], TransA: i == 0, Accumulate: i == 0}
			names := kernelsOf(func(q *cuda.Queue) {
				cuda.Gemm(q, sizes(p), cuda.Tensor{Len: 1 << 20})
			})
			if !strings.Contains(names, "sum_parts_f32") {
				t.Errorf("%v is computed by %s, in one part", s, names)
			}
			testGemmFloat32(t, p, i == 0, 0, i == 1)
		}
	})
	// One part after another is at least as exact as one sum.
	testGemmFloat32(t, cuda.Product{M: 20, N: 36, K: 5000, TransB: true}, true, 1, true)
}

// TestGemmFloat32Large tests a product of many tiles.
func TestGemmFloat32Large(t *testing.T) {
	old := cuda.SetMultiprocessors(8)
	defer cuda.SetMultiprocessors(old)
	testGemmFloat32(t, cuda.Product{M: 300, N: 200, K: 68}, true, 0, true)
	testGemmFloat32(t, cuda.Product{M: 258, N: 193, K: 61, TransA: true}, false, 0, true)
}
