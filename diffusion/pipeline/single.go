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
	"github.com/kudos-ml/kudos/diffusion/internal/original"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// LoadFile reads a checkpoint of one safetensors file, as the first Stable Diffusions were
// published: model.diffusion_model.*, first_stage_model.* and cond_stage_model.*, also where
// programs have left their own names around these (_orig_mod., module.) or inside of them
// (NovelAI's text encoder). Where a file has the UNet's numbers and their average (model_ema.), it
// is the numbers that count, as in diffusers; a file that has the average alone is read as that,
// and Notes say so. Other tensors are listed in Extra. A tensor of the three that the configs have
// no place for is an error that names it.
//
// A file of another kind (a LoRA, a VAE, an SDXL, quantized numbers) is an error that says what it
// is.
//
// Such a file holds no configs. They are read from the folder configs, which is laid out as a
// diffusers pipeline's. A config that is missing there is recognized from the tensors' shapes, if
// they are those of Stable Diffusion 1.x or 2.x. Two things cannot be recognized. configs/tokenizer
// must always be there. For a 2.x, whose files look the same whether they predict ε (2-base) or v
// (768-v), there must be configs/scheduler, or the file says it: by the .yaml that lies beside it
// under its name, or alone in configs (v2-inference-v.yaml); by a tensor v_pred; or by its metadata
// (modelspec.prediction_type). A 1.x predicts ε if nothing says otherwise. What disagrees is an
// error; but metadata, which are often copied, give way, and Notes say so.
//
// A file without a VAE or a text encoder needs the folder configs/vae or configs/text_encoder to
// have weights too, or a VAE beside it under its name and .vae.safetensors.
func LoadFile(file, configs string) (*Pipeline, error) { return loadFile(file, configs, true) }

func loadFile(file, configs string, whole bool) (*Pipeline, error) {
	opened, err := weights.Open(file)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	defer opened.Close()
	f, err := contentOf(opened)
	if err != nil {
		return nil, folderOf(opened, err)
	}
	base := filepath.Base(file)
	p := &Pipeline{Name: strings.TrimSuffix(base, filepath.Ext(base))}
	c, err := readConfigs(f, configs)
	if err != nil {
		return nil, err
	}
	schedule, notes, err := f.settleSchedule(c.schedule, c.unet, file, configs)
	if err != nil {
		return nil, err
	}
	c.settleSize(schedule)
	p.Schedule, p.Tokenizer, p.Notes = schedule.InPipeline(), c.tokenizer, notes
	if !f.plain {
		p.Notes = append(p.Notes, fmt.Sprintf("%s holds no weights of the UNet but their average "+
			"over the training (model_ema), which is read", file))
	}
	if p.UNet, err = unet.NewWithin(c.unet, f.Size()); err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	used := map[string]bool{}
	if err := loadPart(f.File, p.UNet, f.unetParameter(c.unet), used, whole); err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	var from string
	if p.VAE, from, err = f.loadVAE(c, file, configs, used); err != nil {
		return nil, err
	}
	if !f.vae {
		p.Notes = append(p.Notes, fmt.Sprintf("%s holds no VAE: that of %s is read", file, from))
	}
	if p.Text, err = f.loadText(c, configs, used); err != nil {
		return nil, err
	}
	if !f.text {
		p.Notes = append(p.Notes, fmt.Sprintf("%s holds no text encoder: that of %s is read", file,
			filepath.Join(configs, "text_encoder")))
	}
	if !whole {
		p.unread = func() (*unet.UNet2DCondition, error) { return readUNet(file, c.unet) }
	}
	if p.Extra, err = f.extra(used); err != nil {
		return nil, err
	}
	p.Tokenizer.Length = min(p.Tokenizer.Length, p.Text.Config.Positions)
	return p, p.check()
}

