package unet

import (
	"fmt"

	"github.com/kudos-ml/kudos/internal/nn"
)

// A Config is diffusers' config.json of a UNet2DConditionModel: the keys that decide what is computed here.
type Config struct {
	SampleSize                int      `json:"sample_size,omitempty"` // latent's side in training; any is taken
	InChannels                int      `json:"in_channels"`
	OutChannels               int      `json:"out_channels"`
	FlipSinToCos              bool     `json:"flip_sin_to_cos"`
	FreqShift                 float64  `json:"freq_shift"`
	DownBlockTypes            []string `json:"down_block_types"` // CrossAttnDownBlock2D or DownBlock2D
	UpBlockTypes              []string `json:"up_block_types"`   // CrossAttnUpBlock2D or UpBlock2D
	BlockOutChannels          []int    `json:"block_out_channels"`
	LayersPerBlock            nn.Ints  `json:"layers_per_block"`
	DownsamplePadding         int      `json:"downsample_padding"`
	NormNumGroups             int      `json:"norm_num_groups"`
	NormEps                   float64  `json:"norm_eps"`
	CrossAttentionDim         nn.Ints  `json:"cross_attention_dim"`
	TransformerLayersPerBlock nn.Ints  `json:"transformer_layers_per_block"`
	// AttentionHeadDim is the number of heads, one or one a level; the key's name is a mistake that every
	// checkpoint has.
	AttentionHeadDim    nn.Ints `json:"attention_head_dim"`
	UseLinearProjection bool    `json:"use_linear_projection"`
}

// DefaultConfig returns the defaults of diffusers' class, which stand for the keys that older files lack.
func DefaultConfig() Config {
	cross, up := "CrossAttnDownBlock2D", "CrossAttnUpBlock2D"
	return Config{
		InChannels: 4, OutChannels: 4, FlipSinToCos: true,
		DownBlockTypes:   []string{cross, cross, cross, "DownBlock2D"},
		UpBlockTypes:     []string{"UpBlock2D", up, up, up},
		BlockOutChannels: []int{320, 640, 1280, 1280},
		LayersPerBlock:   nn.Ints{2}, DownsamplePadding: 1,
		NormNumGroups: 32, NormEps: 1e-5,
		CrossAttentionDim: nn.Ints{1280}, TransformerLayersPerBlock: nn.Ints{1},
		AttentionHeadDim: nn.Ints{8},
	}
}

// implemented holds the values of further keys that are what this package computes.
var implemented = map[string]any{
	"_class_name": "UNet2DConditionModel", "act_fn": "silu", "mid_block_type": "UNetMidBlock2DCrossAttn", "mid_block_scale_factor": 1.0,
	"resnet_time_scale_shift": "default", "resnet_out_scale_factor": 1.0, "time_embedding_type": "positional",
	"conv_in_kernel": 3.0, "conv_out_kernel": 3.0, "attention_type": "default",
}

// ParseConfig reads a config.json. A key whose value asks for something else than is implemented is an error that
// names it.
func ParseConfig(text []byte) (Config, error) {
	c := DefaultConfig()
	// Dropout is for training only and off in every released model; upcasting changes nothing in float32; the number of
	// embedding heads matters only with an embedding type, which is refused.
	err := nn.DecodeConfig(text, &c, implemented, "dropout", "upcast_attention", "addition_embed_type_num_heads")
	if err != nil {
		return Config{}, fmt.Errorf("unet: config.json: %w", err)
	}
	return c, c.check()
}

func (c Config) check() error {
	levels := len(c.BlockOutChannels)
	fail := func(format string, args ...any) error { return fmt.Errorf("unet: config.json: "+format, args...) }
	if levels == 0 || len(c.DownBlockTypes) != levels || len(c.UpBlockTypes) != levels {
		return fail("%d block_out_channels, %d down_block_types and %d up_block_types are not one a level", levels, len(c.DownBlockTypes), len(c.UpBlockTypes))
	}
	for key, list := range map[string]nn.Ints{
		"layers_per_block": c.LayersPerBlock, "cross_attention_dim": c.CrossAttentionDim,
		"transformer_layers_per_block": c.TransformerLayersPerBlock, "attention_head_dim": c.AttentionHeadDim,
	} {
		if len(list) != 1 && len(list) != levels {
			return fail("%s has %d numbers, not 1 or %d", key, len(list), levels)
		}
		for _, n := range list {
			if n < 1 {
				return fail("%s has %d in it", key, n)
			}
		}
	}
	if c.InChannels < 1 || c.OutChannels < 1 || c.NormNumGroups < 1 || !(c.NormEps > 0) || c.DownsamplePadding < 0 || c.DownsamplePadding > 1 {
		return fail("in_channels, out_channels, norm_num_groups, norm_eps or downsample_padding is out of range")
	}
	for i, channels := range c.BlockOutChannels {
		if channels < 1 || channels%c.NormNumGroups != 0 {
			return fail("block_out_channels has %d, which %d groups do not divide", channels, c.NormNumGroups)
		}
		down, up := c.DownBlockTypes[i], c.UpBlockTypes[i]
		if down != "CrossAttnDownBlock2D" && down != "DownBlock2D" {
			return fail("down_block_types: %s is not supported", down)
		}
		if up != "CrossAttnUpBlock2D" && up != "UpBlock2D" {
			return fail("up_block_types: %s is not supported", up)
		}
		if c.attends(i) && channels%c.AttentionHeadDim.At(i) != 0 {
			return fail("%d channels are not divided by %d heads (attention_head_dim)", channels, c.AttentionHeadDim.At(i))
		}
	}
	return nil
}

// least is fewer weights than the network has, by a factor of some layers_per_block at most: on the way down, with one attention a level. It is a float so that no config overflows it.
func (c Config) least() float64 {
	sum := 9 * float64(c.InChannels+c.OutChannels) * float64(c.BlockOutChannels[0])
	for i, out := range c.BlockOutChannels {
		sum += 9 * float64(c.LayersPerBlock.At(i)) * float64(out) * float64(out)
		if c.attends(i) {
			sum += float64(c.TransformerLayersPerBlock.At(i)) * float64(out) * (16*float64(out) + 2*float64(c.CrossAttentionDim.At(i)))
		}
	}
	return sum
}

// attends reports whether a level has transformers, on the way down, up, or in the middle.
func (c Config) attends(level int) bool {
	levels := len(c.BlockOutChannels)
	return c.DownBlockTypes[level] == "CrossAttnDownBlock2D" || c.UpBlockTypes[levels-1-level] == "CrossAttnUpBlock2D" || level == levels-1
}
