package unet

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A Config is diffusers' config.json of a UNet2DConditionModel: the keys that decide what is
// computed here.
type Config struct {
	// SampleSize is a latent's side in training. Latents of any side are taken.
	SampleSize   int     `json:"sample_size,omitempty"`
	InChannels   int     `json:"in_channels"`
	OutChannels  int     `json:"out_channels"`
	FlipSinToCos bool    `json:"flip_sin_to_cos"`
	FreqShift    float64 `json:"freq_shift"`
	// DownBlockTypes are CrossAttnDownBlock2D or DownBlock2D, one a level.
	DownBlockTypes []string `json:"down_block_types"`
	// UpBlockTypes are CrossAttnUpBlock2D or UpBlock2D, one a level.
	UpBlockTypes              []string `json:"up_block_types"`
	BlockOutChannels          []int    `json:"block_out_channels"`
	LayersPerBlock            nn.Ints  `json:"layers_per_block"`
	DownsamplePadding         int      `json:"downsample_padding"`
	NormNumGroups             int      `json:"norm_num_groups"`
	NormEps                   float64  `json:"norm_eps"`
	CrossAttentionDim         nn.Ints  `json:"cross_attention_dim"`
	TransformerLayersPerBlock nn.Ints  `json:"transformer_layers_per_block"`
	// ReverseTransformerLayersPerBlock is TransformerLayersPerBlock of the way up, from its first
	// level on. Nil is the same as on the way down.
	ReverseTransformerLayersPerBlock []int `json:"reverse_transformer_layers_per_block,omitempty"`
	// AttentionHeadDim is the number of attention heads, one number for all levels or one for each.
	// The key's name is a mistake that every checkpoint has.
	AttentionHeadDim    nn.Ints `json:"attention_head_dim"`
	UseLinearProjection bool    `json:"use_linear_projection"`
	// TimeEmbeddingDim is the length of what timesteps become. 0 is four times the first of
	// BlockOutChannels.
	TimeEmbeddingDim int `json:"time_embedding_dim,omitempty"`
	// AdditionEmbedType is empty, or text_time: the network reads a condition's pooled vector and
	// sizes too, as SDXL's does. Each size becomes AdditionTimeEmbedDim numbers, as a timestep
	// does, and the pooled vector with all of them ProjectionClassEmbeddingsInputDim.
	AdditionEmbedType    string `json:"addition_embed_type,omitempty"`
	AdditionTimeEmbedDim int    `json:"addition_time_embed_dim,omitempty"`

	ProjectionClassEmbeddingsInputDim int `json:"projection_class_embeddings_input_dim,omitempty"`
	// UpcastAttention asks for float32 in attention when the rest is float16. Here all is float32:
	// it is kept for those who read what Save writes.
	UpcastAttention bool `json:"upcast_attention,omitempty"`
}

// DefaultConfig returns the defaults of diffusers' class, which stand for the keys that older files
// lack.
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

// implemented holds the further keys that change what is computed, and the values of them that are
// what this package computes. Keys of diffusers that are not here change nothing:
// resnet_skip_time_act, resnet_out_scale_factor, cross_attention_norm and
// mid_block_only_cross_attention are of blocks, addition_embed_type_num_heads of embeddings, that
// are refused; dropout is for training only and off in every released model.
var implemented = map[string][]any{
	"_class_name":             {"UNet2DConditionModel"},
	"act_fn":                  {"silu", "SiLU", "swish"},
	"mid_block_type":          {"UNetMidBlock2DCrossAttn"},
	"mid_block_scale_factor":  {1.0},
	"resnet_time_scale_shift": {"default"},
	"time_embedding_type":     {"positional"},
	"attention_type":          {"default", nil},
	"conv_in_kernel":          {3.0},
	"conv_out_kernel":         {3.0},
	"center_input_sample":     off,
	"only_cross_attention":    off,
	"dual_cross_attention":    off,
	"num_attention_heads":     off,
	"time_embedding_act_fn":   off,
	"timestep_post_act":       off,
	"time_cond_proj_dim":      off,
	"encoder_hid_dim":         off,
	"encoder_hid_dim_type":    off,
	"class_embed_type":        off,
	"num_class_embeds":        off,
	"class_embeddings_concat": off,
}

var off = []any{nil, false}

// textTime is the AdditionEmbedType of SDXL.
const textTime = "text_time"

