package pipeline

import (
	"fmt"
	"image"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
)

// sized returns samples of pictures of these sizes.
func sized(sizes ...image.Point) []dataset.Sample {
	var samples []dataset.Sample
	for _, s := range sizes {
		samples = append(samples, dataset.Sample{Size: s})
	}
	return samples
}

// The buckets of Stable Diffusion 1, by hand: of 512·512 pixels at most, sides from 256 to 1024 in
// steps of 64.
func TestBuckets(t *testing.T) {
	p := &Pipeline{
		UNet: &unet.UNet2DCondition{Config: unet.Config{
			SampleSize: 64, InChannels: 4, BlockOutChannels: make([]int, 4),
		}},
		VAE: &vae.AutoencoderKL{Config: vae.Config{BlockOutChannels: make([]int, 4)}},
	}
	want := []image.Point{
		{512, 512}, {256, 1024}, {320, 768}, {384, 640}, {448, 576}, {576, 448}, {640, 384},
		{704, 320}, {768, 320}, {832, 256}, {896, 256}, {960, 256}, {1024, 256},
	}
	require.ElementsMatch(t, want, p.buckets())
	require.Equal(t, want[0], p.buckets()[0])

	var said []string
	printf := func(format string, args ...any) { said = append(said, fmt.Sprintf(format, args...)) }
	pt := image.Pt
	samples := sized(
		pt(1000, 1000), pt(64, 64), pt(3000, 2000), pt(3000, 2000), // 3:2 is nearest to 640×384
		pt(2000, 3000), pt(1024, 256), pt(0, 0), pt(512, 768),
	)
	samples[7].Source.Model = "sd"
	p.Bucket(printf, samples, 1)
	var fits []image.Point
	for _, s := range samples {
		fits = append(fits, s.Fit)
	}
	require.Equal(t, []image.Point{
		{512, 512}, {512, 512}, {640, 384}, {640, 384}, {384, 640}, {1024, 256}, {}, {},
	}, fits)
	// 10 % is cut away of 3:2 in 5:3, of three pictures of six.
	require.Equal(t, []string{"Pretraining pictures keep their shapes: 2 in 512×512, " +
		"1 in 384×640, 2 in 640×384, 1 in 1024×256 pixels; 5 % of their area is cut away."}, said)

	// Of a batch of two, neither the one portrait nor the panorama has a bucket of its own.
	p.Bucket(printf, samples, 2)
	require.Equal(t, image.Pt(640, 384), samples[2].Fit)
	require.Equal(t, image.Pt(512, 512), samples[4].Fit)
	require.Equal(t, image.Pt(640, 384), samples[5].Fit)

	said = nil
	p.Bucket(printf, samples[:2], 1)
	require.Empty(t, said, "all are square")
	p.frame = image.Pt(512, 768)
	p.Bucket(printf, samples[4:5], 4)
	require.Equal(t, image.Pt(512, 768), samples[4].Fit, "what is settled is a bucket")
	require.Empty(t, said)
	require.Equal(t, []image.Point{{512, 768}, {512, 512}}, p.buckets()[:2])
}

// Encode and Blanks go by the Fit of a sample.
func TestFitIsEncoded(t *testing.T) {
	p, err := LoadTunable("../../testdata/golden/shards")
	require.NoError(t, err)
	side := p.side() * p.scale()
	wide := image.Pt(2*side, side/2)
	samples := []dataset.Sample{{Prompt: "a", Size: image.Pt(90, 30), Fit: wide,
		Image: image.NewGray(image.Rect(0, 0, 90, 30))}}
	encoded := collect(t, p.Encode(dataset.FromSlice(samples), EncodeOptions{}))
	want := p.latent(wide)
	require.Equal(t, want, []int(encoded[0].Latent.Shape()))
	require.Equal(t, want, []int(p.Blanks(samples)[0].Latent.Shape()))
}
