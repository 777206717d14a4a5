package kernels_test

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels"
)

func TestProbe(t *testing.T) {
	for _, w := range []*kernels.Workers{nil, kernels.NewWorkers(1)} {
		p, err := kernels.NewProbe(w)
		require.NoError(t, err)
		if w == nil {
			require.Equal(t, runtime.GOMAXPROCS(0), p.Workers())
		} else {
			require.Equal(t, 1, p.Workers())
		}
		single, pairs := p.Arithmetic(kernels.Float32), p.Arithmetic(kernels.BFloat16)
		require.Equal(t, single > 0, pairs > 0, "one stands for the other")
		require.Greater(t, p.Reading(), 1e8)
		require.Greater(t, p.Copying(), 1e8)
		exchange := p.Exchange()
		require.Equal(t, p.Workers() > 1 && runtime.GOMAXPROCS(0) > 1, exchange > 0)
		touched, err := p.Touching()
		require.NoError(t, err)
		require.Greater(t, touched, 1e7)
		require.NoError(t, p.Close())
	}
	require.NotEmpty(t, kernels.Processor())
}
