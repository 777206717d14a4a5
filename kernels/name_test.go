package kernels_test

import (
	"errors"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// refusing is an optimizer that does not take gradients that are not finite.
type refusing struct{}

func (refusing) Update(param, grad *tensor.Dense) error {
	for _, x := range grad.Float32s() {
		if math.IsNaN(float64(x)) {
			return errors.New("the gradient is not finite")
		}
	}
	return nil
}

// What goes wrong with a parameter is said with the name that its owner has for it.
func TestErrorsNameParameters(t *testing.T) {
	const name = "up_blocks.1.resnets.0.conv1.weight"
	nan := float32(math.NaN())
	for _, known := range []bool{true, false} {
		g := gorgonia.NewGraph()
		value, x := dense([]int{1, 2}, 3, 4), dense([]int{1, 2}, 1, 2)
		w := kernels.Param(g, value)
		y, err := kernels.Linear(kernels.Input(g, "x", x), w, nil)
		require.NoError(t, err)
		loss, err := kernels.Sum(y)
		require.NoError(t, err)
		grads, err := gorgonia.Grad(loss, w)
		require.NoError(t, err)
		c := kernels.Config{
			Want:    gorgonia.Nodes{loss},
			Updates: []kernels.Update{{Param: w, Grad: grads[0], By: refusing{}}},
		}
		called := "a parameter"
		if known {
			c.Parameters = []kernels.Parameter{{Name: name, Value: value}}
			called = name
		}
		m, err := kernels.NewMachine(g, c)
		require.NoError(t, err)
		require.NoError(t, m.RunAll())
		x.Float32s()[0] = nan
		require.EqualError(t, m.RunAll(),
			"kernels: update of "+called+" (1, 2): the gradient is not finite")

		c.WatchNaN = true
		watching, err := kernels.NewMachine(g, c)
		require.NoError(t, err)
		err = watching.RunAll()
		require.ErrorContains(t, err, "of "+called+") (1, 1): value 0 is NaN")
		require.ErrorContains(t, err, "kernels.linear")

		c.Updates[0].Grad = loss
		_, err = kernels.NewMachine(g, c)
		require.ErrorContains(t, err, "update 0: "+called+" is (1, 2), its gradient")
		_, err = m.ValueGrads(w)
		require.ErrorContains(t, err, "the gradient of "+called+" is not wanted")
		require.NoError(t, m.Close())
		require.NoError(t, watching.Close())
	}
}

// The plan counts what Param made as weights, whoever named it.
func TestPlanKnowsWeights(t *testing.T) {
	g := gorgonia.NewGraph()
	x := kernels.Input(g, "param 0xc000000000", dense([]int{1, 2}, 1, 2))
	y, err := kernels.Linear(x, kernels.Param(g, dense([]int{3, 2}, 1, 2, 3, 4, 5, 6)), nil)
	require.NoError(t, err)
	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{y}})
	require.NoError(t, err)
	require.Equal(t, int64(6*4), m.Plan().Weights)
	require.Equal(t, int64(2*4), m.Plan().Inputs)
	require.NoError(t, m.Close())
}
