package dataset

import (
	"context"
	"errors"
	"fmt"
	"image/png"
	"iter"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// painted are n pictures, of which one may fail.
func painted(n, fails int) Dataset {
	return Func(func(context.Context) iter.Seq2[Sample, error] {
		return func(yield func(Sample, error) bool) {
			for i := range n {
				s := Sample{ID: fmt.Sprint("id", i), Prompt: "p", Image: wide(i + 1)}
				if i == fails {
					yield(s, errPower)
					return
				}
				if !yield(s, nil) {
					return
				}
			}
		}
	})
}

var errPower = errors.New("power is out")

// A gallery's folder has its samples, as many as there are every so often, and takes up what is
// there.
func TestGallery(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	lines := func() []Sample {
		all, err := Written(t.Context(), dir)
		require.NoError(t, err)
		return all
	}
	g := &Gallery{Folder: dir, Every: 3}
	done := 0
	err := g.Fill(t.Context(), painted(8, 7), func(n int) { done += n })
	require.ErrorIs(t, err, errPower)
	require.Equal(t, 7, done)
	require.Len(t, lines(), 6, "as many as make two times three")
	text, err := os.ReadFile(filepath.Join(dir, "samples", "00002.png"))
	require.NoError(t, err)
	require.NotContains(t, string(text), "tEXt")

	// Labels of an earlier process stay, and so do its pictures.
	there := lines()
	there[1].Label = Good
	name := filepath.Join(dir, "samples.jsonl")
	_, err = Write(t.Context(), name, FromSlice(there))
	require.NoError(t, err)
	mine := filepath.Join(dir, "samples", "00001.png")
	require.NoError(t, os.WriteFile(mine, []byte("mine"), 0o644))
	g = &Gallery{Folder: dir, Every: 3}
	require.NoError(t, g.Fill(t.Context(), painted(6, -1), nil))
	require.Equal(t, Good, lines()[1].Label, "nothing new was there to be written")
	text, err = os.ReadFile(mine)
	require.NoError(t, err)
	require.Equal(t, "mine", string(text))

	g = &Gallery{Folder: dir, Every: 3}
	require.NoError(t, g.Fill(t.Context(), painted(8, -1), nil))
	require.Len(t, lines(), 8)
	for i, s := range g.Samples {
		require.Equal(t, fmt.Sprintf("samples/%05d.png", i), s.File)
		require.NotNil(t, s.Image)
		if i == 1 {
			continue
		}
		f, err := os.Open(filepath.Join(dir, filepath.FromSlash(s.File)))
		require.NoError(t, err)
		picture, err := png.Decode(f)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, i+1, picture.Bounds().Dx())
	}

	// A label that cannot be given leaves what is written.
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, g.Label(cancelled, "me", func(s Sample) (Label, error) {
		if s.Image.Bounds().Dx()%2 == 0 {
			return Good, nil
		}
		return Bad, nil
	}))
	for i, s := range lines() {
		require.Equal(t, []Label{Bad, Good}[i%2], s.Label)
		require.Equal(t, "me", s.Source.Rater)
	}
	err = g.Label(t.Context(), "you", func(s Sample) (Label, error) { return Skip, errPower })
	require.ErrorIs(t, err, errPower)
	require.Equal(t, "me", lines()[7].Source.Rater)

	g = &Gallery{Folder: filepath.Join(dir, "other")}
	err = g.Fill(t.Context(), FromSlice([]Sample{{Prompt: "p"}}), nil)
	require.ErrorContains(t, err, "(p) has no picture")
}
