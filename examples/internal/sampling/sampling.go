// Package sampling is what programs share that make pictures with a model of the user's: flags that say how, prompts, the model with its
// adapter, and folders of pictures.
package sampling

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"runtime/debug"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
)

// Options say how pictures are made: a request without prompts, from flags. What they leave to the model is settled by
// SettleSampler and SettleSize.
type Options struct {
	pipeline.Request
	sampler string
}

// The guidance that is usual for Stable Diffusion, the default, and that of the miniature, whose pictures it would make garish.
const (
	UsualGuidance = 7.5
	TinyGuidance  = 2
)

// Flags adds a flag for each option.
func (o *Options) Flags(f *flag.FlagSet) {
	f.StringVar(&o.sampler, "sampler", "", "ddpm, ddim, pndm, euler, euler_a, dpmpp_2m or dpmpp_2m_karras; the model's own without it")
	f.IntVar(&o.Steps, "steps", 25, "sampling steps")
	f.Float64Var(&o.Eta, "eta", 0, "noise of ddim, 0 to 1")
	f.Float64Var(&o.Guidance, "guidance", UsualGuidance, fmt.Sprintf("scale of classifier-free guidance; 1 is none; %d suits the miniature", TinyGuidance))
	f.StringVar(&o.Negative, "negative", "", "what guidance leads away from")
	f.IntVar(&o.Width, "width", 0, "in pixels; the model's own without it")
	f.IntVar(&o.Height, "height", 0, "in pixels; the model's own without it")
	f.Uint64Var(&o.Seed, "seed", 1, "decides every random draw")
	f.IntVar(&o.Batch, "batch", 0, "pictures made at once; without it, as many as have the pixels of one of 512×512")
}

// Check reports flags that cannot be, and looks the sampler up.
func (o *Options) Check() (err error) {
	switch {
	case o.Steps < 1:
		return fmt.Errorf("-steps %d: at least 1 is needed", o.Steps)
	case !(o.Eta >= 0 && o.Eta <= 1):
		return fmt.Errorf("-eta %v is not in 0 to 1", o.Eta)
	case !(o.Guidance >= 1 && o.Guidance <= 1e6):
		return fmt.Errorf("-guidance %v: at least 1 is needed, which is none", o.Guidance)
	case o.Negative != "" && o.Guidance == 1:
		return errors.New("-negative works by guidance: it needs -guidance above 1")
	case o.Width < 0 || o.Height < 0:
		return fmt.Errorf("-width %d and -height %d must not be negative", o.Width, o.Height)
	case o.Batch < 0:
		return fmt.Errorf("-batch %d must not be negative", o.Batch)
	}
	if o.sampler != "" {
		if o.Sampler, err = diffusion.ParseSampler(o.sampler); err != nil {
			return fmt.Errorf("-sampler: %w", err)
		}
	}
	return nil
}

// SettleSampler takes the model's own sampler if none was named.
func (o *Options) SettleSampler(p *pipeline.Pipeline) (err error) {
	if o.Sampler.Sample == nil {
		if o.Sampler, err = p.Schedule.Sampler(); err != nil {
			return fmt.Errorf("-sampler: %w", err)
		}
	}
	if o.Eta != 0 && o.Sampler.Name != "ddim" {
		return fmt.Errorf("-eta %v is for the sampler ddim; %s has none", o.Eta, o.Sampler.Name)
	}
	return nil
}

// SettleSize settles what else was not given: size, and a batch that suits it.
func (o *Options) SettleSize(p *pipeline.Pipeline) error {
	scale := p.VAE.Factor()
	for _, size := range []struct {
		flag string
		in   int
	}{{"width", o.Width}, {"height", o.Height}} {
		if size.in%scale != 0 {
			return fmt.Errorf("-%s %d is not a multiple of %d, as this model needs", size.flag, size.in, scale)
		}
	}
	var err error
	o.Request, err = p.Settle(o.Request)
	return err
}

// Encode encodes prompts, and the negative one, and lets the model's text encoder go, so that its memory is free for the UNet's work.
func (o *Options) Encode(ctx context.Context, p *pipeline.Pipeline, prompts []string) (map[string]dataset.Condition, error) {
	conditions, err := p.Conditions(ctx, append([]string{o.Negative}, prompts...)...)
	p.Text = nil
	debug.FreeOSMemory()
	return conditions, err
}

// For is the request for perPrompt pictures of each prompt.
func (o *Options) For(prompts []string, perPrompt int, conditions map[string]dataset.Condition) pipeline.Request {
	r := o.Request
	r.Prompts, r.PerPrompt, r.Conditions = prompts, perPrompt, conditions
	return r
}

// Numbered is d without the samples' own IDs: in a folder they then are named by their number in the
// run, 00000 and on.
func Numbered(d dataset.Dataset) dataset.Dataset {
	return dataset.Map(d, func(_ context.Context, s dataset.Sample) (dataset.Sample, error) {
		s.ID = ""
		return s, nil
	})
}
