//go:build nvidia && cgo

package tiny_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/cuda"
)

// device returns the first GPU, whose work is recorded and replayed.
func device(t *testing.T) kernels.Device {
	d, err := cuda.Open(0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}
