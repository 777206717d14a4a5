package kernels_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
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

// A device keeps copies of parameters in bfloat16. They are made again after the parameters have
// changed, and then alone, by whichever machine reads them next.
func TestRemoteKeepsParametersInBFloat16(t *testing.T) {
	d := cudatest.Count(cudatest.OpenDevice(t))
	normal := func(name string, shape ...int) *tensor.Dense {
		n := tensor.Shape(shape).TotalSize()
		x := kerneltest.Normal(n, name)
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(x))
	}
	x, w, u := normal("x", 4, 8), normal("w", 3, 8), normal("u", 5, 8)
	machine := func(d kernels.Device) (*kernels.Machine, *gorgonia.Node) {
		g := gorgonia.NewGraph()
		in, all := kernels.Input(g, "x", x), kernels.Param(g, w)
		part := must(kernels.View(all, 8, 2, 8)) // the last two rows
		y := must(kernels.Concat(
			must(kernels.Linear(in, all, nil)), must(kernels.Linear(in, part, nil)),
			must(kernels.Linear(in, kernels.Param(g, u), nil))))
		m := must(kernels.NewMachine(g, kernels.Config{
			Want: gorgonia.Nodes{y}, Device: d, Precision: kernels.BFloat16,
		}))
		return m, y
	}
	host, wanted := machine(nil)
	defer host.Close()
	first, got := machine(d)
	defer first.Close()
	second, also := machine(d)
	defer second.Close()
	require.Equal(t, host.Plan().Weights*3/2, first.Plan().Weights)
	check := func(m *kernels.Machine, y *gorgonia.Node, roundings int) {
		t.Helper()
		require.NoError(t, host.RunAll())
		clear(d.Runs)
		require.NoError(t, m.RunAll())
		require.Equal(t, host.Value(wanted).Float32s(), m.Value(y).Float32s())
		// The input is converted for each of its readers.
		require.Equal(t, 3+roundings, d.Runs["to_bf16"])
	}
	check(first, got, 2)
	check(first, got, 0)
	check(second, also, 0)
	w.Float32s()[9] = 3
	require.NoError(t, kernels.Refresh(w))
	check(second, also, 1)
	check(first, got, 0)
	w.Float32s()[20], u.Float32s()[0] = -5, 7
	require.NoError(t, kernels.Refresh(w, u))
	check(first, got, 2)
	kernels.Changed(d, w)
	kernels.Rounded(d, w)
	check(second, also, 0)
	kernels.Changed(d, w)
	check(first, got, 1)
}
