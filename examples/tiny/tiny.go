// Package tiny embeds the miniature Stable Diffusion: 64×64 pictures of coloured shapes.
//
// It is a complete text-to-image model in the ecosystem's own formats: a CLIP tokenizer and text
// encoder, an AutoencoderKL, a UNet2DConditionModel, a scheduler, and the CLIP that a reward is
// learned on. examples/tiny/train made every weight from scratch. They are stored in float16. The
// UNet was trained on captions that are often wrong, so that there is something for a reward to
// teach.
//
// README.md beside this file says how it was made and what it can do.
package tiny

import (
	"embed"
	"io/fs"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
)

//go:embed model
var model embed.FS

// FS returns the pipeline's folder as diffusers lays it out: model_index.json, tokenizer,
// text_encoder, unet, vae and scheduler. Beside them is the folder clip, a CLIPModel with its
// tokenizer and its preprocessor.
func FS() fs.FS {
	sub, err := fs.Sub(model, "model")
	if err != nil {
		panic(err) // the folder is embedded above
	}
	return sub
}

// CLIP loads the CLIP that rewards are learned on.
func CLIP() (*clip.Encoder, error) {
	sub, err := fs.Sub(FS(), "clip")
	if err != nil {
		return nil, err
	}
	return clip.LoadFS(sub)
}

// Wrong returns how often the captions that the UNet was trained on claim another value than their
// picture shows: a probability in [0,1] for each attribute.
func Wrong() shapes.Wrong { return shapes.Wrong{Count: 0.55, Colour: 0.53, Background: 0.5} }

// LoadCLIP is clip.Load, or CLIP if the name is empty.
func LoadCLIP(name string) (*clip.Encoder, error) {
	if name == "" {
		return CLIP()
	}
	return clip.Load(name)
}

// Pretraining is the distribution that the UNet was trained on: n drawn pictures, whose captions
// are as wrong as Wrong says.
func Pretraining(seed uint64, n int) dataset.Dataset {
	return shapes.World{Seed: seed, N: n, Wrong: Wrong()}
}

// Load loads the pipeline, whose name is tiny.
func Load() (*pipeline.Pipeline, error) {
	p, err := pipeline.LoadFS(FS())
	if err != nil {
		return nil, err
	}
	p.Name = "tiny"
	return p, nil
}
