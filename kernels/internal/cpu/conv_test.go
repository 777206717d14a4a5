package cpu

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// padded is c with padding of so many pixels on every side.
func (c Conv) padded(pixels int) Conv {
	c.Top, c.Bottom, c.Left, c.Right = pixels, pixels, pixels, pixels
	return c
}

var testConvs = append([]Conv{
	{N: 1, H: 1, W: 1, In: 1, Out: 1, KH: 1, KW: 1, Stride: 1},
	{N: 2, H: 5, W: 4, In: 3, Out: 7, KH: 1, KW: 1, Stride: 1},
	Conv{N: 1, H: 7, W: 6, In: 5, Out: 9, KH: 3, KW: 3, Stride: 1}.padded(1),
	Conv{N: 3, H: 4, W: 4, In: 32, Out: 33, KH: 3, KW: 3, Stride: 1}.padded(1),
	Conv{N: 2, H: 8, W: 7, In: 6, Out: 20, KH: 3, KW: 3, Stride: 2}.padded(1),
	// As in the autoencoder of diffusers:
	{N: 2, H: 8, W: 8, In: 16, Out: 16, KH: 3, KW: 3, Stride: 2, Bottom: 1, Right: 1},
	{N: 1, H: 9, W: 5, In: 3, Out: 4, KH: 2, KW: 4, Stride: 3, Top: 2, Left: 1, Right: 3},
	{
		N: 1, H: 3, W: 3, In: 2, Out: 3, KH: 5, KW: 5, Stride: 1,
		Top: 3, Bottom: 4, Left: 2, Right: 5,
	},
	// As for the patches of a vision transformer:
	{N: 2, H: 12, W: 8, In: 3, Out: 10, KH: 4, KW: 4, Stride: 4},
	{N: 2, H: 6, W: 6, In: 8, Out: 8, KH: 1, KW: 1, Stride: 2},
	{N: 1, H: 4, W: 5, In: 2, Out: 3, KH: 1, KW: 1, Stride: 1, Top: 1, Left: 2},
	Conv{N: 1, H: 11, W: 13, In: 40, Out: 4, KH: 3, KW: 3, Stride: 1}.padded(1),
	{N: 1, H: 5, W: 5, In: 4, Out: 4, KH: 2, KW: 2, Stride: 3, Bottom: 1},
	// Channels that fill a register or two, of x, of y or of both:
	Conv{N: 2, H: 6, W: 20, In: 32, Out: 34, KH: 3, KW: 3, Stride: 1}.padded(1),
	Conv{N: 3, H: 9, W: 10, In: 80, Out: 6, KH: 3, KW: 3, Stride: 2}.padded(1),
	Conv{N: 2, H: 10, W: 11, In: 4, Out: 48, KH: 3, KW: 3, Stride: 1}.padded(1),
	Conv{N: 1, H: 2, W: 2, In: 3, Out: 57, KH: 3, KW: 3, Stride: 1}.padded(1),
	{N: 2, H: 7, W: 9, In: 6, Out: 32, KH: 5, KW: 2, Stride: 2, Top: 4, Left: 3, Right: 2},
	{N: 1, H: 2, W: 3, In: 16, Out: 8, KH: 5, KW: 4, Stride: 1, Top: 6, Bottom: 5, Right: 7},
}, turnedConvs...)

// turnedConvs have fewer positions than filters, which are read as they are. Windows are packed.
var turnedConvs = []Conv{
	Conv{N: 1, H: 4, W: 4, In: 64, Out: 70, KH: 3, KW: 3, Stride: 1}.padded(1),
	// In the gradient of x, too. There a block has one tap or a part of it:
	Conv{N: 1, H: 3, W: 2, In: 71, Out: 320, KH: 3, KW: 3, Stride: 1}.padded(1),
	{N: 2, H: 3, W: 3, In: 48, Out: 768, KH: 2, KW: 3, Stride: 1, Top: 1, Right: 2},
}

