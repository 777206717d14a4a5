package cuda_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// eachTap calls f for every multiply-add of a convolution, with the indices of y, x and w.
func eachTap(c cuda.Conv, f func(y, x, w int)) {
	oh, ow := c.OutSize()
	for p := range c.N * oh * ow {
		n, i, j := p/(oh*ow), p/ow%oh, p%ow
		for o := range c.Out {
			for t := range c.KH * c.KW {
				h, v := i*c.Stride+t/c.KW-c.Top, j*c.Stride+t%c.KW-c.Left
				if h < 0 || h >= c.H || v < 0 || v >= c.W {
					continue
				}
				for k := range c.In {
					f(p*c.Out+o, ((n*c.H+h)*c.W+v)*c.In+k, (o*c.KH*c.KW+t)*c.In+k)
				}
			}
		}
	}
}

// A sums is sums of products, in a plain loop and exactly.
type sums struct {
	plain []float32
	exact []float64
}

func newSums(n int) sums { return sums{make([]float32, n), make([]float64, n)} }

func (s sums) add(i int, x, y float32) {
	s.plain[i] += x * y
	s.exact[i] += float64(x) * float64(y)
}

// testConvFloat32 tests Forward, InputGrad and WeightGrad.
func testConvFloat32(
	t *testing.T, c cuda.Conv, bias bool, offset int, plainOnly bool,
) {
	t.Helper()
	oh, ow := c.OutSize()
	nx, nw, ny := c.N*c.H*c.W*c.In, c.Out*c.KH*c.KW*c.In, c.N*oh*ow*c.Out
	x, w, dy := normal(nx), normal(nw + 1)[1:], normal(ny + 2)[2:]
	var b []float32
	if bias {
		b = normal(c.Out + 3)[3:]
	}
	y, dx, dw := newSums(ny), newSums(nx), newSums(nw)
	eachTap(c, func(iy, ix, iw int) {
		y.add(iy, x[ix], w[iw])
		dx.add(ix, dy[iy], w[iw])
		dw.add(iw, dy[iy], x[ix])
	})
	for i := range y.plain {
		if bias {
			y.add(i, b[i%c.Out], 1)
		}
	}
	at := func(o cudatest.Operand) cudatest.Operand {
		o.Offset = offset
		return o
	}
	in := func(x []float32) cudatest.Operand { return at(cudatest.In(cuda.Float32, x)) }
	out := func(n int) cudatest.Operand { return at(cudatest.Out(cuda.Float32, n)) }
	check := cudatest.Check
	if plainOnly {
		check = cudatest.CheckPlain
	}
	got := check(t, func(q *cuda.Queue, at []cuda.Tensor) {
		y, dx, dw, x, w, b, dy := at[0], at[1], at[2], at[3], at[4], at[5], at[6]
		c.Forward(q, y, x, w, b, none, at[7])
		c.InputGrad(q, dx, w, dy, none, at[8])
		c.WeightGrad(q, dw, x, dy, at[9])
	}, out(ny), out(nx), out(nw), in(x), in(w), in(b), in(dy),
		workspace(c.ForwardWorkspace(cuda.Float32)), workspace(c.InputGradWorkspace(cuda.Float32)),
		workspace(c.WeightGradWorkspace(cuda.Float32)))
	mustBeNear(t, "y", got[0], y.plain, y.exact, 2)
	mustBeNear(t, "dx", got[1], dx.plain, dx.exact, 2)
	mustBeNear(t, "dw", got[2], dw.plain, dw.exact, 2)
}

func TestConvFloat32(t *testing.T) {
	forDevices(t, func(t *testing.T) {
		for i, c := range []cuda.Conv{
			{N: 1, H: 1, W: 1, In: 1, Out: 1, KH: 1, KW: 1, Stride: 1},
			{
				N: 2, H: 5, W: 4, In: 3, Out: 5, KH: 3, KW: 3, Stride: 1,
				Top: 1, Bottom: 1, Left: 1, Right: 1,
			},
			{
				N: 1, H: 9, W: 8, In: 8, Out: 12, KH: 3, KW: 3, Stride: 2,
				Bottom: 1, Right: 1,
			},
			{
				N: 2, H: 6, W: 7, In: 4, Out: 4, KH: 2, KW: 4, Stride: 3,
				Top: 2, Left: 1, Right: 3,
			},
			{N: 1, H: 7, W: 5, In: 5, Out: 4, KH: 1, KW: 1, Stride: 2},
			{N: 3, H: 2, W: 3, In: 4, Out: 8, KH: 1, KW: 1, Stride: 1},
			{
				N: 1, H: 3, W: 2, In: 2, Out: 3, KH: 5, KW: 3, Stride: 1,
				Top: 3, Bottom: 1, Right: 4,
			},
			{
				N: 1, H: 4, W: 4, In: 72, Out: 68, KH: 1, KW: 2, Stride: 1,
				Top: 1,
			},
		} {
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				testConvFloat32(t, c, i%2 == 0, 0, false)
				if c.In == 4 {
					testConvFloat32(t, c, i%2 == 1, 1, false)
				}
			})
		}
	})
}

// TestConvFloat32Parts tests convolutions whose sums are cut into parts.
func TestConvFloat32Parts(t *testing.T) {
	for _, c := range []cuda.Conv{
		{
			N: 3, H: 14, W: 14, In: 64, Out: 60, KH: 3, KW: 3, Stride: 1,
			Top: 1, Bottom: 1, Left: 1, Right: 1,
		},
		{
			N: 1, H: 3, W: 4, In: 30, Out: 128, KH: 5, KW: 4, Stride: 2,
			Top: 2, Bottom: 2, Left: 2, Right: 2,
		},
	} {
		names := kernelsOf(func(q *cuda.Queue) {
			oh, ow := c.OutSize()
			of := func(n int) cuda.Tensor { return cuda.Tensor{Len: n} }
			x, w := of(c.N*c.H*c.W*c.In), of(c.Out*c.KH*c.KW*c.In)
			c.Forward(q, of(c.N*oh*ow*c.Out), x, w, cuda.Tensor{}, none, of(1<<24))
			c.InputGrad(q, x, w, of(c.N*oh*ow*c.Out), none, of(1<<24))
			c.WeightGrad(q, w, x, of(c.N*oh*ow*c.Out), of(1<<24))
		})
		if got, want := strings.Count(names, "sum_parts_f32"), 2; got < want {
			t.Errorf("%+v: of %s, %d add parts", c, names, got)
		}
		testConvFloat32(t, c, true, 0, true)
	}
}
