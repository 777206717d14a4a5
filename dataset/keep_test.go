package dataset

import (
	"context"
	"errors"
	"iter"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// counted yields samples a to d, whose prompts say which range they are of, and fails behind so
// many.
func counted(ranges *int, failAfter int) Dataset {
	var mu sync.Mutex
	return Func(func(context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			mu.Lock()
			*ranges++
			prompt := string(rune('0' + *ranges))
			mu.Unlock()
			for i, id := range []string{"a", "b", "c", "d"} {
				if i == failAfter {
					yield(Sample{}, errors.New("broken"))
					return
				}
				if !yield(Sample{ID: id, Prompt: prompt}, nil) {
					return
				}
			}
		}
	})
}

func prompts(t *testing.T, d Dataset) (s string) {
	t.Helper()
	samples, err := Collect(t.Context(), d)
	require.NoError(t, err)
	for _, x := range samples {
		s += x.ID + x.Prompt
	}
	return s
}

func TestKeep(t *testing.T) {
	ranges := 0
	d := Keep(counted(&ranges, -1))
	require.Zero(t, ranges, "nothing is made before it is asked for")
	require.Equal(t, "a1b1", prompts(t, Take(d, 2)))
	require.Equal(t, "a2b2c2d2", prompts(t, d), "what was not whole is not kept")
	require.Equal(t, "a2b2c2d2", prompts(t, d))
	require.Equal(t, "a2b2", prompts(t, Take(d, 2)))
	for a := range d.All(t.Context()) { // one range inside another
		require.Equal(t, "a2b2c2d2", prompts(t, d), a.ID)
	}
	require.Equal(t, 2, ranges)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := Collect(ctx, d)
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, "", prompts(t, Keep(FromSlice(nil))))

	empty := 0
	none := Keep(Filter(counted(&empty, -1), func(Sample) bool { return false }))
	require.Equal(t, "", prompts(t, none))
	require.Equal(t, "", prompts(t, none))
	require.Equal(t, 1, empty, "that there is nothing is kept too")
}

// An error comes once for each range that meets it, and keeps nothing.
func TestKeepNoError(t *testing.T) {
	ranges := 0
	d := Keep(counted(&ranges, 2))
	for range 2 {
		got, err := Collect(t.Context(), d)
		require.EqualError(t, err, "broken")
		require.Len(t, got, 2)
	}
	require.Equal(t, 2, ranges)
}

// Ranges that begin together each are whole; the first that ends is the one that is kept.
func TestKeepTogether(t *testing.T) {
	ranges := 0
	d := Keep(counted(&ranges, -1))
	inner := ""
	for range d.All(t.Context()) {
		if inner == "" {
			inner = prompts(t, d)
		}
	}
	require.Equal(t, "a2b2c2d2", inner)
	require.Equal(t, inner, prompts(t, d))
	require.Equal(t, 2, ranges)

	again := Keep(counted(&ranges, -1))
	var all sync.WaitGroup
	got := make([][]Sample, 8)
	for i := range got {
		all.Go(func() { got[i], _ = Collect(t.Context(), again) })
	}
	all.Wait()
	for _, samples := range got {
		require.Len(t, samples, 4)
	}
	require.Equal(t, prompts(t, again), prompts(t, again))
}
