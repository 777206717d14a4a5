package pipeline

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"iter"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/picture"
)

// noisy is a picture of w × h pixels whose colours differ.
func noisy(w, h int) *image.NRGBA {
	img := image.NewNRGBA(image.Rect(0, 0, w, h))
	for i := range w * h {
		img.Set(i%w, i/w, color.NRGBA{uint8(7 * i), uint8(13 * i), uint8(i * i), 255})
	}
	return img
}

// latentOf is what the VAE makes of all pixels of a picture.
func latentOf(t *testing.T, p *Pipeline, rgb *picture.RGB) []float32 {
	st, err := p.newStage([]int{1, rgb.H, rgb.W, 3}, p.encodeNodes(false))
	require.NoError(t, err)
	defer st.machine.Close()
	copy(st.in.Float32s(), rgb.Tensor().Float32s())
	values, err := st.run()
	require.NoError(t, err)
	z := append([]float32(nil), values[0].Float32s()...)
	for i, v := range z {
		z[i] = float32(float64(v) * p.VAE.Config.ScalingFactor)
	}
	return z
}

// The model of these tests makes pictures of 16×16 pixels, and its VAE has the factor 2.
func small(t *testing.T) *Pipeline {
	p, err := Load("../../testdata/golden/sd1")
	require.NoError(t, err)
	require.Equal(t, image.Pt(16, 16), p.target())
	return p
}

// Pictures that a model made are encoded to their last pixel, whatever their shape. Of others the
// middle is cut out, as Pillow resizes and cuts them.
func TestOwnPicturesAreNotCut(t *testing.T) {
	p := small(t)
	r := request()
	r.Prompts, r.PerPrompt, r.Width, r.Height = r.Prompts[:1], 2, 16, 24
	samples := collect(t, p.Generate(r))
	for i := range samples {
		samples[i].Latent, samples[i].Condition = nil, dataset.Condition{}
	}
	photo := dataset.Sample{ID: "photo", Prompt: "a dog", Image: noisy(40, 30)}
	wide := dataset.Sample{ID: "wide", Prompt: "a dog", Image: noisy(20, 90)}
	encoded := collect(t, p.Encode(dataset.FromSlice(append(samples, photo, wide)),
		EncodeOptions{Cache: t.TempDir()}))
	for i, s := range encoded[:2] {
		require.Equal(t, tensor.Shape{12, 8, 4}, s.Latent.Shape())
		want := latentOf(t, p, picture.FromImage(samples[i].Image))
		golden.Near(t, "own", s.Latent.Float32s(), want, 1e-6)
	}
	for i, want := range []*picture.RGB{
		picture.FromImage(photo.Image).Resize(21, 16, picture.Bicubic).Crop(16, 16),
		picture.FromImage(wide.Image).Resize(16, 72, picture.Bicubic).Crop(16, 16),
	} {
		s := encoded[2+i]
		require.Equal(t, tensor.Shape{8, 8, 4}, s.Latent.Shape())
		require.Equal(t, want, picture.FromImage(s.Image), "Image is the fitted one")
		golden.Near(t, s.ID, s.Latent.Float32s(), latentOf(t, p, want), 1e-6)
	}
	var mixed []dataset.Sample
	for _, w := range []int{16, 18, 20, 16, 22, 18} {
		mixed = append(mixed, dataset.Sample{
			Prompt: "a", Image: noisy(w, 16), Source: dataset.Source{Model: "m"},
		})
	}
	for i, s := range collect(t, p.Encode(dataset.FromSlice(mixed), EncodeOptions{})) {
		want := latentOf(t, p, picture.FromImage(mixed[i].Image))
		golden.Near(t, "mixed", s.Latent.Float32s(), want, 1e-6)
	}
	for size, want := range map[image.Point]image.Point{
		{16, 24}: {16, 24}, {24, 16}: {24, 16}, {16, 16}: {16, 16}, {8, 8}: {8, 8},
		{32, 48}: {16, 24}, {160, 16}: {160, 16}, {15, 23}: {16, 24}, {31, 62}: {16, 32},
		{1, 1}: {2, 2},
	} {
		own := dataset.Sample{Source: dataset.Source{Model: "m"}}
		require.Equal(t, want, p.sizeOf(own, size), "%v", size)
		require.Equal(t, image.Pt(16, 16), p.sizeOf(dataset.Sample{}, size))
	}
	_, err := dataset.Collect(t.Context(), p.Encode(dataset.FromSlice([]dataset.Sample{
		photo, {ID: "thread", Prompt: "a", Image: image.NewGray(image.Rect(0, 0, 1, 40))},
	}), EncodeOptions{}))
	require.ErrorContains(t, err, "sample 1 (thread): 1×40 pixels: one side is more than 32 times")
}

