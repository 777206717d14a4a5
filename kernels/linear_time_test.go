//go:build unix

package kernels

import (
	"runtime"
	"runtime/debug"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
)

// TestCompileTimeIsLinear compares the time that graphs of 700 nodes and of 16 times as many take
// to compile: of the processor, which does not count what other programs do, and the least of
// several. 16 times as long becomes 20 to 30 times by what caches do, and up to 48 passes; to
// look at all pairs of nodes takes 256 times as long, and 60 where each look costs next to
// nothing. The arena's layout does look at pairs of buffers, cheaply, and is held to that by
// itself.
func TestCompileTimeIsLinear(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	least := func(f func()) float64 {
		best := 0.0
		for i := range 7 {
			runtime.GC()
			start := processorTime(t)
			f()
			if took := processorTime(t) - start; i == 0 || took < best {
				best = took
			}
		}
		return best
	}
	compile := func(depth int) (rest, layout float64) {
		g, loss, params := stacked(t, depth, 2)
		grads, err := gorgonia.Grad(loss, params...)
		require.NoError(t, err)
		require.Greater(t, len(g.AllNodes()), 7*depth)
		want := append(gorgonia.Nodes{loss}, grads...)
		all := least(func() {
			m, err := NewMachine(g, Config{Want: want})
			require.NoError(t, err)
			require.NoError(t, m.Close())
		})
		p, err := newProgram(g, want, want, Float32)
		require.NoError(t, err)
		buffers := p.assign(p.steps(p.order(), nil))
		layout = least(func() { place(buffers) })
		return all - layout, layout
	}
	few, fewLaidOut := compile(100)
	many, manyLaidOut := compile(1600)
	t.Logf("%.2g s and %.2g s: %.0f times; layout %.2g s and %.2g s: %.0f times",
		few, many, many/few, fewLaidOut, manyLaidOut, manyLaidOut/fewLaidOut)
	require.Less(t, many, 48*few)
	require.Less(t, manyLaidOut, 2*256*fewLaidOut)
}

// processorTime is how many seconds of a processor the process has had.
func processorTime(t *testing.T) float64 {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}
