package cpu

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// eachBody runs a test with the micro-kernel and the vector bodies of each instruction set.
func eachBody(t *testing.T, f func(t *testing.T)) {
	was := vec
	defer func() { vec = was }()
	eachMicroKernel(t, func(t *testing.T) {
		for _, v := range vectors {
			if v.name == micro.name {
				vec = v
				f(t)
				return
			}
		}
		t.Fatal("there are no vector bodies of this name")
	})
}

// guarded is memory of n values, NaN, between guards. check fails if a guard has changed.
func guarded(t *testing.T, n int) (x []float32, check func()) {
	const guard = 64
	all := scratch(n + 2*guard)
	before := bits(all[:guard])
	return all[guard : guard+n : guard+n], func() {
		t.Helper()
		require.Equal(t, before, bits(all[:guard]), "wrote before its memory")
		require.Equal(t, before, bits(all[guard+n:]), "wrote behind its memory")
	}
}

// Every body of a transform is m·src·mᵀ, and writes nothing else.
func TestWinogradTransforms(t *testing.T) {
	for _, v := range vectors {
		for _, n := range []int{1, 4, 16, 32, 48} {
			for name, c := range map[string]struct {
				body func(dst, src []float32, dr, dc, sr, sc, n int)
				m    [][]float32
			}{
				"window": {v.window, winogradB},
				"filter": {v.filter, winogradG},
				"spread": {v.spread, winogradA},
				"gather": {v.gather, winogradGT},

				"windowBF16": {ofRounded(v.windowBF16), winogradB},
				"spreadBF16": {ofRounded(v.spreadBF16), winogradA},

				"result": {func(dst, src []float32, dr, dc, sr, sc, n int) {
					bias := make([]float32, n)
					for k := range bias {
						bias[k] = float32(k)
					}
					v.result(dst, src, bias, dr, dc, sr, sc)
				}, winogradAT},
			} {
				p, q := len(c.m[0]), len(c.m)
				sc, dc := n+3, n+5
				sr, dr := p*sc+7, q*dc+2
				src := normal(rand.New(rand.NewPCG(uint64(n), 2)), (p-1)*(sr+sc)+n)
				if strings.HasSuffix(name, "BF16") {
					FromBF16s(Shared, src, inBF16(src))
				}
				dst, check := guarded(t, (q-1)*(dr+dc)+n)
				c.body(dst, src, dr, dc, sr, sc, n)
				check()
				written := 0
				for _, x := range dst {
					if !math.IsNaN(float64(x)) {
						written++
					}
				}
				require.Equal(t, q*q*n, written, name)
				for at := range q * q * n {
					i, j, k := at/(q*n), at/n%q, at%n
					want, size := 0.0, 0.0
					for e := range p * p {
						f := float64(c.m[i][e/p]) * float64(c.m[j][e%p])
						x := float64(src[e/p*sr+e%p*sc+k])
						want, size = want+f*x, size+math.Abs(f*x)
					}
					if name == "result" {
						want, size = want+float64(k), size+float64(k)
					}
					requireNear(t, want, float64(dst[i*dr+j*dc+k]), size, v.name, name, i, j, k)
				}
			}
		}
	}
}

// ofRounded is a body for values that bfloat16 has.
func ofRounded(
	body func(dst []float32, src []uint16, dr, dc, sr, sc, n int),
) func(dst, src []float32, dr, dc, sr, sc, n int) {
	return func(dst, src []float32, dr, dc, sr, sc, n int) {
		half, _ := betweenBF16(inBF16(src))
		body(dst, half, dr, dc, sr, sc, n)
	}
}

// inBF16 is x in bfloat16.
func inBF16(x []float32) []uint16 {
	half := make([]uint16, len(x))
	ToBF16s(nil, half, x)
	return half
}

// The matrices are those of the algorithm: Aᵀ·[(G·g) ⊙ (Bᵀ·d)] is the convolution of d with g.
func TestWinogradMatrices(t *testing.T) {
	for result := range 4 {
		for tap := range 3 {
			for d := range 6 {
				got := 0.0
				for p := range 6 {
					got += float64(winogradAT[result][p]) * float64(winogradG[p][tap]) *
						float64(winogradB[p][d])
				}
				want := 0.0
				if d == result+tap {
					want = 1
				}
				require.InDelta(t, want, got, 1e-6)
			}
		}
	}
}

