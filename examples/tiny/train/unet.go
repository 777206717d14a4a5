package main

import (
	"errors"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// scale is how many pixels of a picture, across and down, make one position of its latent.
const scale = 4

// unetConfig describes a UNet on 16×16, 8×8 and 4×4 positions, with attention on the latter two and
// one layer a level. Larger ones that were tried gained less than this one gains by more steps.
func unetConfig(latentChannels, textWidth int) unet.Config {
	c := unet.DefaultConfig()
	c.SampleSize = side / scale
	c.InChannels, c.OutChannels = latentChannels, latentChannels
	c.BlockOutChannels = []int{32, 64, 128}
	c.DownBlockTypes = []string{"DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"}
	c.UpBlockTypes = []string{"CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"}
	c.LayersPerBlock = []int{1}
	c.AttentionHeadDim = []int{4, 4, 4} // the number of heads, as SD 1 spells it
	c.CrossAttentionDim = []int{textWidth}
	c.NormNumGroups = 8
	return c
}

// noiseConfig describes DDPM's schedule, sampled from its last timestep on.
//
// Stable Diffusion's own schedule leaves 7 % of the signal at the last timestep. Over 16×16
// positions that is more than enough to read the background from. The network would learn to look
// for it in the noise, and not in the prompt (Lin et al. 2024, Common Diffusion Noise Schedules and
// Sample Steps Are Flawed).
//
// The network predicts velocity, as that of Stable Diffusion 2 does. What a picture shows is
// decided where there is much noise, and there an error of ε hardly counts.
func noiseConfig() diffusion.Config {
	c := diffusion.StableDiffusion()
	c.BetaSchedule, c.BetaStart, c.BetaEnd = new("linear"), new(1e-4), new(0.02)
	c.Spacing, c.StepsOffset = new("trailing"), nil
	c.Prediction = new("v_prediction")
	return c
}

// promptDropout is the share of captions that are replaced by the empty one, for guidance.
const promptDropout = 0.1

// A denoising is the UNet's training on a pool of latents.
type denoising struct {
	seed     uint64
	schedule *diffusion.Schedule
	latents  [][]float32          // a picture's latent [16,16,4], scaled
	captions map[string][]float32 // hidden states [L,D] of every caption, the empty one too

	clean, noise, noisy, target, t, c *tensor.Dense // the batch that the graph reads
}

// setBatch makes room for n samples of latents [16,16,channels] and conditions [length,width].
func (d *denoising) setBatch(n, channels, length, width int) {
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	latents := func() *tensor.Dense { return zeros(n, side/scale, side/scale, channels) }
	d.clean, d.noise, d.noisy, d.target = latents(), latents(), latents(), latents()
	d.t, d.c = zeros(n), zeros(n, length, width)
}

// loss is E[ ‖v − v_θ(x_t, t, c)‖² ] over the batch.
func (d *denoising) loss(m *unet.UNet2DCondition, g *gorgonia.ExprGraph) (*gorgonia.Node, error) {
	noisy, t := kernels.Input(g, "noisy", d.noisy), kernels.Input(g, "t", d.t)
	predicted, err := m.Predict(noisy, t, diffusion.Condition{Tokens: kernels.Input(g, "c", d.c)})
	if err != nil {
		return nil, err
	}
	return kernels.MSE(predicted, kernels.Input(g, "target", d.target), nil)
}

// fill draws the batch of a step. caption returns the caption of a picture by its row in the pool.
func (d *denoising) fill(step int, caption func(row int) string) error {
	n := d.t.Shape()[0]
	clean, noise, c := d.clean.Float32s(), d.noise.Float32s(), d.c.Float32s()
	size, width := len(noise)/n, len(c)/n
	levels := make([]diffusion.Level, n)
	table := d.schedule.Process.(diffusion.Table)
	for i, row := range order(d.seed, "unet order", step, n, len(d.latents)) {
		r := rng.New(d.seed, "unet draw", uint64(step), uint64(i))
		levels[i] = table.At(float64(r.IntN(len(table.AlphaBar))))
		text := caption(row)
		if r.Float64() < promptDropout {
			text = ""
		}
		copy(c[i*width:(i+1)*width], d.captions[text])
		copy(clean[i*size:], d.latents[row])
		rng.Normal(noise[i*size:(i+1)*size], d.seed, "unet noise", uint64(step), uint64(i))
		d.t.Float32s()[i] = float32(levels[i].Timestep)
	}
	return errors.Join(
		diffusion.Disturb(d.noisy, d.clean, d.noise, levels),
		d.schedule.Prediction.Target(d.target, d.clean, d.noise, levels),
	)
}