// ParseConfig reads a config.json. A key whose value asks for something else than is implemented is
// an error that names it.
func ParseConfig(text []byte) (Config, error) {
	file := struct {
		Config
		Size nn.Ints `json:"sample_size"` // a side, or height and width
	}{Config: DefaultConfig()}
	if err := nn.DecodeConfig(text, &file, implemented); err != nil {
		return Config{}, fmt.Errorf("unet: config.json: %w", err)
	}
	c := file.Config
	if len(file.Size) > 2 {
		return Config{}, fmt.Errorf("unet: config.json: sample_size has %d numbers", len(file.Size))
	}
	for _, side := range file.Size {
		if side != file.Size[0] {
			return Config{}, fmt.Errorf("unet: config.json: sample_size: %v is not supported: "+
				"it is no square", file.Size)
		}
		c.SampleSize = side
	}
	if c.AdditionEmbedType == "" { // of embeddings that are not there
		c.AdditionTimeEmbedDim, c.ProjectionClassEmbeddingsInputDim = 0, 0
	}
	for _, types := range [][]string{c.DownBlockTypes, c.UpBlockTypes} {
		for i, t := range types {
			// The first versions of diffusers put this before the names.
			types[i] = strings.TrimPrefix(t, "UNetRes")
		}
	}
	return c, c.check()
}

