package nn_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cudatest"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// What is saved or copied while a device tunes a model has the device's values, and what is loaded
// goes to the device.
func TestDevice(t *testing.T) {
	type model struct {
		W *tensor.Dense `weight:"w"`
	}
	m := &model{tensor.New(tensor.WithShape(2), tensor.WithBacking([]float32{1, -2}))}
	s := &optim.Stepper{
		Parameters: nn.Parameters(m),
		Machine:    kernels.Config{Device: cudatest.OpenDevice(t)},
	}
	loss, err := s.Compile(func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
		w := kernels.Param(g, m.W)
		square, err := kernels.Mul(w, w)
		if err != nil {
			return loss, err
		}
		loss.Value, err = kernels.Sum(square)
		return loss, err
	})
	require.NoError(t, err)
	step := func() float64 {
		r, err := s.Step(loss)
		require.NoError(t, err)
		return r.Loss
	}
	file := filepath.Join(t.TempDir(), "model.safetensors")
	require.InDelta(t, 5, step(), 1e-6)
	require.NoError(t, nn.Save(file, m, kernels.Float32))
	step()
	other, err := nn.Clone(m)
	require.NoError(t, err)
	want := step() // of the values that Clone saw
	var sum float64
	for _, v := range other.W.Float32s() {
		sum += float64(v) * float64(v)
	}
	require.InDelta(t, want, sum, 1e-6)
	require.NoError(t, nn.Load(file, m))
	a, b := m.W.Float32s()[0], m.W.Float32s()[1]
	require.InDelta(t, 1-1e-3, a, 1e-4, "the first step is as long as the learning rate")
	require.InDelta(t, a*a+b*b, step(), 1e-6)
	require.NoError(t, s.Close())
}
