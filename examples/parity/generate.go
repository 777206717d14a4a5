package main

import (
	"context"
	"encoding/json"
	"fmt"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/internal/picture"
)

// A request is the metadata "generate".
type request struct {
	Prompts  []string
	Steps    int
	Guidance float64
	Dtype    string // what the other side computed in
}

// generate compares what the whole pipeline makes of prompts by the folder's own sampler: the last
// latents and the pictures.
func (c *check) generate() error {
	var r request
	if err := json.Unmarshal([]byte(c.data.Metadata["generate"]), &r); err != nil {
		return fmt.Errorf("%s: metadata generate: %w", c.path(casesFile), err)
	}
	noise, err := c.pictures("generate.noise", 5)
	if err != nil {
		return err
	}
	latents, err := c.pictures("generate.latents", 4)
	if err != nil {
		return err
	}
	images, err := c.read("generate.images", 4)
	if err != nil {
		return err
	}
	n, shape := len(r.Prompts), latents.Shape().Clone()
	if n == 0 || shape[0] != n || images.Shape()[0] != n || !noise.Shape()[1:].Eq(shape) {
		return fmt.Errorf(
			"%d prompts, noise %v, latents %v and images %v (channels last) do not fit",
			n, noise.Shape(), shape, images.Shape())
	}
	p, err := pipeline.Load(c.dir)
	if err != nil {
		return err
	}
	size, made := shape[1:].TotalSize(), 0
	height, width := shape[1]*p.VAE.Factor(), shape[2]*p.VAE.Factor()
	got := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	pictures := tensor.New(tensor.WithShape(n, height, width, 3), tensor.Of(tensor.Float32))
	if !pictures.Shape().Eq(images.Shape()) {
		return fmt.Errorf("generate.images is %v, the pictures here are %v",
			images.Shape(), pictures.Shape())
	}
	samples := p.Generate(pipeline.Request{
		Prompts:   r.Prompts,
		PerPrompt: 1,
		Steps:     r.Steps,
		Guidance:  r.Guidance,
		Batch:     1,
		Height:    height,
		Width:     width,
		Noise: func(row, draw int, dst []float32) {
			if draw < noise.Shape()[0] { // with more draws the latents differ, and the row fails
				copy(dst, noise.Float32s()[(draw*n+row)*size:][:size])
			}
		},
	})
	for s, err := range samples.All(context.Background()) {
		if err != nil {
			return err
		}
		copy(got.Float32s()[made*size:], s.Latent.Float32s())
		rgb := picture.FromImage(s.Image)
		for i, v := range rgb.Pix {
			pictures.Float32s()[made*len(rgb.Pix)+i] = float32(v)
		}
		made++
	}
	latent, level := guided, levels
	if r.Dtype == "float64" {
		latent, level = forward, 1
	}
	e, at := relative(got.Float32s(), latents.Float32s(), 0)
	c.add("generate.latents", "generate.latents", e, element(at, got, latents), latent)
	e, at = largestDifference(pictures.Float32s(), images.Float32s())
	c.add("generate.images", "generate.images", e, element(at, pictures, images), level)
	return nil
}
