package clip

import (
	"context"
	"image"
	"image/color"
	"image/draw"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels"
)

// squares are n pictures of one colour each.
func squares(n int) []image.Image {
	out := make([]image.Image, n)
	for i := range out {
		p := image.NewNRGBA(image.Rect(0, 0, 9, 7))
		for at := range 63 {
			p.Set(at%9, at/9, color.NRGBA{uint8(20 * i), uint8(at), 99, 255})
		}
		out[i] = p
	}
	return out
}

// Features come out of the cache as they went in, and are computed for pictures alone that are not
// in it.
func TestCache(t *testing.T) {
	dir := filepath.Join("..", "testdata", "golden", "sd1", "clip")
	load := func() *Encoder {
		e, err := Load(dir)
		require.NoError(t, err)
		t.Cleanup(func() { e.Close() })
		return e
	}
	ctx, pictures := context.Background(), squares(4)
	file := filepath.Join(t.TempDir(), "new", "features.safetensors")
	want, err := load().ImageFeatures(ctx, pictures)
	require.NoError(t, err)
	c, err := OpenCache(load(), file)
	require.NoError(t, err)
	require.NoError(t, c.Save())
	require.NoFileExists(t, file, "there is nothing to save")
	got, err := c.ImageFeatures(ctx, []image.Image{pictures[0], pictures[1], pictures[0]})
	require.NoError(t, err)
	width := want.Shape()[1]
	require.Equal(t, want.Float32s()[:2*width], got.Float32s()[:2*width])
	require.Equal(t, want.Float32s()[:width], got.Float32s()[2*width:],
		"a picture that comes twice")
	require.Len(t, c.features, 2)
	require.NoError(t, c.Save())

	// With weights that make nothing but nonsense, what is in the file is still right, and the rest
	// is not.
	other := load()
	c, err = OpenCache(other, file)
	require.NoError(t, err)
	clear(other.Model.VisualProjection.Weight.Float32s())
	other.Model.VisualProjection.Weight.Float32s()[0] = 1
	got, err = c.ImageFeatures(ctx, pictures)
	require.NoError(t, err)
	require.Equal(t, want.Float32s()[:2*width], got.Float32s()[:2*width])
	require.NotEqual(t, want.Float32s()[2*width:], got.Float32s()[2*width:])

	// Features by another preparation of pictures, by other weights or in another precision are not
	// replaced, nor taken for one's own: these are in a file beside them.
	whole, err := os.ReadFile(file)
	require.NoError(t, err)
	for _, change := range []func(e *Encoder){
		func(e *Encoder) { e.Preprocessor.Mean[0] += 0.1 },
		func(e *Encoder) { e.Model.VisualProjection.Weight.Float32s()[3] += 0.1 },
		func(e *Encoder) { e.Machine.Precision = kernels.BFloat16 },
	} {
		e := load()
		change(e)
		own, err := OpenCache(e, file)
		require.NoError(t, err)
		require.Empty(t, own.features)
		got, err := own.ImageFeatures(ctx, pictures[:1])
		require.NoError(t, err)
		require.NotEqual(t, want.Float32s()[:width], got.Float32s())
		require.NoError(t, own.Save())
		again, err := OpenCache(e, file)
		require.NoError(t, err)
		require.Equal(t, own.features, again.features)
		stem := strings.TrimSuffix(file, ".safetensors")
		beside, err := filepath.Glob(stem + "-????????.safetensors")
		require.NoError(t, err)
		require.Equal(t, []string{again.file}, beside)
		// What is not its own there is told, and not replaced.
		c, err := OpenCache(load(), file)
		require.NoError(t, err)
		c.file, c.changed = again.file, true
		require.NoError(t, c.Save())
		_, err = OpenCache(e, file)
		require.EqualError(t, err, "clip: "+file+" and "+again.file+" hold the features of other "+
			"CLIPs: name another file, or remove them")
		require.NoError(t, os.Remove(again.file))
	}
	// Nor is what is no cache, such as the weights of a model.
	model := filepath.Join(dir, "model.safetensors")
	_, err = OpenCache(load(), model)
	require.ErrorContains(t, err, model+" is no cache of features")
	still, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, whole, still)

	// A feature that is not as it was written is not believed.
	c, err = OpenCache(load(), file)
	require.NoError(t, err)
	require.Len(t, c.features, 2)
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	text[len(text)-1] ^= 1
	require.NoError(t, os.WriteFile(file, text, 0o644))
	c, err = OpenCache(load(), file)
	require.NoError(t, err)
	require.Empty(t, c.features)

	require.NoError(t, os.WriteFile(file, []byte("no tensors"), 0o644))
	_, err = OpenCache(load(), file)
	require.ErrorContains(t, err, file)
	_, err = c.ImageFeatures(ctx, nil)
	require.ErrorContains(t, err, "nothing to encode")
}

// Any pixel, the size and the transparency tell pictures apart; where a picture lies in its image
// does not.
func TestKeys(t *testing.T) {
	p := squares(1)[0].(*image.NRGBA)
	require.Equal(t, key(p), key(squares(1)[0]))
	moved := image.NewNRGBA(image.Rect(-3, 0, 0, 3))
	draw.Draw(moved, moved.Bounds(), p, image.Pt(2, 3), draw.Src)
	require.Equal(t, key(p.SubImage(image.Rect(2, 3, 5, 6))), key(moved))
	wide, high := p.SubImage(image.Rect(0, 0, 4, 2)), p.SubImage(image.Rect(0, 0, 2, 4))
	require.NotEqual(t, key(wide), key(high))
	before := key(p)
	p.Set(8, 6, color.NRGBA{1, 2, 3, 255})
	changed := key(p)
	require.NotEqual(t, before, changed)
	p.Set(8, 6, color.NRGBA{1, 2, 3, 254})
	require.NotEqual(t, changed, key(p))
}