// folderOf adds to the error of a file that is one part of a folder that the folder can be named.
func folderOf(f *weights.File, err error) error {
	dir := filepath.Dir(filepath.Dir(f.Name))
	if !slices.Contains([]string{"a UNet", "a VAE", "a text encoder", "a CLIP"}, f.Kind()) {
		return err
	}
	if _, missing := os.Stat(filepath.Join(dir, indexFile)); missing != nil {
		return err
	}
	return fmt.Errorf("%w: it lies in the folder of a model, which is to be named: %s", err, dir)
}

// extra are the tensors of a file that are not used. Those without which the file's model is
// another are an error.
func (c content) extra(used map[string]bool) (extra []string, err error) {
	var strays []string
	for _, name := range c.Names() {
		switch {
		case used[name] || name == unetPrefix+"v_pred" || name == unetPrefix+"ztsnr":
		case isCore(name) || !c.plain && strings.HasPrefix(name, emaPrefix+"diffusion_model"):
			strays = append(strays, weights.Printable(name)+" is not a tensor of this model")
		default:
			extra = append(extra, name)
		}
	}
	if len(strays) > 0 {
		return nil, fmt.Errorf("pipeline: %s does not fit its configs:%s",
			c.Name, weights.Few(strays))
	}
	return extra, nil
}

// loadVAE reads the VAE of a file, or one that lies elsewhere, which it names.
func (c content) loadVAE(
	k configs, file, dir string, used map[string]bool,
) (v *vae.AutoencoderKL, elsewhere string, err error) {
	levels := len(k.vae.BlockOutChannels)
	name := func(name string) string { return vaePrefix + original.VAE(levels, name) }
	from, own := c.File, used
	if !c.vae {
		beside := strings.TrimSuffix(file, filepath.Ext(file)) + ".vae.safetensors"
		f, err := weights.Open(beside)
		switch {
		case err == nil:
			defer f.Close()
			from, own, elsewhere = f, map[string]bool{}, beside
			if _, ok := f.Shape(vaePrefix + "decoder.conv_in.weight"); !ok {
				name = func(name string) string { return original.VAE(levels, name) }
			}
		case !errors.Is(err, fs.ErrNotExist):
			return nil, "", fmt.Errorf("pipeline: %w", err)
		default:
			folder := filepath.Join(dir, "vae")
			v, err := vae.LoadFS(os.DirFS(folder))
			if errors.Is(err, fs.ErrNotExist) {
				return nil, "", fmt.Errorf("pipeline: %s holds no VAE: put one in %s, with its "+
					"config.json, or beside the file as %s", c.Name, folder, filepath.Base(beside))
			}
			return v, folder, inFolder(err, dir, "vae")
		}
	}
	if v, err = vae.NewWithin(k.vae, from.Size()); err != nil {
		return nil, "", fmt.Errorf("pipeline: %w", err)
	}
	if err := loadPart(from, v, name, own, true); err != nil {
		return nil, "", fmt.Errorf("pipeline: %w", err)
	}
	return v, elsewhere, nil
}

// inFolder adds to an error the folder of configs that it came from.
func inFolder(err error, dir, part string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("pipeline: %s: %w (in %s)", part, err, dir)
}

// loadText reads the text encoder of a file, or that of the folder of configs.
func (c content) loadText(
	k configs, dir string, used map[string]bool,
) (*clip.TextModel, error) {
	if !c.text {
		m, err := clip.LoadTextFS(os.DirFS(filepath.Join(dir, "text_encoder")))
		if errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("pipeline: %s holds no text encoder: put one in %s, with its "+
				"config.json", c.Name, filepath.Join(dir, "text_encoder"))
		}
		return m, inFolder(err, dir, "text_encoder")
	}
	m, err := clip.NewTextModelWithin(k.text, c.Size())
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if err := loadPart(c.File, m, c.textParameter, used, true); err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	return m, nil
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
	opened, err := weights.Open(file)
	if err != nil {
		return nil, err
	}
	defer opened.Close()
	f, err := contentOf(opened)
	if err != nil {
		return nil, err
	}
	u, err := unet.NewWithin(c, f.Size())
	if err != nil {
		return nil, err
	}
	return u, loadPart(f.File, u, f.unetParameter(c), map[string]bool{}, true)
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