// One training has pictures of one size, and what is cut away for that is said.
func TestFrame(t *testing.T) {
	p := small(t)
	of := func(model string, sizes ...int) (all []dataset.Sample) {
		for i := 0; i < len(sizes); i += 2 {
			all = append(all, dataset.Sample{
				ID:   fmt.Sprintf("%s%d", model, i),
				Size: image.Pt(sizes[i], sizes[i+1]), Source: dataset.Source{Model: model},
			})
		}
		return all
	}
	const cut = "%d of %d pictures have not the shape 16×24: %d %% of their area is cut away at " +
		"the sides."
	for _, c := range []struct {
		rewarded, pretraining []dataset.Sample
		want                  image.Point
		said                  []string
	}{
		{nil, nil, image.Pt(16, 16), nil},
		{of("m", 16, 16), of("", 99, 99), image.Pt(16, 16), nil},
		{of("m", 16, 24, 32, 48), of("", 20, 30), image.Pt(16, 24), []string{""}},
		{of("m", 16, 24), of("", 20, 20), image.Pt(16, 24),
			[]string{"", fmt.Sprintf(cut, 1, 1, 33)}},
		{of("", 20, 20, 16, 16), of("m", 16, 24), image.Pt(16, 24),
			[]string{"", fmt.Sprintf(cut, 2, 2, 33)}},
		{of("", 16, 24, 16, 24), of("", 16, 24), image.Pt(16, 24), []string{""}},
		{of("", 16, 24, 16, 16), nil, image.Pt(16, 16), []string{
			"1 of 2 pictures are not square: 33 % of their area is cut away at the sides."}},
		{of("", 15, 24), nil, image.Pt(16, 16), []string{
			"1 of 1 pictures are not square: 38 % of their area is cut away at the sides."}},
		{of("", 18, 24), nil, image.Pt(16, 16), []string{
			"1 of 1 pictures are not square: 25 % of their area is cut away at the sides."}},
		{of("", 16, 64), nil, image.Pt(16, 16), []string{
			"1 of 1 pictures are not square: 75 % of their area is cut away at the sides."}},
		{nil, of("", 16, 24), image.Pt(16, 16), []string{
			"1 of 1 pictures are not square: 33 % of their area is cut away at the sides."}},
		{make([]dataset.Sample, 2), nil, image.Pt(16, 16), nil},
	} {
		var said []string
		require.NoError(t, p.Frame(func(format string, args ...any) {
			said = append(said, fmt.Sprintf(format, args...))
		}, c.rewarded, c.pretraining))
		require.Equal(t, c.want, p.target())
		if len(c.said) > 0 && c.said[0] == "" {
			c.said[0] = "Training is on pictures of 16×24 pixels, as the model's own are."
		}
		require.Equal(t, c.said, said, "%v %v", c.rewarded, c.pretraining)
	}
	err := p.Frame(nil, of("a", 16, 24), of("b", 16, 16))
	require.ErrorContains(t, err, "the pictures of a0 and b0 come in 16×24 and in 16×16 pixels")

	// Everything that Encode, Blank and Blanks give has that size.
	samples := of("m", 16, 24)
	samples[0].Image = noisy(16, 24)
	samples = append(samples, dataset.Sample{Image: noisy(50, 50), Size: image.Pt(50, 50)})
	require.NoError(t, p.Frame(func(string, ...any) {}, samples, nil))
	blanks := append(p.Blanks(samples), p.Blank())
	for i, s := range append(collect(t, p.Encode(dataset.FromSlice(samples), EncodeOptions{})),
		blanks...) {
		require.Equal(t, tensor.Shape{12, 8, 4}, s.Latent.Shape(), i)
	}
	z, err := p.EncodeImages(t.Context(), []image.Image{noisy(16, 24), noisy(9, 9)})
	require.NoError(t, err)
	require.Equal(t, tensor.Shape{2, 12, 8, 4}, z.Shape())
}

// Colours that are transparent reach no latent: it is that of the picture on white.
func TestTransparentIsWhite(t *testing.T) {
	p := small(t)
	hidden, white := noisy(16, 16), noisy(16, 16)
	for i := range 16 * 8 {
		c := hidden.NRGBAAt(i%16, i/16)
		c.A = 0
		hidden.SetNRGBA(i%16, i/16, c)
		white.SetNRGBA(i%16, i/16, color.NRGBA{255, 255, 255, 255})
	}
	z, err := p.EncodeImages(t.Context(), []image.Image{hidden, white})
	require.NoError(t, err)
	half := z.Shape().TotalSize() / 2
	require.Equal(t, z.Float32s()[half:], z.Float32s()[:half])
}

// However many pictures are encoded together, few are held as they were read.
func TestEncodeHoldsFewPictures(t *testing.T) {
	p := small(t)
	var alive atomic.Int64
	most := int64(0)
	data := dataset.Func(func(context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			for range 12 {
				img := noisy(500, 500)
				alive.Add(1)
				runtime.AddCleanup(img, func(n *atomic.Int64) { n.Add(-1) }, &alive)
				if !yield(dataset.Sample{Prompt: "a", Image: img}, nil) {
					return
				}
				img = nil
				runtime.GC()
				runtime.GC() // by the second the cleanups of the first were queued
				runtime.Gosched()
				most = max(most, alive.Load())
			}
		}
	})
	require.Len(t, collect(t, p.Encode(data, EncodeOptions{Cache: t.TempDir()})), 12)
	require.LessOrEqual(t, most, int64(6))
}
