package cpu

import (
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

// Probes are of memory that is long enough, and say what a processor can do.
func TestProbe(t *testing.T) {
	p := NewPool(2)
	if multiplyAddLanes > 0 {
		require.Greater(t, p.MultiplyAdds(), 1e9)
	} else {
		require.Zero(t, p.MultiplyAdds())
	}
	if dotProductLanes > 0 {
		require.Greater(t, p.DotProducts(), 1e9)
	} else {
		require.Zero(t, p.DotProducts())
	}
	x, y := make([]float32, 2*probeBlock+1), make([]float32, 2*probeBlock)
	for i := range x {
		x[i] = float32(i % 1000)
	}
	require.Greater(t, p.Reading(x), 1e8)
	if runtime.GOMAXPROCS(0) > 1 {
		require.Greater(t, p.Exchange(), 1e-9)
		require.Less(t, p.Exchange(), 1.0)
	}
	require.Zero(t, NewPool(1).Exchange())
	require.Greater(t, p.Copying(y, x), 1e8)
	require.Equal(t, x[:2*probeBlock], y)
	pages := make([]byte, 2*touchBlock)
	require.Greater(t, p.Touching(pages), 1e7)
	for i := 0; i < len(pages); i += 4096 {
		require.EqualValues(t, 1, pages[i])
	}
}

// Families and models are those that makers give.
func TestProcessor(t *testing.T) {
	if runtime.GOARCH != "amd64" || multiplyAddLanes == 0 {
		require.Equal(t, runtime.GOARCH, Processor())
		return
	}
	require.Regexp(t, `^\w+ family \d+ model \d+$`, Processor())
}
