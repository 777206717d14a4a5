package kernels_test

import (
	"testing"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

func dense(shape []int, values ...float32) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(values))
}

func TestParamIsOneNodeATensor(t *testing.T) {
	g := gorgonia.NewGraph()
	a, b := dense([]int{2}, 1, 2), dense([]int{2}, 1, 2)
	n := kernels.Param(g, a)
	require.Same(t, n, kernels.Param(g, a))
	require.NotSame(t, n, kernels.Param(g, b))
	require.Same(t, a, n.Value())
	require.Nil(t, kernels.Param(g, nil))
	require.NotSame(t, n, kernels.Param(gorgonia.NewGraph(), a))

	require.NoError(t, gorgonia.Let(n, b))
	require.Same(t, a, kernels.Param(g, a).Value())
}

func TestParamOfOneValue(t *testing.T) {
	g := gorgonia.NewGraph()
	s := tensor.New(tensor.FromScalar(float32(3)))
	n := kernels.Param(g, s)
	require.True(t, n.IsScalar())
	require.Same(t, n, kernels.Param(g, s))
}

func TestInputsOfOneNameStayTwo(t *testing.T) {
	g := gorgonia.NewGraph()
	a, b := dense([]int{2}, 1, 2), dense([]int{2}, 3, 4)
	x, y := kernels.Input(g, "x", a), kernels.Input(g, "x", b)
	require.NotSame(t, x, y)
	require.Equal(t, []string{"x", "x 2"}, []string{x.Name(), y.Name()})
	require.Same(t, a, x.Value())
	require.Same(t, b, y.Value())
	require.Same(t, x, kernels.Input(g, "x", a))
	require.Same(t, y, kernels.Input(g, "x", b))
	require.NotSame(t, x, kernels.Input(g, "x", dense([]int{1, 2}, 5, 6)))
}
