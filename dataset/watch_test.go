package dataset

import (
	"errors"
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Samples are counted as they come, and lose their pictures, which stay the others'.
func TestWatched(t *testing.T) {
	picture := image.NewGray(image.Rect(0, 0, 1, 1))
	samples := []Sample{{ID: "a", Image: picture}, {ID: "b"}, {ID: "c"}}
	counted := 0
	d := WithoutImages(Watched(FromSlice(samples), func(n int) { counted += n }))
	for s, err := range d.All(t.Context()) {
		require.NoError(t, err)
		require.Nil(t, s.Image)
		if s.ID == "b" {
			break
		}
	}
	require.Equal(t, 2, counted)
	require.NotNil(t, samples[0].Image)
	broken := errors.New("broken")
	failing := Checked(FromSlice(samples), func(s Sample) error {
		if s.ID == "b" {
			return broken
		}
		return nil
	})
	counted = 0
	all, err := Collect(t.Context(), Watched(failing, func(n int) { counted += n }))
	require.Equal(t, broken, err)
	require.Equal(t, samples[:1], all)
	require.Equal(t, 1, counted, "an error is no sample")
}

// A picture that is not named or not there is found without one being decoded.
func TestHasPicture(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.Mkdir(filepath.Join(dir, "in"), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "in", "a.png"), nil, 0o644))
	has := HasPicture(dir)
	require.NoError(t, has(Sample{File: "in/a.png"}))
	require.ErrorIs(t, has(Sample{File: "in/b.png"}), os.ErrNotExist)
	require.EqualError(t, has(Sample{}), "the line names no file")
	require.EqualError(t, has(Sample{File: "in"}), "in is a folder and not a picture")
}
