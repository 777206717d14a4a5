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

// A part of a parameter is read where it is.
func TestRemoteReadsPartOfParameter(t *testing.T) {
	g := gorgonia.NewGraph()
	w := tensor.New(tensor.WithShape(5), tensor.WithBacking([]float32{1, 2, 3, 4, 5}))
	out := must(kernels.Scale(must(kernels.Slice(kernels.Param(g, w), 0, 2, 4)), 10))
	c := kernels.Config{Want: gorgonia.Nodes{out}, Device: cudatest.OpenDevice(t)}
	m := must(kernels.NewMachine(g, c))
	defer m.Close()
	require.NoError(t, m.RunAll())
	require.Equal(t, []float32{30, 40}, m.Value(out).Float32s())
}

// A parameter that is bound to another tensor is not where the machine reads it.
func TestRemoteRefusesAnotherParameter(t *testing.T) {
	g := gorgonia.NewGraph()
	w := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{1, 2}))
	param := kernels.Param(g, w)
	out := must(kernels.Scale(param, 2))
	c := kernels.Config{Want: gorgonia.Nodes{out}, Device: cudatest.OpenDevice(t)}
	m := must(kernels.NewMachine(g, c))
	defer m.Close()
	require.NoError(t, m.RunAll())
	require.NoError(t, gorgonia.Let(param, w.Clone()))
	require.ErrorContains(t, m.RunAll(), "was bound to another tensor after NewMachine")
}

// Watched and measured, a machine on a device says which operation it was.
func TestRemoteIsWatched(t *testing.T) {
	g := gorgonia.NewGraph()
	x := tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{1, 2}))
	out := must(kernels.Log(must(kernels.Scale(kernels.Input(g, "x", x), 2))))
	m := must(kernels.NewMachine(g, kernels.Config{
		Want: gorgonia.Nodes{out}, Device: cudatest.OpenDevice(t), WatchNaN: true, Profile: true,
	}))
	defer m.Close()
	require.NoError(t, m.RunAll())
	calls := make(map[string]int)
	for _, o := range m.Profile() {
		calls[o.Op] = o.Calls
		require.Positive(t, o.Time)
	}
	require.Equal(t, map[string]int{"scale": 1, "unary": 1}, calls)
	x.Float32s()[1] = 0
	err := m.RunAll()
	require.ErrorContains(t, err, "Log")
	require.ErrorContains(t, err, "value 1 is -Inf")
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}
