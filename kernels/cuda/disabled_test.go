//go:build !nvidia || !cgo

package cuda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels/cuda"
)

func TestDisabled(t *testing.T) {
	const how = "go build -tags nvidia"
	_, err := cuda.Open(0)
	require.ErrorContains(t, err, how)
	_, err = cuda.Devices()
	require.ErrorContains(t, err, how)
}
