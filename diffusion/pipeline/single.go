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
	"github.com/kudos-ml/kudos/diffusion/internal/original"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Where a checkpoint file keeps the parts.
const (
	unetPrefix = "model.diffusion_model."
	vaePrefix  = "first_stage_model."
	clipPrefix = "cond_stage_model.transformer.text_model." // SD 1
	openPrefix = "cond_stage_model.model."                  // SD 2
)

// LoadFile reads a checkpoint of one safetensors file, as the first Stable Diffusions were
// published: model.diffusion_model.*, first_stage_model.* and cond_stage_model.*. Other tensors are
// listed in Extra. A tensor of these three that the configs have no place for is an error that
// names it.
//
// Such a file holds no configs. They are read from the folder configs, which is laid out as a
// diffusers pipeline's. A config that is missing there is recognized from the tensors' shapes, if
// they are those of Stable Diffusion 1.x or 2.x. Two things cannot be recognized. configs/tokenizer
// must always be there. configs/scheduler must be there for a 2.x, whose files look the same
// whether they predict ε (2-base) or v (768-v), unless the file's metadata say it
// (modelspec.prediction_type).
func LoadFile(file, configs string) (*Pipeline, error) { return loadFile(file, configs, true) }

func loadFile(file, configs string, whole bool) (*Pipeline, error) {
	f, err := weights.Open(file)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	defer f.Close()
	base := filepath.Base(file)
	p := &Pipeline{Name: strings.TrimSuffix(base, filepath.Ext(base))}
	c, err := readConfigs(f, configs)
	if err != nil {
		return nil, err
	}
	p.Schedule, p.Tokenizer = c.schedule.InPipeline(), c.tokenizer
	if p.UNet, err = unet.NewWithin(c.unet, f.Size()); err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if p.VAE, err = vae.NewWithin(c.vae, f.Size()); err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if p.Text, err = clip.NewTextModelWithin(c.text, f.Size()); err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	levels := len(c.vae.BlockOutChannels)
	used := map[string]bool{}
	for _, part := range []struct {
		model any
		name  func(string) string
	}{
		{p.UNet, func(name string) string { return unetPrefix + original.UNet(c.unet, name) }},
		{p.VAE, func(name string) string { return vaePrefix + original.VAE(levels, name) }},
		{p.Text, textName(f)},
	} {
		read := whole || part.model != any(p.UNet)
		if err := loadPart(f, part.model, part.name, used, read); err != nil {
			return nil, fmt.Errorf("pipeline: %w", err)
		}
	}
	if !whole {
		p.unread = func() (*unet.UNet2DCondition, error) { return readUNet(file, c.unet) }
	}
	var strays []string
	for _, name := range f.Names() {
		switch {
		case used[name]:
		case isCore(name):
			strays = append(strays, name+" is not a tensor of this model")
		default:
			p.Extra = append(p.Extra, name)
		}
	}
	if len(strays) > 0 {
		return nil, fmt.Errorf("pipeline: %s does not fit its configs:\n\t%s",
			f.Name, strings.Join(strays, "\n\t"))
	}
	p.Tokenizer.Length = min(p.Tokenizer.Length, p.Text.Config.Positions)
	return p, p.check()
}