func channels32(h, w, pixels int) Conv {
	return Conv{N: 1, H: h, W: w, In: 32, Out: 32, KH: 3, KW: 3, Stride: 1}.padded(pixels)
}

func TestWinogradByHand(t *testing.T) {
	eachBody(t, func(t *testing.T) {
		c := channels32(3, 3, 1)
		x, w, bias := make([]float32, 9*32), make([]float32, 32*9*32), make([]float32, 32)
		for i := range 9 { // channel 5 is 1 to 9; its taps to channel 7 are 10^0, 10, 100 …
			x[i*32+5] = float32(i + 1)
		}
		w[(7*9+0)*32+5], w[(7*9+4)*32+5], w[(7*9+5)*32+5] = 100, 1, 10
		bias[7], bias[8] = 0.5, -2
		y, dx, dw := scratch(len(x)), scratch(len(x)), scratch(len(w))
		c.WinogradForward(Shared, y, x, w, bias, scratch(c.WinogradForwardWorkspace(Shared)))
		want := []float64{21, 32, 3, 54, 165, 206, 87, 498, 509}
		for i := range 9 {
			require.InDelta(t, want[i]+0.5, y[i*32+7], 2e-3)
			require.InDelta(t, -2, y[i*32+8], 1e-6)
			require.InDelta(t, 0, y[i*32+6], 1e-6)
		}
		dy := make([]float32, len(y))
		dy[4*32+7] = 2 // the middle reads all pixels
		ws := scratch(c.WinogradInputGradWorkspace(Shared))
		c.WinogradInputGrad(Shared, dx, dy, w, ws)
		for i, want := range []float64{200, 0, 0, 0, 2, 20, 0, 0, 0} {
			require.InDelta(t, want, dx[i*32+5], 1e-3)
			require.InDelta(t, 0, dx[i*32+4], 1e-3)
		}
		ws = scratch(c.WinogradWeightGradWorkspace(Shared))
		c.WinogradWeightGrad(Shared, dw, dy, x, ws)
		for tap := range 9 {
			require.InDelta(t, 2*(tap+1), dw[(7*9+tap)*32+5], 1e-4)
			require.InDelta(t, 0, dw[(6*9+tap)*32+5], 1e-4)
			require.InDelta(t, 0, dw[(7*9+tap)*32+6], 1e-4)
		}
	})
}

// relative is the relative error of x in the Euclidean norm, NaN if anything is NaN.
func relative(x []float32, exact []float64) float64 {
	return distance(x, exact) / distance(make([]float32, len(exact)), exact)
}

// Bounds of the relative error for normal values: see WinogradForward and WinogradWeightGrad.
const (
	winogradError       = 3e-6
	winogradWeightError = 2e-6
)

var winogradConvs = []Conv{
	channels32(1, 1, 1), channels32(3, 3, 0), channels32(4, 4, 1), channels32(5, 9, 2),
	{N: 2, H: 6, W: 7, In: 64, Out: 32, KH: 3, KW: 3, Stride: 1, Top: 2, Right: 1},
	{N: 3, H: 17, W: 6, In: 32, Out: 96, KH: 3, KW: 3, Stride: 1, Bottom: 2, Left: 1},
	Conv{N: 2, H: 16, W: 16, In: 192, Out: 64, KH: 3, KW: 3, Stride: 1}.padded(1),
}

func TestWinogradAgainstFloat64(t *testing.T) {
	for i, c := range winogradConvs {
		x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(uint64(i), 9)))
		y, dx, dw := c.exactPasses(x, w, dy, bias)
		eachBody(t, func(t *testing.T) {
			t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
				requirePass(t, y, winogradError, func(got, ws []float32) {
					c.WinogradForward(Shared, got, x, w, bias, ws)
				}, c.WinogradForwardWorkspace(Shared))
				requirePass(t, dx, winogradError, func(got, ws []float32) {
					c.WinogradInputGrad(Shared, got, dy, w, ws)
				}, c.WinogradInputGradWorkspace(Shared))
				requirePass(t, dw, winogradWeightError, func(got, ws []float32) {
					c.WinogradWeightGrad(Shared, got, dy, x, ws)
				}, c.WinogradWeightGradWorkspace(Shared))
			})
		})
	}
}

