package pipeline

import (
	"fmt"
	"strings"

	"github.com/kudos-ml/kudos/diffusion/internal/original"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/weights"
)

// Where a checkpoint file keeps the parts.
const (
	unetPrefix = "model.diffusion_model."
	emaPrefix  = "model_ema." // averages of training
	vaePrefix  = "first_stage_model."
	textPrefix = "cond_stage_model."
	clipPrefix = textPrefix + "transformer.text_model." // SD 1
	openPrefix = textPrefix + "model."                  // SD 2
)

// attentions are the layers of the VAE's attention as later programs call them.
var attentions = strings.NewReplacer(
	".attn_1.to_q.", ".attn_1.q.", ".attn_1.to_k.", ".attn_1.k.", ".attn_1.to_v.", ".attn_1.v.",
	".attn_1.to_out.0.", ".attn_1.proj_out.", ".attn_1.group_norm.", ".attn_1.norm.",
	".attn_1.query.", ".attn_1.q.", ".attn_1.key.", ".attn_1.k.", ".attn_1.value.", ".attn_1.v.",
	".attn_1.proj_attn.", ".attn_1.proj_out.",
)

// canonical returns f under the names of the first checkpoints.
func canonical(f *weights.File) (*weights.File, error) {
	names := map[string][]string{}
	prefixed, second := false, false
	for _, name := range f.Names() {
		n := canonicalName(name)
		prefixed = prefixed || strings.HasPrefix(n, unetPrefix)
		second = second || strings.HasPrefix(n, "conditioner.embedders.1.")
		names[name] = []string{n}
	}
	for _, to := range names {
		first, _, _ := strings.Cut(to[0], ".")
		switch first {
		case "input_blocks", "middle_block", "output_blocks", "time_embed", "out":
			if !prefixed {
				to[0] = unetPrefix + to[0]
			}
		case "conditioner": // of the scripts for SDXL, which has two embedders
			if rest, ok := strings.CutPrefix(to[0], "conditioner.embedders.0."); ok && !second {
				to[0] = textPrefix + rest
			}
		}
	}
	return f.Part(names)
}

// canonicalName is a name without what programs have put around it.
func canonicalName(name string) string {
	for again := true; again; {
		before := name
		name = strings.TrimPrefix(weights.Unwrapped(name), "state_dict.")
		again = name != before
		if rest, ok := strings.CutPrefix(name, "model."); ok {
			for _, part := range []string{unetPrefix, emaPrefix, vaePrefix, textPrefix} {
				if strings.HasPrefix(rest, part) {
					name, again = rest, true
				}
			}
		}
	}
	switch {
	case strings.HasPrefix(name, "diffusion_model."):
		return "model." + name
	case strings.HasPrefix(name, emaPrefix):
		// Lightning's averages have names without dots.
		rest := strings.ReplaceAll(name[len(emaPrefix):], ".", "")
		return emaPrefix + strings.ReplaceAll(rest, "_orig_mod", "")
	case strings.HasPrefix(name, vaePrefix):
		return attentions.Replace(name)
	}
	const transformer = textPrefix + "transformer."
	if rest, ok := strings.CutPrefix(name, transformer); ok {
		first, _, _ := strings.Cut(rest, ".")
		switch first {
		case "embeddings", "encoder", "final_layer_norm": // as NovelAI's file has them
			return clipPrefix + rest
		}
	}
	return name
}

// A content is what a checkpoint file holds.
type content struct {
	*weights.File // under the names of the first checkpoints
	plain         bool
	average       bool
	vae, text     bool
}

// contentOf looks at a file, and refuses one that is no checkpoint of a Stable Diffusion 1 or 2.
func contentOf(f *weights.File) (content, error) {
	wrong := func(kind string) error {
		hint := ""
		if strings.HasPrefix(kind, "a LoRA") {
			hint = ": it changes a model and is none, and goes with one (-lora)"
		} else if strings.HasPrefix(kind, "a VAE") || strings.HasPrefix(kind, "a text encoder") {
			hint = ": it is one part of a model"
		}
		return fmt.Errorf("pipeline: %s is %s, not a checkpoint of Stable Diffusion 1 or 2%s",
			f.Name, kind, hint)
	}
	if quantized := f.Quantized(); quantized != "" {
		return content{}, fmt.Errorf("pipeline: %s is %s, which is not read: "+
			"bring the file in float16 that it was made from", f.Name, quantized)
	}
	kind := f.Kind()
	switch kind {
	case "", "a checkpoint of Stable Diffusion", "a UNet", "a VAE", "a text encoder", "a CLIP":
	default:
		return content{}, wrong(kind)
	}
	renamed, err := canonical(f)
	if err != nil {
		return content{}, fmt.Errorf("pipeline: %w", err)
	}
	c := content{File: renamed}
	for _, name := range renamed.Names() {
		c.plain = c.plain || strings.HasPrefix(name, unetPrefix)
		c.average = c.average || strings.HasPrefix(name, emaPrefix+"diffusion_model")
		c.vae = c.vae || strings.HasPrefix(name, vaePrefix)
		c.text = c.text || strings.HasPrefix(name, textPrefix)
	}
	if c.plain || c.average {
		return c, nil
	}
	if kind == "" || kind == "a checkpoint of Stable Diffusion" {
		kind = "a file without a UNet (" + unetPrefix + ")"
	}
	return c, wrong(kind)
}

// unetName is the name in the file of a UNet's tensor, by what original checkpoints call it.
func (c content) unetName(name string) string {
	if !c.plain && c.average {
		return emaPrefix + "diffusion_model" + strings.ReplaceAll(name, ".", "")
	}
	return unetPrefix + name
}

// unetParameter is the name in the file of a UNet's parameter.
func (c content) unetParameter(config unet.Config) func(string) string {
	return func(name string) string { return c.unetName(original.UNet(config, name)) }
}

// textParameter is the name in the file of a text encoder's parameter.
func (c content) textParameter(name string) string {
	if c.isOpenCLIP() {
		return openPrefix + original.OpenCLIP(name)
	}
	return clipPrefix + name
}

func (c content) isOpenCLIP() bool {
	_, ok := c.Shape(openPrefix + "token_embedding.weight")
	return ok
}
