package nn_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

func TestMix(t *testing.T) {
	of := func(name string, values ...float32) []kernels.Parameter {
		v := tensor.New(tensor.WithShape(len(values)), tensor.WithBacking(values))
		return []kernels.Parameter{{Name: name, Value: v}}
	}
	for share, want := range map[float64][]float32{
		0: {1, -2, 8}, 0.25: {1.5, -2, 6.5}, 0.5: {2, -2, 5}, 1: {3, -2, 2},
	} {
		model := of("a", 3, -2, 2)
		require.NoError(t, nn.Mix(model, of("a", 1, -2, 8), share))
		require.Equal(t, want, model[0].Value.Float32s())
	}
	model := of("a", 1, 2)
	for want, c := range map[string]struct {
		base  []kernels.Parameter
		share float64
	}{
		"a share of 1.5 is not in [0,1]":    {of("a", 3, 4), 1.5},
		"a share of NaN is not":             {of("a", 3, 4), math.NaN()},
		"1 parameters are not mixed with 0": {nil, 0},
		"a (2) is not mixed with b (2)":     {of("b", 3, 4), 0},
		"a (2) is not mixed with a (1)":     {of("a", 3), 0},
	} {
		require.ErrorContains(t, nn.Mix(model, c.base, c.share), want)
		require.Equal(t, []float32{1, 2}, model[0].Value.Float32s())
	}
}