// exactPasses are y, dx and dw in float64.
func (c *Conv) exactPasses(x, w, dy, bias []float32) (y, dx, dw []float64) {
	y, dx, dw = make([]float64, len(dy)), make([]float64, len(x)), make([]float64, len(w))
	for i := range y {
		y[i] = float64(bias[i%c.Out])
	}
	c.eachTap(func(iy, ix, iw int) {
		y[iy] += float64(x[ix]) * float64(w[iw])
		dx[ix] += float64(dy[iy]) * float64(w[iw])
		dw[iw] += float64(dy[iy]) * float64(x[ix])
	})
	return y, dx, dw
}

func (c *Conv) tensors(r *rand.Rand) (x, w, dy, bias []float32) {
	oh, ow := c.OutSize()
	x, w = normal(r, c.N*c.H*c.W*c.In), normal(r, c.Out*c.KH*c.KW*c.In)
	dy, bias = normal(r, c.N*oh*ow*c.Out), normal(r, c.Out)
	return x, w, dy, bias
}

// largestWorkspace is enough for every pass on the shared pool.
func (c *Conv) largestWorkspace() int {
	return max(
		c.ForwardWorkspace(Shared), c.InputGradWorkspace(Shared), c.WeightGradWorkspace(Shared),
	)
}

func TestConvByHand(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		c := Conv{N: 1, H: 2, W: 3, In: 1, Out: 1, KH: 2, KW: 2, Stride: 1, Left: 1}
		x, w := []float32{1, 2, 3, 4, 5, 6}, []float32{1, 10, 100, 1000}
		y, dx, dw := make([]float32, 3), make([]float32, 6), make([]float32, 4)
		c.Forward(Shared, y, x, w, []float32{0.5}, scratch(c.ForwardWorkspace(Shared)))
		require.Equal(t, []float32{4010.5, 5421.5, 6532.5}, y)
		dy := []float32{1, 2, 3}
		c.InputGrad(Shared, dx, dy, w, scratch(c.InputGradWorkspace(Shared)))
		require.Equal(t, []float32{12, 23, 30, 1200, 2300, 3000}, dx)
		c.WeightGrad(Shared, dw, dy, x, scratch(c.WeightGradWorkspace(Shared)))
		require.Equal(t, []float32{2*1 + 3*2, 1 + 2*2 + 3*3, 2*4 + 3*5, 4 + 2*5 + 3*6}, dw)
	})
}

func TestConvAgainstFloat64(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		for i, c := range testConvs {
			r := rand.New(rand.NewPCG(uint64(i), 1))
			x, w, dy, bias := c.tensors(r)
			y, dx, dw := c.exactPasses(x, w, dy, bias)
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				got, plain := scratch(len(dy)), make([]float32, len(dy))
				c.Forward(Shared, got, x, w, bias, scratch(c.ForwardWorkspace(Shared)))
				c.forwardGeneric(plain, x, w, bias)
				requireAsGood(t, got, plain, y)

				got, plain = scratch(len(x)), make([]float32, len(x))
				c.InputGrad(Shared, got, dy, w, scratch(c.InputGradWorkspace(Shared)))
				c.inputGradGeneric(plain, dy, w)
				requireAsGood(t, got, plain, dx)

				got, plain = scratch(len(w)), make([]float32, len(w))
				c.WeightGrad(Shared, got, dy, x, scratch(c.WeightGradWorkspace(Shared)))
				c.weightGradGeneric(plain, dy, x)
				requireAsGood(t, got, plain, dw)
			})
		}
	})
}

