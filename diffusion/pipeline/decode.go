package pipeline

import (
	"context"
	"errors"
	"fmt"
	"image"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/picture"
)

// Decode returns the pictures of latents [N,h,w,C], scaled as the UNet reads them and as samples
// have them. A latent's position is 8×8 pixels with Stable Diffusion's VAE. Latents that make a
// picture with values that are not finite are an error.
func (p *Pipeline) Decode(ctx context.Context, latents *tensor.Dense) ([]image.Image, error) {
	if p.VAE == nil {
		return nil, errors.New("pipeline: the VAE is missing")
	}
	shape, channels := latents.Shape(), p.VAE.Config.LatentChannels
	if latents.Dtype() != tensor.Float32 || len(shape) != 4 || shape[3] != channels {
		return nil, fmt.Errorf("pipeline: latents are %v %v, not float32 [N,h,w,%d]",
			latents.Dtype(), shape, channels)
	}
	d := p.newDecoder(shape[1:])
	defer d.close()
	rows := make([]*tensor.Dense, shape[0])
	for i := range rows {
		rows[i] = copyRow(latents, i)
	}
	return d.decode(ctx, 0, rows)
}

// EncodeImages returns the latents [N,h,w,C] of pictures, scaled as the UNet reads them: the means
// of the VAE's encoder. Pictures of another size than the model's, or than Frame has settled, are
// resized and cut out of the middle, as Encode does it.
func (p *Pipeline) EncodeImages(
	ctx context.Context, pictures []image.Image,
) (*tensor.Dense, error) {
	if err := p.checkImages(); err != nil {
		return nil, err
	}
	if len(pictures) == 0 {
		return nil, errors.New("pipeline: no pictures to encode")
	}
	e := p.newEncoder(EncodeOptions{})
	defer e.close()
	samples, which := make([]dataset.Sample, len(pictures)), make([]int, len(pictures))
	for i, x := range pictures {
		var err error
		if samples[i], err = e.fit(ctx, dataset.Sample{Image: x}); err != nil {
			return nil, err
		}
		which[i] = i
	}
	if err := e.allLatents(ctx, samples, which); err != nil {
		return nil, err
	}
	shape := samples[0].Latent.Shape()
	together := append([]int{len(samples)}, shape...)
	all := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(together...))
	for i, s := range samples {
		copy(all.Float32s()[i*shape.TotalSize():], s.Latent.Float32s())
	}
	return all, nil
}

// decodePixels bounds what is decoded or encoded at once: one picture of 512×512, or 64 of 64×64. A
// VAE's memory is a few thousand bytes a pixel.
const decodePixels = 512 * 512

// A decoder makes pictures of latents of one shape [H,W,C].
type decoder struct {
	p      *Pipeline
	shape  tensor.Shape
	graphs stages
}

func (p *Pipeline) newDecoder(shape tensor.Shape) *decoder {
	d := &decoder{p: p, shape: shape.Clone()}
	d.graphs.build = func(size int) (*stage, error) {
		batch := append([]int{size}, d.shape...)
		return p.newStage(batch, func(z *gorgonia.Node) (gorgonia.Nodes, error) {
			x, err := p.VAE.Decode(z)
			return gorgonia.Nodes{x}, err
		})
	}
	return d
}

// together is how many pictures are decoded at once.
func (d *decoder) together() int {
	factor := d.p.VAE.Factor()
	return max(1, decodePixels/(d.shape[0]*d.shape[1]*factor*factor))
}

func (d *decoder) close() { d.graphs.close() }

// decode makes the pictures of samples that are counted from first.
func (d *decoder) decode(
	ctx context.Context, first uint64, latents []*tensor.Dense,
) ([]image.Image, error) {
	scaling, most := d.p.VAE.Config.ScalingFactor, d.together()
	var pictures []image.Image
	for len(pictures) < len(latents) {
		if err := context.Cause(ctx); err != nil {
			return nil, fmt.Errorf("pipeline: %w", err)
		}
		part := latents[len(pictures):min(len(pictures)+most, len(latents))]
		st, err := d.graphs.of(len(part))
		if err != nil {
			return nil, err
		}
		for i, z := range part {
			unscale(st.in.Float32s()[i*z.Shape().TotalSize():], z.Float32s(), scaling)
		}
		values, err := st.run()
		if err != nil {
			return nil, err
		}
		for i := range part {
			x, err := imageOf(values[0], i)
			if err != nil {
				return nil, fmt.Errorf("pipeline: sample %d: %w", first+uint64(len(pictures)), err)
			}
			pictures = append(pictures, x)
		}
	}
	return pictures, nil
}

func unscale(dst, latent []float32, factor float64) {
	for i, v := range latent {
		dst[i] = float32(float64(v) / factor)
	}
}

func imageOf(x *tensor.Dense, row int) (image.Image, error) {
	s := x.Shape()
	size := s[1] * s[2] * s[3]
	p, err := picture.FromValues(x.Float32s()[row*size:(row+1)*size], s[2], s[1])
	if err != nil {
		return nil, err
	}
	return p.Image(), nil
}
