package dataset

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/picture"
)

// pictured writes a picture and returns its bytes.
func pictured(t *testing.T, dir, name string, w, h int) []byte {
	path := filepath.Join(dir, name)
	img := image.NewGray(image.Rect(0, 0, w, h))
	for i := range img.Pix {
		img.Pix[i] = uint8(i * i)
	}
	require.NoError(t, picture.WritePNG(path, img))
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return data
}

// All bad pictures are named at once, and of the good ones the sizes are known.
func TestLook(t *testing.T) {
	dir := t.TempDir()
	whole := pictured(t, dir, "a.png", 30, 20)
	pictured(t, dir, "b.png", 8, 8)
	samples := []Sample{
		{ID: "1", File: "a.png"}, {ID: "2", File: "b.png"}, {ID: "3", File: "a.png"},
	}
	counted := 0
	require.NoError(t, Look(t.Context(), samples, dir, func(n int) { counted += n }))
	require.Equal(t, 3, counted)
	require.Equal(t, image.Pt(30, 20), samples[0].Size)
	require.Equal(t, image.Pt(8, 8), samples[1].Size)
	require.Equal(t, image.Pt(30, 20), samples[2].Size)
	require.NoError(t, Look(t.Context(), nil, dir, nil))

	pictured(t, dir, "thread.png", 1, 200)
	damaged := append([]byte(nil), whole...)
	damaged[len(damaged)-20] ^= 1 // among the last pixels
	for name, data := range map[string][]byte{
		"cut.png": whole[:len(whole)/2], "page.png": []byte("<!DOCTYPE html>"), "hurt.png": damaged,
	} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), data, 0o644))
	}
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder.png"), 0o755))
	for _, name := range []string{"cut", "page", "thread", "gone", "folder", "hurt"} {
		samples = append(samples, Sample{ID: name, File: name + ".png"})
	}
	samples = append(samples, Sample{ID: "nameless", Prompt: "a dog"})
	err := Look(t.Context(), samples, dir, nil)
	require.ErrorContains(t, err, "bad pictures: 7 of 9")
	for _, want := range []string{
		"cut.png: broken png: the file ends before the picture does",
		"page.png: ", "it is a web page", "gone.png: no such file",
		"thread.png: 1×200 pixels: one side is more than 32 times the other",
		"folder.png is a folder and not a picture", "hurt.png: broken png",
		`sample "nameless" ("a dog") names no file`,
	} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, err, picture.ErrFormat)
	require.Equal(t, image.Pt(30, 20), samples[0].Size)

	for i := range 15 {
		samples = append(samples, Sample{File: fmt.Sprint(i)})
	}
	err = Look(t.Context(), samples, dir, nil)
	require.ErrorContains(t, err, "bad pictures: 22 of 24")
	require.ErrorContains(t, err, "and 12 more")
	require.Len(t, strings.Split(err.Error(), "\n"), 12, "a line each for ten, and two more")
}

// Look ends between two pictures.
func TestLookIsStopped(t *testing.T) {
	dir := t.TempDir()
	var samples []Sample
	for i := range 50 {
		name := fmt.Sprintf("%d.png", i)
		pictured(t, dir, name, 8, 8)
		samples = append(samples, Sample{File: name})
	}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	counted := 0
	err := Look(ctx, samples, dir, func(int) { counted++; stop() })
	require.ErrorIs(t, err, context.Canceled)
	require.Less(t, counted, 50)
}

func TestCut(t *testing.T) {
	of := func(sizes ...int) (all []Sample) {
		for i := 0; i < len(sizes); i += 2 {
			all = append(all, Sample{Size: image.Pt(sizes[i], sizes[i+1])})
		}
		return all
	}
	require.Empty(t, Cut(of(8, 8, 300, 300, 0, 0), 512, 512))
	require.Empty(t, Cut(nil, 512, 512))
	require.Equal(t, "2 of 3 pictures are not square: 38 % of their area is cut away at the sides",
		Cut(of(100, 50, 60, 80, 9, 9), 1, 1), "a half of one, a quarter of the other")
	require.Equal(t, "1 of 2 pictures have not the shape 512×768: 33 % of their area is cut away "+
		"at the sides", Cut(of(100, 100, 20, 30), 512, 768))
}

// A photo is an image of some size that has no pixels.
type photo image.Point

func (p photo) Bounds() image.Rectangle { return image.Rectangle{Max: image.Point(p)} }
func (p photo) ColorModel() color.Model { return color.GrayModel }
func (p photo) At(x, y int) color.Color { return color.Gray{} }

// However many samples go into a batch, it has few large pictures.
func TestBatches(t *testing.T) {
	sizes := func(d Dataset, n int) (all []int, err error) {
		var last []Sample
		for batch, err := range Batches(t.Context(), d, n) {
			if err != nil {
				require.Nil(t, batch)
				return all, err
			}
			all, last = append(all, len(batch)), batch
		}
		for _, s := range last {
			require.Nil(t, s.Image, "the pictures are let go")
		}
		return all, nil
	}
	some := func(n int, p image.Point) []Sample {
		all := make([]Sample, n)
		for i := range all {
			all[i].Image = photo(p)
		}
		return all
	}
	got, err := sizes(FromSlice(some(10, image.Pt(512, 512))), 4)
	require.NoError(t, err)
	require.Equal(t, []int{4, 4, 2}, got)
	got, err = sizes(FromSlice(make([]Sample, 5)), 2)
	require.NoError(t, err)
	require.Equal(t, []int{2, 2, 1}, got, "without pictures")
	got, err = sizes(FromSlice(some(64, image.Pt(4000, 3000))), 64)
	require.NoError(t, err)
	require.Len(t, got, 32, "two photographs of 12 million pixels a batch")
	got, err = sizes(FromSlice(some(3, image.Pt(10000, 10000))), 64)
	require.NoError(t, err)
	require.Equal(t, []int{1, 1, 1}, got)
	broken := errors.New("broken")
	_, err = sizes(Map(FromSlice(make([]Sample, 3)), func(context.Context, Sample) (Sample, error) {
		return Sample{}, broken
	}), 2)
	require.Equal(t, broken, err)
	for range Batches(t.Context(), FromSlice(make([]Sample, 5)), 2) {
		break
	}
}
