package kernels_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// Machines that share memory compute what they do alone, in turn, in the memory of the largest. A
// larger one takes its own.
func TestShare(t *testing.T) {
	for name, device := range map[string]func() kernels.Device{
		"host":   func() kernels.Device { return nil },
		"device": func() kernels.Device { return cudatest.OpenDevice(t) },
	} {
		t.Run(name, func(t *testing.T) {
			d := device()
			w := tensor.New(tensor.WithShape(8, 8), tensor.WithBacking(ramp(64, 1)))
			machine := func(n int, share *kernels.Machine) (*kernels.Machine, *gorgonia.Node) {
				g := gorgonia.NewGraph()
				x := kernels.Input(g, "x",
					tensor.New(tensor.WithShape(n, 8), tensor.WithBacking(ramp(8*n, 2))))
				for range 3 {
					x = must(kernels.Linear(x, kernels.Param(g, w), nil))
					x = must(kernels.SiLU(x))
				}
				m, err := kernels.NewMachine(g,
					kernels.Config{Want: gorgonia.Nodes{x}, Device: d, Share: share})
				require.NoError(t, err)
				return m, x
			}
			value := func(m *kernels.Machine, n *gorgonia.Node) []float32 {
				require.NoError(t, m.RunAll())
				return append([]float32(nil), m.Value(n).Float32s()...)
			}
			alone := map[int][]float32{}
			for _, n := range []int{4, 16, 32} {
				m, out := machine(n, nil)
				alone[n] = value(m, out)
				require.NoError(t, m.Close())
			}
			large, largeOut := machine(16, nil)
			small, smallOut := machine(4, large)
			larger, largerOut := machine(32, large)
			require.Zero(t, small.Plan().Arena+small.Plan().Workspace)
			require.Positive(t, larger.Plan().Arena)
			for range 2 {
				require.Equal(t, alone[4], value(small, smallOut))
				require.Equal(t, alone[16], value(large, largeOut))
				require.Equal(t, alone[32], value(larger, largerOut))
			}
			small.Cleanup()()
			require.NoError(t, small.Close())
			require.Equal(t, alone[16], value(large, largeOut), "its memory is still there")
			require.NoError(t, larger.Close())
			require.NoError(t, large.Close())
		})
	}
}

func ramp(n int, from float32) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = from + float32(i%7)/3 - float32(i%5)/4
	}
	return x
}
