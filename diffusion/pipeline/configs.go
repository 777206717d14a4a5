package pipeline

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/clip/tokenizer"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
)

// configs is what a checkpoint file leaves to others.
type configs struct {
	unet      unet.Config
	vae       vae.Config
	text      clip.TextConfig
	tokenizer *tokenizer.Tokenizer
	schedule  *diffusion.Schedule // nil where configs have none
	published bool                // the UNet's config is its family's
}

// readConfigs reads from a folder what it has, and takes the rest from the family that f's shapes
// tell.
func readConfigs(f content, dir string) (c configs, err error) {
	family := func() (configs, error) { return recognize(f) }
	for _, part := range []struct {
		file   string
		read   func(sub fs.FS) error
		absent func() error // nil: it must be there
	}{
		{
			"unet/config.json",
			func(sub fs.FS) error { c.unet, err = unet.ReadConfig(sub); return err },
			func() error { k, err := family(); c.unet, c.published = k.unet, true; return err },
		},
		{
			"vae/config.json",
			func(sub fs.FS) error { c.vae, err = vae.ReadConfig(sub); return err },
			func() error { k, err := family(); c.vae = k.vae; return err },
		},
		{
			"text_encoder/config.json",
			func(sub fs.FS) error { c.text, err = clip.ReadTextConfig(sub); return err },
			func() error { k, err := family(); c.text = k.text; return err },
		},
		{
			"scheduler/scheduler_config.json",
			func(sub fs.FS) error { c.schedule, err = diffusion.LoadScheduleFS(sub); return err },
			func() error { return nil },
		},
		{
			"tokenizer",
			func(sub fs.FS) error { c.tokenizer, err = tokenizer.LoadFS(sub); return err },
			nil,
		},
	} {
		folder, _, _ := strings.Cut(part.file, "/")
		_, statErr := os.Stat(filepath.Join(dir, filepath.FromSlash(part.file)))
		there := dir != "" && !errors.Is(statErr, fs.ErrNotExist)
		switch {
		case there:
			if err := part.read(os.DirFS(filepath.Join(dir, folder))); err != nil {
				return c, fmt.Errorf("pipeline: %s: %w (in %s)", folder, err, dir)
			}
		case part.absent == nil:
			return c, fmt.Errorf("pipeline: %s holds no tokenizer: "+
				"LoadFile needs a folder of configs that has %s, with the vocab.json and the "+
				"merges.txt of any Stable Diffusion of this version", f.Name, part.file)
		default:
			if err := part.absent(); err != nil {
				return c, err
			}
		}
	}
	return c, nil
}

// settleSize is the side of latents of the families: 2-768 is the one that predicts v.
func (c *configs) settleSize(s *diffusion.Schedule) {
	second := c.published && c.unet.CrossAttentionDim.At(0) == 1024
	if second && s.Prediction == diffusion.Velocity {
		c.unet.SampleSize = 96
	}
}

// The UNet's tensors whose shapes tell the families apart.
const (
	firstConv = "input_blocks.0.0.weight"
	firstKey  = "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
)

// recognize returns the configs of Stable Diffusion 1.x or 2.x, whichever f's shapes are: a text of
// 768 or of 1024 features.
func recognize(f content) (configs, error) {
	conv, _ := f.Shape(f.unetName(firstConv))
	key, _ := f.Shape(f.unetName(firstKey))
	text, _ := f.Shape(clipPrefix + "embeddings.token_embedding.weight") // of HF's names
	if len(conv) == 4 && len(key) == 2 && conv[0] == 320 && key[0] == 320 {
		switch {
		case key[1] == 768 && !f.isOpenCLIP():
			return family(conv[1], key[1]), nil
		case key[1] == 1024 && (f.isOpenCLIP() || !f.text || len(text) == 2 && text[1] == 1024):
			return family(conv[1], key[1]), nil
		}
	}
	return configs{}, fmt.Errorf("pipeline: %s has the shapes of neither Stable Diffusion 1.x "+
		"nor 2.x (%s is %v, %s is %v): LoadFile needs a folder with its configs",
		f.Name, firstConv, conv, firstKey, key)
}

// family is Stable Diffusion 1.x for texts of 768 features, 2.x for 1024, with the channels that
// its UNet reads.
func family(in, features int) configs {
	u, v, t := unet.DefaultConfig(), vae.DefaultConfig(), clip.DefaultTextConfig()
	u.SampleSize, u.InChannels, u.CrossAttentionDim[0] = 64, in, features
	v.SampleSize, v.BlockOutChannels, v.LayersPerBlock = 512, []int{128, 256, 512, 512}, 2
	v.DownBlockTypes = slices.Repeat(v.DownBlockTypes, 4)
	v.UpBlockTypes = slices.Repeat(v.UpBlockTypes, 4)
	t.Width, t.Intermediate, t.Layers, t.Heads = 768, 3072, 12, 12 // CLIP ViT-L/14
	if features == 1024 {
		u.AttentionHeadDim, u.UseLinearProjection = []int{5, 10, 20, 20}, true
		// OpenCLIP ViT-H/14 without its last layer.
		t.Width, t.Intermediate, t.Layers, t.Heads = 1024, 4096, 23, 16
		t.Activation = "gelu"
	}
	return configs{unet: u, vae: v, text: t}
}