func (c Config) check() error {
	levels := len(c.BlockOutChannels)
	fail := func(format string, args ...any) error {
		return fmt.Errorf("unet: config.json: "+format, args...)
	}
	if err := c.checkBounds(); err != nil {
		return fail("%w", err)
	}
	if levels == 0 || len(c.DownBlockTypes) != levels || len(c.UpBlockTypes) != levels {
		return fail("%d block_out_channels, %d down_block_types and %d up_block_types are not one "+
			"a level", levels, len(c.DownBlockTypes), len(c.UpBlockTypes))
	}
	for key, list := range map[string]nn.Ints{
		"layers_per_block":             c.LayersPerBlock,
		"cross_attention_dim":          c.CrossAttentionDim,
		"transformer_layers_per_block": c.TransformerLayersPerBlock,
		"attention_head_dim":           c.AttentionHeadDim,
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
	if c.InChannels < 1 || c.OutChannels < 1 || c.NormNumGroups < 1 || !(c.NormEps > 0) ||
		c.DownsamplePadding < 0 || c.DownsamplePadding > 1 {
		return fail("in_channels, out_channels, norm_num_groups, norm_eps or " +
			"downsample_padding is out of range")
	}
	up := c.ReverseTransformerLayersPerBlock
	if up != nil && (len(up) != levels || slices.Min(up) < 1) {
		return fail("reverse_transformer_layers_per_block is %v, not %d numbers above 0",
			up, levels)
	}
	if c.TimeEmbeddingDim < 0 {
		return fail("time_embedding_dim is %d", c.TimeEmbeddingDim)
	}
	switch c.AdditionEmbedType {
	case "":
	case textTime:
		if c.AdditionTimeEmbedDim < 2 || c.ProjectionClassEmbeddingsInputDim < 1 {
			return fail("addition_embed_type is text_time, with addition_time_embed_dim %d and "+
				"projection_class_embeddings_input_dim %d",
				c.AdditionTimeEmbedDim, c.ProjectionClassEmbeddingsInputDim)
		}
	default:
		return fail("addition_embed_type: %q is not supported", c.AdditionEmbedType)
	}
	for i, channels := range c.BlockOutChannels {
		if channels < 1 || channels%c.NormNumGroups != 0 {
			return fail("block_out_channels has %d, which %d groups do not divide",
				channels, c.NormNumGroups)
		}
		down, up := c.DownBlockTypes[i], c.UpBlockTypes[i]
		if down != "CrossAttnDownBlock2D" && down != "DownBlock2D" {
			return fail("down_block_types: %s is not supported", weights.Printable(down))
		}
		if up != "CrossAttnUpBlock2D" && up != "UpBlock2D" {
			return fail("up_block_types: %s is not supported", weights.Printable(up))
		}
		if c.attends(i) && channels%c.AttentionHeadDim.At(i) != 0 {
			return fail("%d channels are not divided by %d heads (attention_head_dim)",
				channels, c.AttentionHeadDim.At(i))
		}
	}
	return nil
}

// Bounds that no network comes near. They are for files that nobody vouches for: a number beyond
// them is refused before it is reckoned with.
const (
	mostChannels = 1 << 20
	mostLayers   = 256  // of a level, or of a transformer, and the levels themselves
	mostSide     = 1024 // of a latent; Stable Diffusion has 64 to 128
)

func (c Config) checkBounds() error {
	for _, k := range []struct {
		key  string
		all  []int
		most int
	}{
		{"sample_size", []int{c.SampleSize}, mostSide},
		{"in_channels", []int{c.InChannels}, mostChannels},
		{"out_channels", []int{c.OutChannels}, mostChannels},
		{"block_out_channels", c.BlockOutChannels, mostChannels},
		{"layers_per_block", c.LayersPerBlock, mostLayers},
		{"norm_num_groups", []int{c.NormNumGroups}, mostChannels},
		{"cross_attention_dim", c.CrossAttentionDim, mostChannels},
		{"transformer_layers_per_block", c.TransformerLayersPerBlock, mostLayers},
		{
			"reverse_transformer_layers_per_block", c.ReverseTransformerLayersPerBlock,
			mostLayers,
		},
		{"attention_head_dim", c.AttentionHeadDim, mostChannels},
		{"time_embedding_dim", []int{c.TimeEmbeddingDim}, mostChannels},
		{"addition_time_embed_dim", []int{c.AdditionTimeEmbedDim}, mostChannels},
		{
			"projection_class_embeddings_input_dim", []int{c.ProjectionClassEmbeddingsInputDim},
			mostChannels,
		},
	} {
		if len(k.all) > mostLayers {
			return fmt.Errorf("%s has %d numbers", k.key, len(k.all))
		}
		for _, n := range k.all {
			if n < 0 || n > k.most {
				return fmt.Errorf("%s is %d, not between 0 and %d", k.key, n, k.most)
			}
		}
	}
	if !(c.NormEps < 1) {
		return fmt.Errorf("norm_eps is %g", c.NormEps)
	}
	for _, n := range c.BlockOutChannels[:min(1, len(c.BlockOutChannels))] {
		if !(math.Abs(c.FreqShift) < max(2, float64(n))/2) {
			return fmt.Errorf("freq_shift is %g, not less than half of %d channels", c.FreqShift, n)
		}
	}
	return nil
}

// least is a lower bound of the network's number of weights, too low by a factor of a few
// layers_per_block at most. It counts the way down with one attention a level, and the attentions
// of the way up. It is a float so that no config overflows it.
func (c Config) least() float64 {
	time := float64(c.timeChannels())
	ends := float64(c.InChannels) + float64(c.OutChannels)
	sum := 9*ends*float64(c.BlockOutChannels[0]) + time*time
	if c.AdditionEmbedType != "" {
		sum += time * (time + float64(c.ProjectionClassEmbeddingsInputDim))
	}
	for i, out := range c.BlockOutChannels {
		sum += 9 * float64(c.LayersPerBlock.At(i)) * float64(out) * float64(out)
		layer := float64(out) * (16*float64(out) + 2*float64(c.CrossAttentionDim.At(i)))
		if c.DownBlockTypes[i] == "CrossAttnDownBlock2D" || i == len(c.BlockOutChannels)-1 {
			sum += float64(c.TransformerLayersPerBlock.At(i)) * layer
		}
		if c.UpBlockTypes[len(c.UpBlockTypes)-1-i] == "CrossAttnUpBlock2D" {
			sum += float64(c.upLayers(i)) * layer
		}
	}
	return sum
}

// timeChannels is the length of the vectors that timesteps become.
func (c Config) timeChannels() int { return cmp.Or(c.TimeEmbeddingDim, 4*c.BlockOutChannels[0]) }

// upLayers is the number of blocks of a transformer on the way up, at a level counted as on the way
// down.
func (c Config) upLayers(level int) int {
	if up := c.ReverseTransformerLayersPerBlock; up != nil {
		return up[len(up)-1-level]
	}
	return c.TransformerLayersPerBlock.At(level)
}

// attends reports whether a level has transformers, on the way down, up, or in the middle.
func (c Config) attends(level int) bool {
	levels := len(c.BlockOutChannels)
	return c.DownBlockTypes[level] == "CrossAttnDownBlock2D" ||
		c.UpBlockTypes[levels-1-level] == "CrossAttnUpBlock2D" ||
		level == levels-1
}