// requirePass fails unless a pass gives exact up to a relative error, and keeps to its memory.
func requirePass(
	t *testing.T, exact []float64, bound float64, pass func(got, ws []float32), workspace int,
) {
	t.Helper()
	got, checkGot := guarded(t, len(exact))
	ws, checkWorkspace := guarded(t, workspace)
	pass(got, ws)
	checkGot()
	checkWorkspace()
	e := relative(got, exact)
	require.True(t, e <= bound, "relative error %g", e)
}

// These have several chunks, groups of tiles and blocks of input channels.
var largeWinograds = []Conv{
	Conv{N: 1, H: 48, W: 47, In: 1280, Out: 32, KH: 3, KW: 3, Stride: 1}.padded(1),
	Conv{N: 1, H: 66, W: 64, In: 32, Out: 320, KH: 3, KW: 3, Stride: 1}.padded(1),
}

// The direct passes stand for float64: their error is much less than the bounds.
func TestWinogradInChunks(t *testing.T) {
	for _, c := range largeWinograds {
		forward := winogradForward{u: micro, Conv: c}
		forward.plan(Shared)
		weights := winogradWeights{u: micro, Conv: c}
		weights.plan(Shared)
		if c.In > c.Out {
			require.Less(t, forward.chunk, forward.tiles)
			require.Less(t, weights.chunk, weights.tiles)
			require.Greater(t, forward.blocks, 1)
		} else {
			require.Less(t, forward.group, forward.chunk)
			require.Less(t, weights.group, c.Out)
		}
		x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(4, 9)))
		y, dx, dw := make([]float32, len(dy)), make([]float32, len(x)), make([]float32, len(w))
		ws := make([]float32, c.largestWorkspace())
		c.Forward(Shared, y, x, w, bias, ws)
		c.InputGrad(Shared, dx, dy, w, ws)
		c.WeightGrad(Shared, dw, dy, x, ws)
		requirePass(t, widened(y), winogradError, func(got, ws []float32) {
			c.WinogradForward(Shared, got, x, w, bias, ws)
		}, c.WinogradForwardWorkspace(Shared))
		requirePass(t, widened(dx), winogradError, func(got, ws []float32) {
			c.WinogradInputGrad(Shared, got, dy, w, ws)
		}, c.WinogradInputGradWorkspace(Shared))
		requirePass(t, widened(dw), winogradWeightError, func(got, ws []float32) {
			c.WinogradWeightGrad(Shared, got, dy, x, ws)
		}, c.WinogradWeightGradWorkspace(Shared))
	}
}

func widened(x []float32) []float64 {
	w := make([]float64, len(x))
	for i, v := range x {
		w[i] = float64(v)
	}
	return w
}

// Passes for bfloat16 values are those for the same values in float32, and round what is made of
// them.
func TestWinogradBF16(t *testing.T) {
	eachBody(t, func(t *testing.T) {
		for i, c := range winogradConvs {
			x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(uint64(i), 7)))
			halfX, _ := betweenBF16(inBF16(x))
			halfDY, _ := betweenBF16(inBF16(dy))
			FromBF16s(Shared, x, halfX)
			FromBF16s(Shared, dy, halfDY)
			y, dx, dw := scratch(len(dy)), scratch(len(x)), scratch(len(w))
			c.WinogradForward(Shared, y, x, w, bias, scratch(c.WinogradForwardWorkspace(Shared)))
			c.WinogradInputGrad(Shared, dx, dy, w, scratch(c.WinogradInputGradWorkspace(Shared)))
			c.WinogradWeightGrad(Shared, dw, dy, x, scratch(c.WinogradWeightGradWorkspace(Shared)))

			got, all := betweenBF16(make([]uint16, len(y)))
			ws, check := guarded(t, c.WinogradForwardWorkspace(Shared))
			c.WinogradForwardBF16(Shared, got, halfX, w, bias, ws)
			check()
			_, want := betweenBF16(inBF16(y))
			require.Equal(t, want, all, "y of %+v", c)

			got, all = betweenBF16(make([]uint16, len(dx)))
			ws, check = guarded(t, c.WinogradInputGradWorkspace(Shared))
			c.WinogradInputGradBF16(Shared, got, halfDY, w, ws)
			check()
			_, want = betweenBF16(inBF16(dx))
			require.Equal(t, want, all, "dx of %+v", c)

			weights, checkWeights := guarded(t, len(dw))
			ws, check = guarded(t, c.WinogradWeightGradWorkspace(Shared))
			c.WinogradWeightGradBF16(Shared, weights, halfDY, halfX, ws)
			check()
			checkWeights()
			require.Equal(t, bits(dw), bits(weights), "dw of %+v", c)

		}
	})
}

