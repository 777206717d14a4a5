package reward

import (
	"context"
	"errors"
	"image"
	"image/color"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

// A model is asked once for what is kept, and again for whatever scores depend on.
func TestKept(t *testing.T) {
	asked := 0
	third := Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
		asked++
		scores := make([]float64, len(samples))
		for i := range scores {
			scores[i] = float64(len(samples)+i) / 3 // no short decimal
		}
		return scores, nil
	})
	gray := func() image.Image { return image.NewGray(image.Rect(0, 0, 3, 2)) }
	samples := []dataset.Sample{{Prompt: "a", Image: gray()}, {Prompt: "b", Image: gray()}}
	name := filepath.Join(t.TempDir(), "cache", "scores.jsonl")
	// Each call is another process.
	score := func(maker string, samples ...dataset.Sample) []float64 {
		scores, err := Kept(third, name, maker).Score(t.Context(), samples)
		require.NoError(t, err)
		return scores
	}
	times := func(n int, maker string, samples ...dataset.Sample) {
		t.Helper()
		want, err := third.Score(t.Context(), samples)
		require.NoError(t, err)
		before := asked
		require.Equal(t, want, score(maker, samples...))
		require.Equal(t, n, asked-before)
	}
	times(1, "m", samples...)
	times(0, "m", samples...)
	times(1, "other", samples...)
	times(1, "m", samples[0])
	times(1, "m", dataset.Sample{Prompt: "c", Image: gray()})
	dot := image.NewGray(image.Rect(0, 0, 3, 2))
	dot.Set(1, 1, color.White)
	times(1, "m", samples[0], dataset.Sample{Prompt: "b", Image: dot})
	times(0, "m", samples...)

	// A line that was cut off is lost alone; another score, all that the file has.
	text, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, text[:len(text)-2], 0o644))
	times(0, "m", samples...)
	times(1, "m", samples[0], dataset.Sample{Prompt: "b", Image: dot})
	wrong := strings.Replace(string(text), "0.6666", "0.7666", 1)
	require.NotEqual(t, string(text), wrong)
	require.NoError(t, os.WriteFile(name, []byte(wrong), 0o644))
	times(1, "m", samples...)
	times(0, "m", samples...)

	// Errors are not kept.
	fails := Func(func(context.Context, []dataset.Sample) ([]float64, error) {
		return nil, errors.New("broken")
	})
	_, err = Kept(fails, name, "fails").Score(t.Context(), samples)
	require.EqualError(t, err, "broken")
	_, err = Kept(third, filepath.Join(name, "no folder"), "m").Score(t.Context(), samples)
	require.Error(t, err)
}
