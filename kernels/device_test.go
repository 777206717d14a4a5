package kernels_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// A plan is the same whether a device computes or not, and no device is needed to have it.
func TestPlanning(t *testing.T) {
	w := tensor.New(tensor.WithShape(3, 8), tensor.Of(tensor.Float32))
	plan := func(d kernels.Device) kernels.Plan {
		g := gorgonia.NewGraph()
		x := kernels.Input(g, "x", tensor.New(tensor.WithShape(4, 8), tensor.Of(tensor.Float32)))
		y := must(kernels.Linear(x, kernels.Param(g, w), nil))
		m := must(kernels.NewMachine(g, kernels.Config{
			Want: gorgonia.Nodes{y}, Device: d, Precision: kernels.BFloat16,
		}))
		require.NoError(t, m.RunAll())
		defer m.Close()
		return m.Plan()
	}
	emulated := cudatest.OpenDevice(t)
	want := plan(emulated)
	require.Equal(t, want, plan(kernels.Planning(emulated)))
	require.Equal(t, want, plan(kernels.Planning(nil)))
	require.Equal(t, emulated.String(), kernels.Planning(emulated).String())
	c := kernels.Config{Device: kernels.Planning(nil)}
	require.Equal(t, "float32 on planned device", c.Arithmetic())
	free, err := kernels.Planning(nil).Free()
	require.NoError(t, err)
	require.EqualValues(t, math.MaxInt64, free)
}