func TestConvSameBitsForAnyWorkers(t *testing.T) {
	eachMicroKernel(t, func(t *testing.T) {
		for _, c := range append([]Conv{
			testConvs[3],
			testConvs[4],
			Conv{N: 2, H: 10, W: 9, In: 24, Out: 48, KH: 3, KW: 3, Stride: 1}.padded(1),
		}, turnedConvs...) {
			x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(1, 1)))
			var first []uint32
			for _, workers := range []int{1, 2, 3, 16} {
				pool := NewPool(workers)
				y, dx, dw := scratch(len(dy)), scratch(len(x)), scratch(len(w))
				c.Forward(pool, y, x, w, bias, scratch(c.ForwardWorkspace(pool)))
				c.InputGrad(pool, dx, dy, w, scratch(c.InputGradWorkspace(pool)))
				c.WeightGrad(pool, dw, dy, x, scratch(c.WeightGradWorkspace(pool)))
				all := append(append(bits(y), bits(dx)...), bits(dw)...)
				if first == nil {
					first = all
				}
				require.Equal(t, first, all, "%d workers", workers)
			}
		}
	})
}

// patchMatrix is the matrix of windows [N·OH·OW,KH·KW·In] that Forward reads.
func (c *Conv) patchMatrix(x []float32) Matrix {
	oh, ow := c.OutSize()
	k := c.KH * c.KW * c.In
	m := Matrix{Data: make([]float32, c.N*oh*ow*k), Stride: k}
	c.eachTap(func(y, x1, w int) { m.Data[y/c.Out*k+w%k] = x[x1] })
	return m
}

// passesInOrder are y, dx and dw, each as the product of matrices that it is, in the order in which
// products are summed. The stride is 1.
func (c *Conv) passesInOrder(x, w, dy, bias []float32) (y, dx, dw []float32) {
	positions, taps := len(dy)/c.Out, c.KH*c.KW
	patches := c.patchMatrix(x)
	result := func(m, n int) Matrix { return Matrix{Data: make([]float32, m*n), Stride: n} }
	forward := Product{
		M: positions, N: c.Out, K: taps * c.In, Bias: bias, C: result(positions, c.Out),
		A: patches, B: Matrix{Data: w, Stride: taps * c.In, Transposed: true},
	}
	weight := Product{
		M: c.Out, N: taps * c.In, K: positions, C: result(c.Out, taps*c.In),
		A: Matrix{Data: dy, Stride: c.Out, Transposed: true}, B: patches,
	}
	// The gradient of x is a convolution of dy with the taps turned around.
	oh, ow := c.OutSize()
	back := Conv{
		N: c.N, H: oh, W: ow, In: c.Out, Out: c.In, KH: c.KH, KW: c.KW, Stride: 1,
		Top: c.KH - 1 - c.Top, Bottom: c.KH - 1 - c.Bottom,
		Left: c.KW - 1 - c.Left, Right: c.KW - 1 - c.Right,
	}
	around := result(taps*c.Out, c.In)
	for i, v := range w {
		o, tap, k := i/(taps*c.In), i/c.In%taps, i%c.In
		around.Data[((taps-1-tap)*c.Out+o)*c.In+k] = v
	}
	pixels := len(x) / c.In
	input := Product{
		M: pixels, N: c.In, K: taps * c.Out, C: result(pixels, c.In),
		A: back.patchMatrix(dy), B: around,
	}
	dx = input.inOrder()
	if blocks := ceilDiv(c.Out, 384); c.Out%blocks == 0 && c.Out/blocks >= 256 {
		dx = input.inBlocks(c.Out / blocks) // blocks divide taps
	}
	return forward.inOrder(), dx, weight.inOrder()
}

