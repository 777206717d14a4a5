package kernels_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
)

// A machine on a device computes what one on the host does. Operations for which there is no kernel
// are done by the host, in between.
func TestRemote(t *testing.T) {
	d := cudatest.OpenDevice(t)
	g := gorgonia.NewGraph()
	dense := func(v ...float32) *tensor.Dense {
		return tensor.New(tensor.WithShape(len(v)), tensor.WithBacking(v))
	}
	x, w := dense(1, 2, 3), dense(-1, 5, 0.5)
	in, param := kernels.Input(g, "x", x), kernels.Param(g, w)
	sum := must(kernels.Add(in, param))
	cube := must(gorgonia.Cube(sum)) // an operation of gorgonia's
	out := must(kernels.Add(cube, in))
	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{out, sum}, Device: d})
	require.NoError(t, err)
	require.Contains(t, m.Plan().Host, "elemUnaryOp")
	for range 2 {
		require.NoError(t, m.RunAll())
		for i, got := range m.Value(out).Float32s() {
			s := x.Float32s()[i] + w.Float32s()[i]
			require.Equal(t, s, m.Value(sum).Float32s()[i])
			require.Equal(t, s*s*s+x.Float32s()[i], got)
		}
		x.Float32s()[1] = 7
		w.Float32s()[0] = 2.5
		require.NoError(t, kernels.Refresh(w))
	}
	require.NoError(t, m.Close())
	require.Error(t, m.RunAll())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
