package kernels_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// Room is asked for what the plan says, before it is taken, and not by a machine that shares it.
func TestRoom(t *testing.T) {
	g := gorgonia.NewGraph()
	x := kernels.Input(g, "x", tensor.New(tensor.WithShape(8, 64), tensor.Of(tensor.Float32)))
	y, err := kernels.SiLU(x)
	require.NoError(t, err)
	asked := int64(0)
	c := kernels.Config{Want: gorgonia.Nodes{y}, Room: func(bytes int64) error {
		asked += bytes
		return nil
	}}
	m, err := kernels.NewMachine(g, c)
	require.NoError(t, err)
	defer m.Close()
	require.GreaterOrEqual(t, asked, int64(8*64*4))
	require.Equal(t, m.Plan().Arena+m.Plan().Workspace, asked)
	full := errors.New("full")
	c.Room = func(int64) error { return full }
	_, err = kernels.NewMachine(g, c)
	require.ErrorIs(t, err, full)
	c.Share = m
	shares, err := kernels.NewMachine(g, c)
	require.NoError(t, err)
	require.NoError(t, shares.Close())
}
