package cuda_test

import (
	"fmt"
	"testing"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"github.com/kudos-ml/kudos/kernels/internal/cuda"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// testConvBF16 checks a convolution of integers and its gradients, with results of type y. They are
// exact, as those of package cpu are.
func testConvBF16(t *testing.T, c cuda.Conv, y cuda.Type, offset int) {
	t.Helper()
	def := cpu.Conv(c)
	oh, ow := c.OutSize()
	xs := integers(c.N*c.H*c.W*c.In, 1)
	wts := integers(c.Out*c.KH*c.KW*c.In, 2)
	dys := integers(c.N*oh*ow*c.Out, 3)
	bias := integers(c.Out, 4)
	in := func(x []float32) cudatest.Operand {
		o := cudatest.In(cuda.BFloat16, x)
		o.Offset = offset
		return o
	}
	check := func(what string, want []float32, bytes int, queue func(*cuda.Queue, []cuda.Tensor),
		ops ...cudatest.Operand) {
		t.Helper()
		out := cudatest.Out(y, len(want))
		out.Offset = offset
		ops = append([]cudatest.Operand{out}, ops...)
		got := cudatest.Check(t, queue, append(ops, cudatest.Out(cuda.Float32, bytes/4))...)[0]
		for i, v := range want {
			if want := cudatest.Round(y, v); !(got[i] == want) {
				t.Fatalf("%+v: value %d of the %s is %v, not %v", c, i, what, got[i], want)
			}
		}
	}

	want := make([]float32, len(dys))
	def.Forward(cpu.Shared, want, xs, wts, bias, make([]float32, def.ForwardWorkspace(cpu.Shared)))
	check("result", want, c.ForwardWorkspace(cuda.BFloat16),
		func(q *cuda.Queue, at []cuda.Tensor) {
			c.Forward(q, at[0], at[1], at[2], at[3], none, at[4])
		},
		in(xs), in(wts), cudatest.In(cuda.Float32, bias))

	want = make([]float32, len(xs))
	def.InputGrad(cpu.Shared, want, dys, wts, make([]float32, def.InputGradWorkspace(cpu.Shared)))
	check("gradient by the input", want, c.InputGradWorkspace(cuda.BFloat16),
		func(q *cuda.Queue, at []cuda.Tensor) {
			c.InputGrad(q, at[0], at[1], at[2], none, at[3])
		},
		in(wts), in(dys))

	want = make([]float32, len(wts))
	def.WeightGrad(cpu.Shared, want, dys, xs, make([]float32, def.WeightGradWorkspace(cpu.Shared)))
	check("gradient by the weights", want, c.WeightGradWorkspace(cuda.BFloat16),
		func(q *cuda.Queue, at []cuda.Tensor) { c.WeightGrad(q, at[0], at[1], at[2], at[3]) },
		in(xs), in(dys))
}

func TestConvBF16(t *testing.T) {
	eachTile(t, func(t *testing.T, tile string, parts int) {
		c := cuda.Conv{
			N: 2, H: 7, W: 9, In: 16, Out: 24, KH: 3, KW: 3, Stride: 1,
			Top: 1, Bottom: 1, Left: 1, Right: 1,
		}
		if parts == 1 {
			c.Stride, c.Top, c.Left = 2, 0, 0
		}
		testConvBF16(t, c, cuda.BFloat16, 0)
	})
}

// TestConvBF16Shapes has odd geometries, and channels that are not read in units of 8.
func TestConvBF16Shapes(t *testing.T) {
	for i, c := range []cuda.Conv{
		{N: 1, H: 1, W: 1, In: 1, Out: 1, KH: 1, KW: 1, Stride: 1},
		{N: 2, H: 6, W: 5, In: 4, Out: 16, KH: 3, KW: 3, Stride: 1, Top: 1, Left: 1, Right: 1},
		{N: 2, H: 6, W: 5, In: 16, Out: 4, KH: 3, KW: 3, Stride: 1, Top: 1, Bottom: 1, Left: 1},
		{N: 1, H: 8, W: 8, In: 8, Out: 8, KH: 3, KW: 3, Stride: 2, Bottom: 1, Right: 1},
		{N: 3, H: 5, W: 4, In: 8, Out: 16, KH: 1, KW: 1, Stride: 2},
		{N: 2, H: 5, W: 4, In: 16, Out: 8, KH: 1, KW: 1, Stride: 1},
		{N: 1, H: 4, W: 9, In: 3, Out: 5, KH: 2, KW: 4, Stride: 3, Top: 2, Left: 1, Right: 5},
		{N: 1, H: 2, W: 3, In: 8, Out: 8, KH: 5, KW: 4, Stride: 1, Top: 3, Bottom: 2, Right: 4},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			testConvBF16(t, c, cuda.Type(i%2), 0)
		})
	}
	t.Run("offset", func(t *testing.T) {
		defer cuda.ForceBF16("64x64", 2)()
		c := cuda.Conv{N: 1, H: 5, W: 5, In: 8, Out: 8, KH: 3, KW: 3, Stride: 2, Top: 1, Left: 1}
		testConvBF16(t, c, cuda.BFloat16, 1)
	})
}

func TestConvRefuses(t *testing.T) {
	of := func(n int) cuda.Tensor {
		return cuda.Tensor{Address: 256, Type: cuda.BFloat16, Len: n}
	}
	ok := cuda.Conv{N: 1, H: 4, W: 4, In: 8, Out: 8, KH: 3, KW: 3, Stride: 1}
	x, w, y := of(128), of(576), of(32)
	run := func(c cuda.Conv, x, w, y, bias cuda.Tensor) (refused bool) {
		defer func() { refused = recover() != nil }()
		c.Forward(new(cuda.Queue), y, x, w, bias, cuda.Epilogue{}, cuda.Tensor{})
		return
	}
	none := cuda.Tensor{}
	if run(ok, x, w, y, none) {
		t.Fatal("a convolution is refused")
	}
	large := cuda.Conv{N: 1, H: 1, W: 1 << 15, In: 1, Out: 1, KH: 1, KW: 1, Stride: 1}
	negative := ok
	negative.Top = -1
	for name, refused := range map[string]bool{
		"x":           run(ok, of(127), w, y, none),
		"w":           run(ok, x, of(575), y, none),
		"y":           run(ok, x, w, of(33), none),
		"bias":        run(ok, x, w, y, of(8)),
		"padding":     run(negative, x, w, y, none),
		"wide images": run(large, of(1<<15), of(1), of(1<<15), none),
	} {
		if !refused {
			t.Errorf("wrong %s is not refused", name)
		}
	}
}