// The passes are gradients of one another: ⟨dy, conv(x, w)⟩ = ⟨dx, x⟩ = ⟨dw, w⟩.
func TestWinogradAdjoint(t *testing.T) {
	eachBody(t, func(t *testing.T) {
		for i, c := range winogradConvs {
			x, w, dy, _ := c.tensors(rand.New(rand.NewPCG(uint64(i), 5)))
			y, dx, dw := scratch(len(dy)), scratch(len(x)), scratch(len(w))
			c.WinogradForward(Shared, y, x, w, nil, scratch(c.WinogradForwardWorkspace(Shared)))
			c.WinogradInputGrad(Shared, dx, dy, w, scratch(c.WinogradInputGradWorkspace(Shared)))
			c.WinogradWeightGrad(Shared, dw, dy, x, scratch(c.WinogradWeightGradWorkspace(Shared)))
			want, size := inner(dy, y)
			got, _ := inner(dx, x)
			require.InDelta(t, want, got, 1e-6*size, "dx")
			got, _ = inner(dw, w)
			require.InDelta(t, want, got, 1e-6*size, "dw")
		}
	})
}

// inner is ⟨x, y⟩, and the product of the norms.
func inner(x, y []float32) (s, size float64) {
	var xx, yy float64
	for i := range x {
		a, b := float64(x[i]), float64(y[i])
		s, xx, yy = s+a*b, xx+a*a, yy+b*b
	}
	return s, math.Sqrt(xx * yy)
}

func TestWinogradSameBitsForAnyWorkers(t *testing.T) {
	for _, c := range append(largeWinograds, winogradConvs[6]) {
		x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(1, 1)))
		var first []uint32
		for _, workers := range []int{1, 2, 3, 16} {
			pool := NewPool(workers)
			y, dx, dw := scratch(len(dy)), scratch(len(x)), scratch(len(w))
			c.WinogradForward(pool, y, x, w, bias, scratch(c.WinogradForwardWorkspace(pool)))
			c.WinogradInputGrad(pool, dx, dy, w, scratch(c.WinogradInputGradWorkspace(pool)))
			c.WinogradWeightGrad(pool, dw, dy, x, scratch(c.WinogradWeightGradWorkspace(pool)))
			all := append(append(bits(y), bits(dx)...), bits(dw)...)
			if first == nil {
				first = all
			}
			require.Equal(t, first, all, "%d workers", workers)
		}
	}
}

// A picture's result must not depend on the pictures beside it.
func TestWinogradPicturesDoNotDependOnOneAnother(t *testing.T) {
	eachBody(t, func(t *testing.T) {
		c := channels32(9, 13, 1)
		c.N = 3
		x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(1, 1)))
		y, dx := scratch(len(dy)), scratch(len(x))
		c.WinogradForward(Shared, y, x, w, bias, scratch(c.WinogradForwardWorkspace(Shared)))
		c.WinogradInputGrad(Shared, dx, dy, w, scratch(c.WinogradInputGradWorkspace(Shared)))
		one, n := c, len(x)/3
		one.N = 1
		got, ws := scratch(n), scratch(one.WinogradForwardWorkspace(Shared))
		one.WinogradForward(Shared, got, x[n:2*n], w, bias, ws)
		require.Equal(t, bits(y[n:2*n]), bits(got))
		one.WinogradInputGrad(Shared, got, dy[n:2*n], w, ws)
		require.Equal(t, bits(dx[n:2*n]), bits(got))
	})
}

