package finetune

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

// A Tuner that is closed says so, whatever it is asked for, and leaves the parameters.
func TestClosed(t *testing.T) {
	ctx := context.Background()
	for _, steps := range []int{0, 2} {
		l := newLine()
		tuner := tuner(t, l)
		for step, err := range tuner.Steps(ctx) {
			require.NoError(t, err)
			if step.Index+1 >= steps {
				break
			}
		}
		before := l.vector()
		require.NoError(t, tuner.Close())
		require.NoError(t, tuner.Close())
		require.Equal(t, before, l.vector())
		n := 0
		for _, err := range tuner.Steps(ctx) {
			n++
			require.ErrorContains(t, err, "the Tuner is closed")
		}
		require.Equal(t, 1, n)
		_, err := tuner.State(ctx)
		require.ErrorIs(t, err, errClosed)
		_, err = tuner.Prepare(ctx)
		require.ErrorIs(t, err, errClosed)
		_, err = tuner.Fit(ctx, 1<<40)
		require.ErrorIs(t, err, errClosed)
		require.ErrorIs(t, tuner.Restore(ctx, State{}), errClosed)
		rounds := &Rounds{Tuner: tuner, N: 1, Folder: t.TempDir(), Data: func(
			context.Context, int,
		) (dataset.Dataset, error) {
			t.Error("it is asked for data")
			return nil, nil
		}}
		for _, err := range rounds.Steps(ctx) {
			require.ErrorIs(t, err, errClosed)
		}
	}
}

// Tuners that nobody closes do not pile up: what they take comes back when nothing refers to them.
func TestForgottenTuners(t *testing.T) {
	const tuners = 40
	if _, err := os.Stat("/proc/self/status"); err != nil {
		t.Skip("the system does not tell a process's memory: ", err)
	}
	var taken int64
	before := mapped(t)
	for range tuners {
		l := newLine()
		forgotten := &Tuner{
			Network: l, Schedule: schedule(t, false), Own: dataset.FromSlice(made(5, true)),
			OwnBatch: 240_000, Updates: 1,
		}
		plan, err := forgotten.Prepare(t.Context())
		require.NoError(t, err)
		taken += plan.Arena
	}
	require.Greater(t, taken, int64(400<<20), "too little beside what Go reserves for its own heap")
	left := int64(0)
	for range 100 { // what is freed is freed some time after a collection
		runtime.GC()
		if left = mapped(t) - before; left < taken/4 {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Errorf("of %d bytes that %d tuners took, %d are not back", taken, tuners, left)
}

// mapped is how many bytes of memory outside of Go's heap the process has mapped, to write to them.
// It leaves out what the C library has for threads, of which a busy machine has more: the stacks,
// of 8 MiB, and what it reserves for those that allocate, 64 MiB or more.
func mapped(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/self/status")
	require.NoError(t, err)
	number := func(name string) int64 {
		_, rest, ok := strings.Cut(string(text), "\n"+name+":")
		require.True(t, ok, name)
		n, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
		require.NoError(t, err)
		return n
	}
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return number("VmData")<<10 - number("Threads")*8<<20 - int64(stats.Sys)
}
