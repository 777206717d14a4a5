package pipeline

import (
	"encoding/json"
	"errors"
	"fmt"
	"image"
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
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/hub"
	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// A Pipeline is a Stable Diffusion 1 or 2.
type Pipeline struct {
	Name      string // names the model in the samples it makes: the folder's name
	Tokenizer *tokenizer.Tokenizer
	Text      *clip.TextModel
	UNet      *unet.UNet2DCondition
	VAE       *vae.AutoencoderKL
	Schedule  *diffusion.Schedule

	// Machine is how everything is computed: in which precision, on which device. What is wanted of
	// a machine is set.
	Machine kernels.Config

	frame   image.Point                           // the size of pictures; zero: see Frame
	network Network                               // where UNet is nil; see With
	unread  func() (*unet.UNet2DCondition, error) // reads the UNet that LoadFrozen left out

	// Extra lists the tensors of a checkpoint file (LoadFile) that no part has; files carry
	// averages of training, buffers and unused layers.
	Extra []string
	// Notes are sentences on how a checkpoint file was read, where that is not a matter of course.
	Notes []string
}

// A Network is a denoiser that a Pipeline makes pictures with. *unet.UNet2DCondition is one. It
// says of latents what the Prediction of the Pipeline's Schedule names. Its condition is the text
// encoder's last hidden state, or what Request.Conditions has in its place.
type Network interface {
	diffusion.Denoiser
	// Latents returns the shape [side,side,channels] of the latents that it was trained on.
	Latents() (side, channels int)
}

// denoiser is the UNet, or what With has put in its place; nil if there is neither.
func (p *Pipeline) denoiser() Network {
	if p.UNet != nil {
		return p.UNet
	}
	return p.network
}

const indexFile = "model_index.json"

// Load reads a model by its name:
//
//   - a folder as diffusers' StableDiffusionPipeline writes it: model_index.json, tokenizer,
//     text_encoder, unet, vae and scheduler; or the path of its model_index.json;
//   - a checkpoint file, for which see LoadFile, with the configs that lie in the file's folder;
//   - a repository of the Hugging Face hub, ORG/NAME, whose main branch is in this machine's cache
//     (HF_HUB_CACHE, HF_HOME or ~/.cache/huggingface, as huggingface_hub has it). Nothing is
//     downloaded.
func Load(name string) (*Pipeline, error) { return load(name, true) }

// LoadFrozen is Load without the numbers of the UNet, which are most of a model's. They are zeros
// that take no memory until LoadUNet reads them. So pictures and prompts can be encoded in that
// memory before. What needs the numbers earlier is an *UnreadError.
func LoadFrozen(name string) (*Pipeline, error) { return load(name, false) }

// LoadUNet reads the UNet that LoadFrozen left out, and replaces p.UNet by it. It is an error if
// the UNet is there already.
func (p *Pipeline) LoadUNet() error {
	if p.unread == nil {
		return errors.New("pipeline: there is no UNet to read: " +
			"the pipeline is not LoadFrozen's, or it was read")
	}
	u, err := p.unread()
	if err != nil {
		return fmt.Errorf("pipeline: unet: %w", err)
	}
	p.UNet, p.unread = u, nil
	return nil
}

func load(name string, whole bool) (*Pipeline, error) {
	path, cached, err := hub.Find(name)
	if err != nil {
		return nil, fmt.Errorf("pipeline: %w", err)
	}
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		if filepath.Base(path) == indexFile {
			return loadFolder(filepath.Dir(path), whole)
		}
		return loadFile(path, filepath.Dir(path), whole)
	}
	p, err := loadFolder(path, whole)
	if err != nil || !cached {
		return p, err
	}
	p.Name = name
	return p, nil
}

func loadFolder(dir string, whole bool) (*Pipeline, error) {
	p, err := loadFS(os.DirFS(dir), whole)
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	p.Name = filepath.Base(filepath.Clean(dir))
	return p, nil
}

// LoadFS reads the folder that is fsys. One error names all files that it lacks.
func LoadFS(fsys fs.FS) (*Pipeline, error) {
	if fsys == nil {
		return nil, errors.New("pipeline: there is nothing to load from: the file system is nil")
	}
	return loadFS(fsys, true)
}