// isCore reports a tensor without which a checkpoint's model is another one. Beside these there are
// buffers, what only training needs, and, in OpenCLIP's text encoder, a last layer that Stable
// Diffusion 2 leaves out.
func isCore(name string) bool {
	for _, prefix := range []string{
		unetPrefix,
		vaePrefix + "encoder.",
		vaePrefix + "decoder.",
		clipPrefix + "encoder.",
	} {
		if strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}

// readUNet reads a checkpoint file's UNet.
func readUNet(file string, c unet.Config) (*unet.UNet2DCondition, error) {
	f, err := weights.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	u, err := unet.NewWithin(c, f.Size())
	if err != nil {
		return nil, err
	}
	name := func(name string) string { return unetPrefix + original.UNet(c, name) }
	return u, loadPart(f, u, name, map[string]bool{}, true)
}

// loadPart loads a model from those of f's tensors that name gives for its parameters, and notes
// that they are used. Where they are not to be read, they must be there and fit.
func loadPart(
	f *weights.File, model any, name func(string) string, used map[string]bool, read bool,
) error {
	names := map[string][]string{}
	for _, p := range nn.Parameters(model) {
		from := name(p.Name)
		names[from], used[from] = append(names[from], p.Name), true
	}
	part, err := f.Part(names)
	if err != nil {
		return err
	}
	if !read {
		return weights.Check(model, part, weights.Names{})
	}
	return weights.Load(model, part, weights.Names{})
}

// textName is the name in f of a text encoder's parameter.
func textName(f *weights.File) func(string) string {
	if isOpenCLIP(f) {
		return func(name string) string { return openPrefix + original.OpenCLIP(name) }
	}
	return func(name string) string { return clipPrefix + name }
}

func isOpenCLIP(f *weights.File) bool {
	_, ok := f.Shape(openPrefix + "token_embedding.weight")
	return ok
}

// configs is what a checkpoint file leaves to others.
type configs struct {
	unet      unet.Config
	vae       vae.Config
	text      clip.TextConfig
	tokenizer *tokenizer.Tokenizer
	schedule  *diffusion.Schedule
}

// readConfigs reads from a folder what it has, and takes the rest from the family that f's shapes
// tell.
func readConfigs(f *weights.File, dir string) (c configs, err error) {
	family := func() (configs, error) { return recognize(f) }
	published := false // the UNet's config is its family's
	for _, part := range []struct {
		file   string
		read   func(sub fs.FS) error
		absent func() error // nil: it must be there
	}{
		{
			"unet/config.json",
			func(sub fs.FS) error { c.unet, err = unet.ReadConfig(sub); return err },
			func() error { k, err := family(); c.unet, published = k.unet, true; return err },
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
			func() error { c.schedule, err = recognizeSchedule(f, c.unet); return err },
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
				"LoadFile needs a folder of configs that has %s", f.Name, part.file)
		default:
			if err := part.absent(); err != nil {
				return c, err
			}
		}
	}
	second := published && c.unet.CrossAttentionDim.At(0) == 1024
	if second && c.schedule.Prediction == diffusion.Velocity {
		c.unet.SampleSize = 96 // 2-768 is the one that predicts v
	}
	return c, nil
}

// The UNet's tensors whose shapes tell the families apart.
const (
	firstConv = unetPrefix + "input_blocks.0.0.weight"
	firstKey  = unetPrefix + "input_blocks.1.1.transformer_blocks.0.attn2.to_k.weight"
)

// recognize returns the configs of Stable Diffusion 1.x or 2.x, whichever f's shapes are: a text of
// 768 or of 1024 features.
func recognize(f *weights.File) (configs, error) {
	conv, _ := f.Shape(firstConv)
	key, _ := f.Shape(firstKey)
	if len(conv) == 4 && len(key) == 2 && conv[0] == 320 && key[0] == 320 {
		switch {
		case key[1] == 768 && !isOpenCLIP(f):
			return family(conv[1], key[1]), nil
		case key[1] == 1024 && isOpenCLIP(f):
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

// recognizeSchedule returns the schedule of Stable Diffusion with the prediction that f's metadata
// names; one that names none predicts ε if it is a 1.x.
func recognizeSchedule(f *weights.File, c unet.Config) (*diffusion.Schedule, error) {
	s := diffusion.StableDiffusion()
	switch says, ok := f.Metadata["modelspec.prediction_type"]; {
	case says == "epsilon" || !ok && c.CrossAttentionDim.At(0) == 768:
	case says == "v":
		s.Prediction = new("v_prediction")
	default:
		return nil, fmt.Errorf("pipeline: %s does not say whether it predicts ε or v, "+
			"and its shapes don't tell: LoadFile needs a folder of configs that has "+
			"scheduler/scheduler_config.json", f.Name)
	}
	return diffusion.NewSchedule(s)
}
