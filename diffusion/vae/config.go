package vae

import (
	"fmt"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A Config is diffusers' config.json of an AutoencoderKL: the keys that decide what is computed
// here.
type Config struct {
	// SampleSize is a picture's side in training. Pictures of any side are taken.
	SampleSize       int      `json:"sample_size,omitempty"`
	InChannels       int      `json:"in_channels"`
	OutChannels      int      `json:"out_channels"`
	DownBlockTypes   []string `json:"down_block_types"`
	UpBlockTypes     []string `json:"up_block_types"`
	BlockOutChannels []int    `json:"block_out_channels"`
	LayersPerBlock   int      `json:"layers_per_block"`
	LatentChannels   int      `json:"latent_channels"`
	NormNumGroups    int      `json:"norm_num_groups"`
	// ScalingFactor is what latents are multiplied by for the denoiser.
	ScalingFactor        float64 `json:"scaling_factor"`
	UseQuantConv         bool    `json:"use_quant_conv"`
	UsePostQuantConv     bool    `json:"use_post_quant_conv"`
	MidBlockAddAttention bool    `json:"mid_block_add_attention"`
	// ForceUpcast asks for float32 when the rest is float16. Here all is float32: it is kept for
	// those who read what Save writes.
	ForceUpcast bool `json:"force_upcast"`
}

// DefaultConfig returns the defaults of diffusers' class, which stand for the keys that older files
// lack.
func DefaultConfig() Config {
	return Config{
		InChannels: 3, OutChannels: 3,
		DownBlockTypes: []string{"DownEncoderBlock2D"}, UpBlockTypes: []string{"UpDecoderBlock2D"},
		BlockOutChannels: []int{64}, LayersPerBlock: 1, LatentChannels: 4, NormNumGroups: 32,
		ScalingFactor: 0.18215, UseQuantConv: true, UsePostQuantConv: true,
		MidBlockAddAttention: true, ForceUpcast: true,
	}
}

// implemented holds the further keys that change what is computed, and the values of them that are
// what this package computes.
var implemented = map[string][]any{
	"_class_name":  {"AutoencoderKL"},
	"act_fn":       {"silu", "SiLU", "swish"},
	"shift_factor": {nil, 0.0},
	"latents_mean": {nil},
	"latents_std":  {nil},
}

// ParseConfig reads a config.json. A key whose value asks for something else than is implemented is
// an error that names it.
func ParseConfig(text []byte) (Config, error) {
	file := struct {
		Config
		Size nn.Ints `json:"sample_size"` // a side, or height and width
	}{Config: DefaultConfig()}
	if err := nn.DecodeConfig(text, &file, implemented); err != nil {
		return Config{}, fmt.Errorf("vae: config.json: %w", err)
	}
	c := file.Config
	if len(file.Size) > 0 {
		c.SampleSize = file.Size[0]
	}
	return c, c.check()
}

func (c Config) check() error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("vae: config.json: "+format, args...)
	}
	if err := c.checkBounds(); err != nil {
		return fail("%w", err)
	}
	levels := len(c.BlockOutChannels)
	if levels == 0 || len(c.DownBlockTypes) != levels || len(c.UpBlockTypes) != levels {
		return fail("%d block_out_channels, %d down_block_types and %d up_block_types are not one "+
			"a level", levels, len(c.DownBlockTypes), len(c.UpBlockTypes))
	}
	for i := range levels {
		if t := c.DownBlockTypes[i]; t != "DownEncoderBlock2D" {
			return fail("down_block_types: %s is not supported", weights.Printable(t))
		}
		if t := c.UpBlockTypes[i]; t != "UpDecoderBlock2D" {
			return fail("up_block_types: %s is not supported", weights.Printable(t))
		}
	}
	if c.InChannels < 1 || c.OutChannels < 1 || c.LatentChannels < 1 ||
		c.LayersPerBlock < 1 || c.NormNumGroups < 1 || !(c.ScalingFactor > 0) {
		return fail("in_channels, out_channels, latent_channels, layers_per_block, " +
			"norm_num_groups or scaling_factor is not positive")
	}
	for _, channels := range c.BlockOutChannels {
		if channels < 1 || channels%c.NormNumGroups != 0 {
			return fail("block_out_channels has %d, which %d groups do not divide",
				channels, c.NormNumGroups)
		}
	}
	return nil
}

// Bounds that no network comes near. They are for files that nobody vouches for: a number beyond
// them is refused before it is reckoned with.
const (
	mostChannels = 1 << 20
	mostLayers   = 256     // of a level
	mostLevels   = 8       // each halves a picture; Stable Diffusion has 4
	mostSide     = 1 << 13 // of a picture
)

func (c Config) checkBounds() error {
	if n := len(c.BlockOutChannels); n > mostLevels {
		return fmt.Errorf("block_out_channels has %d levels, more than %d", n, mostLevels)
	}
	for _, k := range []struct {
		key  string
		all  []int
		most int
	}{
		{"sample_size", []int{c.SampleSize}, mostSide},
		{"in_channels", []int{c.InChannels}, mostChannels},
		{"out_channels", []int{c.OutChannels}, mostChannels},
		{"block_out_channels", c.BlockOutChannels, mostChannels},
		{"layers_per_block", []int{c.LayersPerBlock}, mostLayers},
		{"latent_channels", []int{c.LatentChannels}, mostChannels},
		{"norm_num_groups", []int{c.NormNumGroups}, mostChannels},
	} {
		for _, n := range k.all {
			if n < 0 || n > k.most {
				return fmt.Errorf("%s is %d, not between 0 and %d", k.key, n, k.most)
			}
		}
	}
	if !(c.ScalingFactor > 1e-6 && c.ScalingFactor < 1e6) {
		return fmt.Errorf("scaling_factor is %g, not between 1e-6 and 1e6", c.ScalingFactor)
	}
	return nil
}

// least is fewer weights than the network has, by a factor that no config makes large: convolutions
// of the encoder. It is a float so that no config overflows it.
func (c Config) least() float64 {
	latents, widths := float64(c.LatentChannels), c.BlockOutChannels
	sum := 9 * (float64(c.InChannels) + float64(c.OutChannels)) * float64(widths[0])
	sum += 18 * latents * float64(widths[len(widths)-1])
	if c.UseQuantConv {
		sum += 4 * latents * latents
	}
	for _, out := range c.BlockOutChannels {
		sum += 9 * float64(c.LayersPerBlock) * float64(out) * float64(out)
	}
	return sum
}