func loadFS(fsys fs.FS, whole bool) (*Pipeline, error) {
	scheduler, err := readIndex(fsys)
	if err != nil {
		return nil, err
	}
	if err := checkComplete(fsys); err != nil {
		return nil, err
	}
	p := &Pipeline{}
	for _, part := range []struct {
		folder string
		load   func(fsys fs.FS) error
	}{
		{"scheduler", func(f fs.FS) (err error) {
			p.Schedule, err = diffusion.LoadScheduleFS(f)
			return err
		}},
		{"tokenizer", func(f fs.FS) (err error) {
			p.Tokenizer, err = tokenizer.LoadFS(f)
			return err
		}},
		{"text_encoder", func(f fs.FS) (err error) {
			p.Text, err = clip.LoadTextFS(f)
			return err
		}},
		{"vae", func(f fs.FS) (err error) {
			p.VAE, err = vae.LoadFS(f)
			return err
		}},
		{"unet", func(f fs.FS) (err error) {
			if whole {
				p.UNet, err = unet.LoadFS(f)
				return err
			}
			p.unread = func() (*unet.UNet2DCondition, error) { return unet.LoadFS(f) }
			p.UNet, err = unet.NewFS(f)
			return err
		}},
	} {
		sub, err := fs.Sub(fsys, part.folder)
		if err != nil {
			return nil, fmt.Errorf("pipeline: %w", err)
		}
		if err := part.load(sub); err != nil {
			return nil, fmt.Errorf("pipeline: %s: %w", part.folder, err)
		}
	}
	if scheduler != "" {
		p.Schedule.Config.Class = &scheduler
	}
	p.Schedule = p.Schedule.InPipeline()
	p.Tokenizer.Length = min(p.Tokenizer.Length, p.Text.Config.Positions)
	return p, p.check()
}

