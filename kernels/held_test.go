package kernels_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// TestPlanIsWhatIsHeld trains in a process of its own and compares the memory that it then holds
// with the plan.
func TestPlanIsWhatIsHeld(t *testing.T) {
	for _, test := range []struct {
		name   string
		budget int64 // percent of the activations
	}{{"all", 100}, {"half", 50}} {
		t.Run(test.name, func(t *testing.T) {
			kerneltest.InChild(t, func() { planIsWhatIsHeld(t, test.budget) })
		})
	}
}

func planIsWhatIsHeld(t *testing.T, percent int64) {
	before := kerneltest.LiveBytes()
	b, loss := unet(4, 32, 64, 2)
	grads := b.gradients(t, loss)
	opt, err := optim.NewAdamW(b.params...)
	require.NoError(t, err)
	c := kernels.Config{Want: gorgonia.Nodes{loss}}
	for i, n := range b.nodes() {
		c.Updates = append(c.Updates, kernels.Update{Param: n, Grad: grads[i], By: opt})
	}
	m, err := kernels.NewMachine(b.g, c)
	require.NoError(t, err)
	if percent < 100 {
		require.NoError(t, m.Close())
		c.ActivationBytes = m.Plan().Activations * percent / 100
		m, err = kernels.NewMachine(b.g, c)
		require.NoError(t, err)
	}
	require.NoError(t, m.RunAll())
	kerneltest.RequirePlanned(t, m.Plan(), kerneltest.LiveBytes()-before, m.Close)
	runtime.KeepAlive(b)
}