// Convolutions are summed in the order of products, by each body and any number of workers. What is
// outside of an image counts as zero.
func TestConvOrder(t *testing.T) {
	for i, c := range append([]Conv{
		testConvs[2],
		testConvs[3],
		Conv{N: 2, H: 6, W: 20, In: 32, Out: 34, KH: 3, KW: 3, Stride: 1}.padded(1),
		Conv{N: 7, H: 8, W: 8, In: 96, Out: 32, KH: 3, KW: 3, Stride: 1}.padded(1),
		Conv{N: 20, H: 4, W: 4, In: 64, Out: 64, KH: 3, KW: 3, Stride: 1}.padded(1),
		Conv{N: 3, H: 16, W: 16, In: 4, Out: 32, KH: 3, KW: 3, Stride: 1}.padded(1),
		Conv{N: 3, H: 16, W: 16, In: 32, Out: 4, KH: 3, KW: 3, Stride: 1}.padded(1),
		// In the gradient of x, a block has a tap, and does not:
		Conv{N: 1, H: 5, W: 5, In: 16, Out: 256, KH: 3, KW: 3, Stride: 1}.padded(1),
		Conv{N: 1, H: 2, W: 2, In: 5, Out: 515, KH: 3, KW: 3, Stride: 1}.padded(1),
		// A block of positions ends in a row of them:
		{N: 5, H: 10, W: 17, In: 16, Out: 48, KH: 3, KW: 2, Stride: 1, Top: 1, Right: 1},
	}, turnedConvs...) {
		x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(uint64(i), 2)))
		for _, x := range [][]float32{x, w, dy} {
			for i, v := range x {
				x[i] = FromBF16(ToBF16(v)) // products are exact
			}
		}
		wantY, wantDX, wantDW := c.passesInOrder(x, w, dy, bias)
		eachMicroKernel(t, func(t *testing.T) {
			for _, workers := range []int{1, 3} {
				pool := NewPool(workers)
				y, dx, dw := scratch(len(dy)), scratch(len(x)), scratch(len(w))
				c.Forward(pool, y, x, w, bias, scratch(c.ForwardWorkspace(pool)))
				c.InputGrad(pool, dx, dy, w, scratch(c.InputGradWorkspace(pool)))
				c.WeightGrad(pool, dw, dy, x, scratch(c.WeightGradWorkspace(pool)))
				require.Equal(t, bits(wantY), bits(y), "%+v forward, %d workers", c, workers)
				require.Equal(t, bits(wantDX), bits(dx), "%+v input, %d workers", c, workers)
				require.Equal(t, bits(wantDW), bits(dw), "%+v weight, %d workers", c, workers)
			}
		})
	}
}

func TestConvRefuses(t *testing.T) {
	c := testConvs[2]
	x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(1, 1)))
	ws := make([]float32, c.ForwardWorkspace(Shared))
	require.NotPanics(t, func() { c.Forward(Shared, dy, x, w, bias, ws) })
	require.Panics(t, func() { c.Forward(Shared, dy[1:], x, w, bias, ws) })
	require.Panics(t, func() { c.Forward(Shared, dy, x[1:], w, bias, ws) })
	require.Panics(t, func() { c.Forward(Shared, dy, x, w[1:], bias, ws) })
	require.Panics(t, func() { c.Forward(Shared, dy, x, w, bias[1:], ws) })
	require.Panics(t, func() { c.Forward(Shared, dy, x, w, bias, nil) })
	require.Panics(t, func() { c.InputGrad(Shared, x, dy, w, nil) })
	require.Panics(t, func() { c.WeightGrad(Shared, w, dy, x, nil) })
	for _, spoil := range []func(c *Conv){
		func(c *Conv) { c.N = 0 }, func(c *Conv) { c.Stride = 0 }, func(c *Conv) { c.Left = -1 },
		func(c *Conv) { c.KH = 20 }, func(c *Conv) { c.KW = 20 },
	} {
		bad := c
		spoil(&bad)
		require.Error(t, bad.Check())
		require.Panics(t, func() { bad.Forward(Shared, dy, x, w, bias, ws) })
	}
}

func TestConvAllocatesNothing(t *testing.T) {
	c := testConvs[4]
	x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(1, 1)))
	ws := make([]float32, c.largestWorkspace())
	run := func() {
		c.Forward(Shared, dy, x, w, bias, ws)
		c.InputGrad(Shared, x, dy, w, ws)
		c.WeightGrad(Shared, w, dy, x, ws)
	}
	run()
	require.Zero(t, testing.AllocsPerRun(20, run))
}
