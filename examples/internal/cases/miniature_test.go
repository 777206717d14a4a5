package cases

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/tiny"
)

func TestMiniature(t *testing.T) {
	p, err := tiny.Load()
	require.NoError(t, err)
	n, err := Miniature()
	require.NoError(t, err)
	require.Equal(t, p.UNet.Config, n.Config)
}