// checkComplete names what a folder lacks, before any of the large files is read.
func checkComplete(fsys fs.FS) error {
	var missing []error
	for _, part := range []struct {
		folder, weights string
		files           []string // one of which there must be
	}{
		{"scheduler", "", []string{"scheduler_config.json"}},
		{"tokenizer", "", []string{"vocab.json", "tokenizer.json"}},
		{"text_encoder", "model", []string{"config.json"}},
		{"vae", "diffusion_pytorch_model", []string{"config.json"}},
		{"unet", "diffusion_pytorch_model", []string{"config.json"}},
	} {
		sub, err := fs.Sub(fsys, part.folder)
		if err != nil {
			return fmt.Errorf("pipeline: %w", err)
		}
		there := func(name string) bool {
			_, err := fs.Stat(sub, name)
			return err == nil
		}
		if !slices.ContainsFunc(part.files, there) {
			files := strings.Join(part.files, " or ")
			missing = append(missing, fmt.Errorf("%s: %s: %w", part.folder, files, fs.ErrNotExist))
		}
		if part.weights == "" {
			continue
		}
		f, err := weights.OpenFolder(sub, part.weights)
		if err == nil {
			err = f.Close()
		}
		if err != nil {
			missing = append(missing, fmt.Errorf("%s: %w", part.folder, err))
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("pipeline: %w", errors.Join(missing...))
}

// readIndex checks model_index.json and returns the scheduler's class there, which goes before that
// of scheduler_config.json as in diffusers; empty if there is none.
func readIndex(fsys fs.FS) (scheduler string, err error) {
	data, err := text.ReadFS(fsys, indexFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("pipeline: %w: this is no folder of a diffusers pipeline%s",
			err, otherFolder(fsys))
	}
	if err != nil {
		return "", fmt.Errorf("pipeline: %w", err)
	}
	var index struct {
		Class     string    `json:"_class_name"`
		Scheduler [2]string `json:"scheduler"` // library and class
	}
	if err := weights.ParseJSON(data, &index); err != nil {
		return "", fmt.Errorf("pipeline: %s: %w", indexFile, err)
	}
	if !slices.Contains([]string{className, inpaintName, pictureName}, index.Class) {
		return "", fmt.Errorf("pipeline: %s names a %s; only %s and %s are supported",
			indexFile, weights.Printable(index.Class), className, inpaintName)
	}
	return index.Scheduler[1], nil
}

// otherFolder says what a folder is that has no model_index.json, and what to name instead.
func otherFolder(fsys fs.FS) string {
	there := func(pattern string) []string {
		all, _ := fs.Glob(fsys, pattern) // the pattern is a good one
		return all
	}
	files := there("*.safetensors")
	switch {
	case len(there("config.json")) > 0:
		return ", but that of one part, or of another model: name the folder above it"
	case len(there("unet/config.json")) > 0:
		return ", though it holds a UNet: the file was not downloaded or not written"
	case len(files) == 1:
		return "; it holds " + weights.Printable(files[0]) + ": name that file"
	case len(files) > 1:
		return "; it holds these files, of which one may be a checkpoint: name it" +
			weights.FewNames(files)
	case len(there("*.ckpt")) > 0:
		return "; it holds a .ckpt, a pickle file, which can run any code: convert it first"
	case len(there("*.onnx"))+len(there("unet/*.onnx")) > 0:
		return "; it holds ONNX files, which are for running alone"
	}
	return ""
}

// The classes of diffusers that model_index.json names.
const (
	className   = "StableDiffusionPipeline"
	inpaintName = "StableDiffusionInpaintPipeline"
	// pictureName has the parts of the first.
	pictureName = "StableDiffusionImg2ImgPipeline"
)

// class is the one that runs this pipeline.
func (p *Pipeline) class() string {
	if p.inpaints() {
		return inpaintName
	}
	return className
}

// inpaints reports a UNet that reads noisy latents, a mask and the latents of the picture behind
// the mask.
func (p *Pipeline) inpaints() bool {
	return p.UNet != nil && p.UNet.Config.InChannels == 2*p.UNet.Config.OutChannels+1
}

func (p *Pipeline) inpaintError() error {
	return fmt.Errorf("pipeline: %s is an inpainting model: its UNet reads %d channels, latents, "+
		"a mask and a masked picture; it does not generate from prompts alone", p.Name,
		p.UNet.Config.InChannels)
}

var errNoPipeline = errors.New("pipeline: there is no Pipeline: it is nil")

// check reports parts that are missing or don't fit together.
func (p *Pipeline) check() error {
	if p == nil {
		return errNoPipeline
	}
	if p.Tokenizer == nil || p.Text == nil {
		return errors.New("pipeline: the tokenizer or text encoder is missing")
	}
	if err := p.checkImages(); err != nil {
		return err
	}
	other := func(d int) bool { return d != p.Text.Config.Width }
	switch {
	case p.UNet != nil && slices.ContainsFunc(p.UNet.Config.CrossAttentionDim, other):
		return fmt.Errorf("pipeline: the text encoder makes %d features a token, the UNet reads %v",
			p.Text.Config.Width, p.UNet.Config.CrossAttentionDim)
	case p.Tokenizer.Size() > p.Text.Config.Vocabulary:
		return fmt.Errorf("pipeline: the tokenizer knows %d tokens, the text encoder %d",
			p.Tokenizer.Size(), p.Text.Config.Vocabulary)
	case p.Tokenizer.Length > p.Text.Config.Positions:
		return fmt.Errorf("pipeline: the tokenizer makes %d tokens, "+
			"the text encoder has %d positions",
			p.Tokenizer.Length, p.Text.Config.Positions)
	}
	return nil
}

// checkImages is check without the tokenizer and the text encoder.
func (p *Pipeline) checkImages() error {
	if p.denoiser() == nil || p.VAE == nil || p.Schedule == nil {
		return errors.New("pipeline: the UNet, VAE or schedule is missing")
	}
	v := p.VAE.Config
	if p.UNet == nil {
		if side, channels := p.network.Latents(); side < 1 || channels != v.LatentChannels {
			return fmt.Errorf("pipeline: the VAE has %d latent channels, the %T latents %v",
				v.LatentChannels, p.network, []int{side, side, channels})
		}
		return nil
	}
	u := p.UNet.Config
	switch {
	case v.LatentChannels != u.OutChannels || u.InChannels != u.OutChannels && !p.inpaints():
		return fmt.Errorf("pipeline: the VAE has %d latent channels, "+
			"the UNet reads %d and writes %d",
			v.LatentChannels, u.InChannels, u.OutChannels)
	case u.SampleSize < 1:
		return errors.New("pipeline: the UNet's config.json has no sample_size")
	}
	return nil
}

// With returns a pipeline that differs in its network: in its UNet if n is one, a
// *unet.UNet2DCondition; otherwise UNet is nil, and n makes the pictures. To Save or Clone such a
// pipeline is a *NetworkError: diffusers could not read it. A network of one's own is saved by
// itself (nn.Save).
func (p *Pipeline) With(name string, n Network) *Pipeline {
	other := *p
	other.Name, other.UNet, other.network, other.unread = name, nil, n, nil
	if u, ok := n.(*unet.UNet2DCondition); ok {
		other.UNet, other.network = u, nil
	}
	return &other
}

// Save writes a folder that Load and diffusers read. It removes a model_index.json that is there
// first and writes the new one last, so a folder that has one is complete. A UNet that has not been
// read is an *UnreadError, and a network that is no UNet a *NetworkError.
func (p *Pipeline) Save(dir string, as kernels.Precision) error {
	if err := p.check(); err != nil {
		return err
	}
	if err := p.checkSaves(); err != nil {
		return err
	}
	if err := p.SaveFrozen(dir, as); err != nil {
		return err
	}
	return p.SaveUNet(dir, as)
}

// checkSaves reports a UNet that cannot be saved.
func (p *Pipeline) checkSaves() error {
	switch {
	case p.unread != nil:
		return &UnreadError{Model: p.Name}
	case p.UNet == nil && p.network != nil:
		return &NetworkError{p.network, "what diffusers reads: save it by itself"}
	case p.UNet == nil:
		return errors.New("pipeline: the UNet is missing")
	}
	return nil
}

// SaveFrozen is Save without the UNet. The folder is complete when SaveUNet has followed.
func (p *Pipeline) SaveFrozen(dir string, as kernels.Precision) error {
	if err := p.check(); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	if err := file.Remove(filepath.Join(dir, indexFile)); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	for _, part := range []struct {
		folder string
		save   func(dir string) error
	}{
		{"scheduler", p.Schedule.Save},
		{"tokenizer", p.Tokenizer.Save},
		{"text_encoder", func(dir string) error { return p.Text.Save(dir, as) }},
		{"vae", func(dir string) error { return p.VAE.Save(dir, as) }},
	} {
		if err := part.save(filepath.Join(dir, part.folder)); err != nil {
			return fmt.Errorf("pipeline: %s: %w", part.folder, err)
		}
	}
	return nil
}

// SaveUNet completes a folder that SaveFrozen began, for which p needs a UNet and a schedule alone.
func (p *Pipeline) SaveUNet(dir string, as kernels.Precision) error {
	if err := p.checkSaves(); err != nil {
		return err
	}
	if err := p.UNet.Save(filepath.Join(dir, "unet"), as); err != nil {
		return fmt.Errorf("pipeline: unet: %w", err)
	}
	scheduler := *or(p.Schedule.Config.Class, "DDIMScheduler")
	index := map[string]any{
		"_class_name":             p.class(),
		"requires_safety_checker": false,
		"safety_checker":          []any{nil, nil},
		"feature_extractor":       []any{nil, nil},
		"scheduler":               []string{"diffusers", scheduler},
		"tokenizer":               []string{"transformers", "CLIPTokenizer"},
		"text_encoder":            []string{"transformers", "CLIPTextModel"},
		"unet":                    []string{"diffusers", "UNet2DConditionModel"},
		"vae":                     []string{"diffusers", "AutoencoderKL"},
	}
	if err := checkComplete(os.DirFS(dir)); err != nil {
		return fmt.Errorf("%w (in %s)", err, dir)
	}
	data, err := json.MarshalIndent(index, "", "  ")
	if err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	if err := file.WriteBytes(filepath.Join(dir, indexFile), append(data, '\n')); err != nil {
		return fmt.Errorf("pipeline: %w", err)
	}
	return nil
}

func or(s *string, fallback string) *string {
	if s == nil {
		return &fallback
	}
	return s
}

// side is the width and height of the model's latents, scale the pixels of a picture for each of
// them.
func (p *Pipeline) side() int {
	side, _ := p.denoiser().Latents()
	return side
}
func (p *Pipeline) scale() int { return p.VAE.Factor() }