func TestWinogradRefuses(t *testing.T) {
	c := winogradConvs[2]
	x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(1, 1)))
	ws := make([]float32, 1<<20)
	require.NotPanics(t, func() { c.WinogradForward(Shared, dy, x, w, bias, ws) })
	require.Panics(t, func() { c.WinogradForward(Shared, dy[1:], x, w, bias, ws) })
	require.Panics(t, func() { c.WinogradForward(Shared, dy, x, w, bias[1:], ws) })
	require.Panics(t, func() { c.WinogradForward(Shared, dy, x, w, bias, nil) })
	require.Panics(t, func() { c.WinogradInputGrad(Shared, x, dy, w, nil) })
	require.Panics(t, func() { c.WinogradWeightGrad(Shared, w, dy, x, nil) })
	halfX, halfDY := inBF16(x), inBF16(dy)
	require.NotPanics(t, func() { c.WinogradForwardBF16(Shared, halfDY, halfX, w, bias, ws) })
	require.Panics(t, func() { c.WinogradForwardBF16(Shared, halfDY[1:], halfX, w, bias, ws) })
	require.Panics(t, func() { c.WinogradForwardBF16(Shared, halfDY, halfX, w, bias[1:], ws) })
	require.Panics(t, func() { c.WinogradForwardBF16(Shared, halfDY, halfX, w, bias, nil) })
	require.Panics(t, func() { c.WinogradInputGradBF16(Shared, halfX, halfDY, w, nil) })
	require.Panics(t, func() { c.WinogradWeightGradBF16(Shared, w, halfDY, halfX, nil) })
	for name, spoil := range map[string]func(c *Conv){
		"stride":   func(c *Conv) { c.Stride = 2 },
		"kernel":   func(c *Conv) { c.KH = 1 },
		"channels": func(c *Conv) { c.In = 16 },
		"results":  func(c *Conv) { c.Out = 48 },
		"padding":  func(c *Conv) { c.Left = 3 },
	} {
		bad := c
		spoil(&bad)
		require.NoError(t, bad.Check())
		require.False(t, bad.Winograd(), name)
		require.False(t, bad.WinogradBF16(), name)
		x, w, dy, bias := bad.tensors(rand.New(rand.NewPCG(1, 1)))
		halfX, halfDY := inBF16(x), inBF16(dy)
		require.Panics(t, func() { bad.WinogradForward(Shared, dy, x, w, bias, ws) }, name)
		require.Panics(t, func() { bad.WinogradInputGrad(Shared, x, dy, w, ws) }, name)
		require.Panics(t, func() { bad.WinogradWeightGrad(Shared, w, dy, x, ws) }, name)
		require.Panics(t, func() {
			bad.WinogradForwardBF16(Shared, halfDY, halfX, w, bias, ws)
		}, name)
		require.Panics(t, func() { bad.WinogradInputGradBF16(Shared, halfX, halfDY, w, ws) }, name)
		require.Panics(t, func() { bad.WinogradWeightGradBF16(Shared, w, halfDY, halfX, ws) }, name)
	}
}

func TestWinogradAllocatesNothing(t *testing.T) {
	c := winogradConvs[4]
	x, w, dy, bias := c.tensors(rand.New(rand.NewPCG(1, 1)))
	ws := make([]float32, max(c.WinogradForwardWorkspace(Shared),
		c.WinogradInputGradWorkspace(Shared), c.WinogradWeightGradWorkspace(Shared)))
	halfX, halfDY := inBF16(x), inBF16(dy)
	run := func() {
		c.WinogradForward(Shared, dy, x, w, bias, ws)
		c.WinogradInputGrad(Shared, x, dy, w, ws)
		c.WinogradWeightGrad(Shared, w, dy, x, ws)
		c.WinogradForwardBF16(Shared, halfDY, halfX, w, bias, ws)
		c.WinogradInputGradBF16(Shared, halfX, halfDY, w, ws)
		c.WinogradWeightGradBF16(Shared, w, halfDY, halfX, ws)
	}
	run()
	require.Zero(t, testing.AllocsPerRun(20, run))
}
