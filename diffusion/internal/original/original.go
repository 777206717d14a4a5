// Package original has the names that the first Stable Diffusions' files give to a model's
// parameters, by those of diffusers and transformers, which are the models' own.
package original

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/kudos-ml/kudos/diffusion/unet"
)

// resnetNames are a residual block's layers by diffusers' names.
var resnetNames = map[string]string{
	"norm1":         "in_layers.0",
	"conv1":         "in_layers.2",
	"time_emb_proj": "emb_layers.1",
	"norm2":         "out_layers.0",
	"conv2":         "out_layers.3",
	"conv_shortcut": "skip_connection",
}

// UNet is the name of a UNet's parameter. A file counts the layers on
// the way down, and those on the way up, across the levels; a downsampling counts as a layer, an
// upsampling belongs to the one before it.
func UNet(c unet.Config, name string) string {
	p := strings.Split(name, ".")
	last := p[len(p)-1]
	switch p[0] {
	case "time_embedding":
		layers := map[string]string{"linear_1": "time_embed.0.", "linear_2": "time_embed.2."}
		return layers[p[1]] + last
	case "add_embedding":
		layers := map[string]string{"linear_1": "label_emb.0.0.", "linear_2": "label_emb.0.2."}
		return layers[p[1]] + last
	case "conv_in":
		return "input_blocks.0.0." + last
	case "conv_norm_out":
		return "out.0." + last
	case "conv_out":
		return "out.2." + last
	case "mid_block":
		if at := number(p[2]); p[1] == "resnets" {
			return fmt.Sprintf("middle_block.%d.%s", 2*at, resnetName(p[3:]))
		}
		return "middle_block.1." + strings.Join(p[3:], ".")
	}
	levels, level, at, way := len(c.BlockOutChannels), number(p[1]), number(p[3]), "input_blocks"
	for i := range level {
		if p[0] == "down_blocks" {
			at += c.LayersPerBlock.At(i) + 1
		} else {
			at += c.LayersPerBlock.At(levels-1-i) + 1
		}
	}
	if p[0] == "up_blocks" {
		way = "output_blocks"
	} else {
		at++ // conv_in
	}
	switch p[2] {
	case "downsamplers":
		return fmt.Sprintf("%s.%d.0.op.%s", way, at+c.LayersPerBlock.At(level), last)
	case "upsamplers":
		module := 1
		if c.UpBlockTypes[level] == "CrossAttnUpBlock2D" {
			module = 2
		}
		at += c.LayersPerBlock.At(levels - 1 - level)
		return fmt.Sprintf("%s.%d.%d.conv.%s", way, at, module, last)
	case "attentions":
		return fmt.Sprintf("%s.%d.1.%s", way, at, strings.Join(p[4:], "."))
	}
	return fmt.Sprintf("%s.%d.0.%s", way, at, resnetName(p[4:]))
}

func resnetName(p []string) string { return resnetNames[p[0]] + "." + p[1] }

// attentionNames are the VAE's attention by diffusers' names.
var attentionNames = map[string]string{
	"group_norm": "norm",
	"to_q":       "q",
	"to_k":       "k",
	"to_v":       "v",
	"to_out":     "proj_out",
}

// vaeNames are the VAE's layers outside of its attention.
var vaeNames = strings.NewReplacer("conv_norm_out", "norm_out", "conv_shortcut", "nin_shortcut")

// VAE is the name of a parameter of a VAE with so many levels. A file
// counts the decoder's levels from the last that is computed.
func VAE(levels int, name string) string {
	name = vaeNames.Replace(name)
	p := strings.Split(name, ".")
	if len(p) < 4 {
		return name
	}
	last, rest := p[len(p)-1], strings.Join(p[4:], ".")
	switch p[1] + " " + p[2] {
	case "mid_block resnets":
		return fmt.Sprintf("%s.mid.block_%d.%s", p[0], number(p[3])+1, rest)
	case "mid_block attentions":
		return fmt.Sprintf("%s.mid.attn_1.%s.%s", p[0], attentionNames[p[4]], last)
	}
	way, level := "down", number(p[2])
	if p[1] == "up_blocks" {
		way, level = "up", levels-1-level
	}
	if p[3] == "resnets" {
		return fmt.Sprintf("%s.%s.%d.block.%s", p[0], way, level, rest)
	}
	return fmt.Sprintf("%s.%s.%d.%ssample.conv.%s", p[0], way, level, way, last)
}

// OpenCLIP is OpenCLIP's name of a text encoder's parameter. Query, key and value are one tensor
// there, in this order.
func OpenCLIP(name string) string { return openNames.Replace(name) }

var openNames = strings.NewReplacer(
	"embeddings.token_embedding.weight", "token_embedding.weight",
	"embeddings.position_embedding.weight", "positional_embedding",
	"final_layer_norm", "ln_final",
	"encoder.layers", "transformer.resblocks",
	"layer_norm1", "ln_1",
	"layer_norm2", "ln_2",
	"mlp.fc1", "mlp.c_fc",
	"mlp.fc2", "mlp.c_proj",
	"self_attn.out_proj", "attn.out_proj",
	"self_attn.q_proj.", "attn.in_proj_",
	"self_attn.k_proj.", "attn.in_proj_",
	"self_attn.v_proj.", "attn.in_proj_",
)

// number is a name's index, which a walk over the model's fields has written.
func number(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		panic(fmt.Sprintf("original: %q is no index", s))
	}
	return n
}
