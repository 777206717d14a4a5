package kernels_test

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// On a device the gradient of attention is computed from what attention has left, not from the
// beginning, and it is what the host computes.
func TestAttentionLeavesWhatItsGradientReads(t *testing.T) {
	d := cudatest.Count(cudatest.OpenDevice(t))
	for _, c := range []struct {
		heads, d             int
		causal, mask, wanted bool
		precision            kernels.Precision
		delta                string // the kernel that reads what attention has left
	}{
		{2, 40, false, false, false, kernels.Float32, "attention_delta_f32"},
		{2, 40, false, true, false, kernels.BFloat16, "attention_grad_delta_bf16"},
		{1, 8, true, false, false, kernels.BFloat16, "attention_grad_delta_bf16"},
		{3, 8, true, true, false, kernels.Float32, "attention_delta_f32"},
		{2, 20, false, false, false, kernels.BFloat16, ""}, // in float32, on copies
		{2, 40, false, false, true, kernels.Float32, ""},   // the result is the caller's
	} {
		t.Run(fmt.Sprintf("%+v", c), func(t *testing.T) {
			const n, lq, lk = 2, 5, 7
			width := c.heads * c.d
			normal := func(name string, shape ...int) *tensor.Dense {
				x := kerneltest.Normal(tensor.Shape(shape).TotalSize(), name)
				return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
			}
			run := func(d kernels.Device) (values [][]float32) {
				g := gorgonia.NewGraph()
				keys := lk
				if c.causal {
					keys = lq
				}
				q := kernels.Input(g, "q", normal("q", n, lq, width))
				k := kernels.Input(g, "k", normal("k", n, keys, width))
				v := kernels.Input(g, "v", normal("v", n, keys, width))
				o := kernels.AttentionOptions{Heads: c.heads, Causal: c.causal}
				if c.mask {
					mask := normal("mask", n, keys)
					for i := range mask.Float32s() {
						mask.Float32s()[i] = float32(i % 2)
					}
					o.KeyMask = kernels.Input(g, "mask", mask)
				}
				w := kernels.Param(g, normal("w", width, width))
				by := func(x *gorgonia.Node) *gorgonia.Node {
					return must(kernels.Scale(must(kernels.Linear(x, w, nil)), 0.1))
				}
				out := must(kernels.Attention(by(q), by(k), by(v), o))
				if c.mask { // another attention of the same queries has a gradient of its own
					other := must(kernels.Attention(by(q), by(v), by(k), o))
					out = must(kernels.Add(out, other))
				}
				// Something else than the gradient reads the result too.
				loss := must(kernels.Sum(must(kernels.Mul(must(kernels.Scale(out, 2)),
					kernels.Input(g, "r", normal("r", n, lq, width))))))
				want := append(must(gorgonia.Grad(loss, q, k, v)), loss)
				if c.wanted {
					want = append(want, out)
				}
				m := must(kernels.NewMachine(g, kernels.Config{
					Want: want, Device: d, Precision: c.precision,
				}))
				defer m.Close()
				for range 2 {
					require.NoError(t, m.RunAll())
				}
				for _, w := range want {
					if w.IsScalar() {
						values = append(values, []float32{float32(m.Scalar(w))})
					} else {
						values = append(values, slices.Clone(m.Value(w).Float32s()))
					}
				}
				return values
			}
			want := run(nil)
			clear(d.Runs)
			got := run(d)
			tolerance := 1e-5
			if c.precision == kernels.BFloat16 {
				tolerance = 0.03
			}
			for i, w := range want {
				top := 0.0
				for _, x := range w {
					top = max(top, float64(x), float64(-x))
				}
				require.InDeltaSlice(t, w, got[i], tolerance*top, "result %d", i)
			}
			names := slices.Sorted(maps.Keys(d.Runs))
			if c.delta == "" {
				require.NotContains(t, names, "attention_delta_f32")
				require.NotContains(t, names, "attention_grad_delta_bf16")
				return
			}
			times := 2
			if c.mask {
				times = 4
			}
			require.Equal(t, times, d.Runs[c.delta], "%v", names)
			for name, runs := range d.Runs {
				require.NotContains(t, name, "statistics")
				if name == fmt.Sprintf("attention_%d_bf16", c.d) {
					require.Equal(t, times, runs, "it does not run again")
				}
			}
		})
	}
}
