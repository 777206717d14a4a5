package pipeline

import (
	"context"
	"errors"
	"fmt"
	"image"
	"runtime/debug"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// LoadTunable is LoadFrozen of a model whose UNet can be tuned on what Encode gives. It is an error
// if that reads more channels than a picture's latents have, as one does that fills in parts of
// pictures.
func LoadTunable(name string) (*Pipeline, error) {
	p, err := LoadFrozen(name)
	if err != nil {
		return nil, err
	}
	if in, latent := p.UNet.Config.InChannels, p.VAE.Config.LatentChannels; in != latent {
		return nil, fmt.Errorf("pipeline: %s: its UNet reads %d channels, a picture's latents are "+
			"%d: only models that make pictures of prompts alone are tuned", name, in, latent)
	}
	return p, nil
}

// WarnPrompts tells printf, such as a report.Progress has it, the Notes, and what samples' prompts
// have that the text encoder makes nothing of: more words than it reads, and other programs'
// options, such as --w 768, (hat:1.3) and <lora:x:0.8>, which it reads as words.
func (p *Pipeline) WarnPrompts(printf func(format string, args ...any), samples []dataset.Sample) {
	p.warn(printf, captions(samples))
}

func (p *Pipeline) warn(printf func(format string, args ...any), prompts []string) {
	for _, note := range p.Notes {
		printf("%s.", note)
	}
	if long := p.TooLong(prompts); len(long) > 0 {
		printf("The text encoder reads %d tokens of a prompt and leaves out what follows. "+
			"Longer prompts: %d, the first is %q.", p.Tokenizer.Length-2, len(long), long[0])
	}
	if with := withOptions(prompts); len(with) > 0 {
		printf("What other programs take for options or weights in a prompt are words here. "+
			"Prompts with them: %d, the first is %q.", len(with), with[0])
	}
}

// Blanks are samples as Encode would give them, by which training can be planned before anything is
// encoded: each has a latent of its own, and those of one prompt share a condition, as is true of
// one call of Encode. All of them are zeros, in the memory of one sample, and not to be written to.
// The shapes are those of Frame, and of pictures whose Size is known. Each sample has reward 1, so
// that it does not matter whether rewards are known by then.
func (p *Pipeline) Blanks(samples []dataset.Sample) []dataset.Sample {
	tokens := p.Blank().Condition.Tokens
	zeros := map[image.Point][]float32{}
	latent := func(size image.Point) *tensor.Dense {
		shape := tensor.Shape(p.latent(size))
		if zeros[size] == nil {
			zeros[size] = make([]float32, shape.TotalSize())
		}
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(zeros[size]))
	}
	t := texts{known: map[string]dataset.Condition{}}
	for _, prompt := range t.fresh(samples) {
		t.known[prompt] = dataset.Condition{Tokens: tensor.New(
			tensor.WithShape(tokens.Shape()...), tensor.WithBacking(tokens.Float32s()))}
	}
	blanks := make([]dataset.Sample, len(samples))
	for i, s := range samples {
		size := p.target()
		if s.Size.X > 0 && s.Size.Y > 0 {
			size = p.sizeOf(s, s.Size)
		}
		blanks[i] = dataset.Sample{
			ID: s.ID, Prompt: s.Prompt, Group: s.Group, Reward: new(1.0),
			Latent: latent(size), Alternatives: s.Alternatives,
		}
	}
	t.fill(blanks)
	return blanks
}

// Frozen is what Freeze leaves of the parts of a model that are not tuned.
type Frozen struct {
	Unconditional dataset.Condition // of the empty prompt
	// Hashes (nn.Hash) tell which model it was, by the folders' names "text_encoder", "vae" and
	// "unet".
	Hashes map[string]string
}

// Freeze comes after all of Encode, and before tuning: the text encoder and the VAE are needed no
// more, and the UNet needs their memory. It saves them and all else but the UNet in a folder, as
// SaveFrozen does, unless dir is empty; lets both go; and reads the UNet that LoadFrozen left out.
// When that is tuned, SaveUNet completes the folder. After an error the pipeline is of no use.
func (p *Pipeline) Freeze(ctx context.Context, dir string, as kernels.Precision) (Frozen, error) {
	if p.unread == nil {
		return Frozen{}, errors.New("pipeline: Freeze comes after LoadFrozen, and once")
	}
	conditions, err := p.Conditions(ctx, "")
	if err != nil {
		return Frozen{}, err
	}
	f := Frozen{Unconditional: conditions[""], Hashes: map[string]string{
		"text_encoder": weights.Hash(p.Text), "vae": weights.Hash(p.VAE),
	}}
	if dir != "" {
		if err := p.SaveFrozen(dir, as); err != nil {
			return Frozen{}, err
		}
	}
	p.Text, p.VAE = nil, nil
	debug.FreeOSMemory() // for the UNet
	if err := p.LoadUNet(); err != nil {
		return Frozen{}, err
	}
	f.Hashes["unet"] = weights.Hash(p.UNet)
	return f, nil
}
