package cuda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
	"github.com/kudos-ml/kudos/kernels/cuda/cudatest"
)

// The emulation does what is recorded.
func TestConform(t *testing.T) {
	c, err := cuda.Conform(cudatest.Open(t))
	require.NoError(t, err)
	require.Greater(t, len(c.Primitives), 40)
	for _, p := range c.Primitives {
		require.Empty(t, p.Wrong, p.Name)
		require.Positive(t, p.Values, p.Name)
	}
	require.Contains(t, string(c.Record), `"seen": "emulation"`)
}

// A device that does something else is seen.
func TestConformSeesWhatIsWrong(t *testing.T) {
	c, err := cuda.Conform(deaf{cudatest.Open(t)})
	require.NoError(t, err)
	for _, p := range c.Primitives {
		require.NotEmpty(t, p.Wrong, p.Name)
	}
}

// A deaf device launches nothing.
type deaf struct{ kernels.Device }

func (d deaf) Compile([]kernels.Launch) (kernels.Runner, error) { return d.Device.Compile(nil) }
