package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"runtime/debug"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/internal/command"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/report"
	"github.com/kudos-ml/kudos/reward"
)

// A session is the run in hand.
type session struct {
	options
	progress   *report.Progress
	model      *pipeline.Pipeline
	conditions map[string]*tensor.Dense
	noise      diffusion.Noise // nil: by the seed
	judge      reward.Model    // nil: pictures have no reward
	folder     report.Folder
	log        *report.Log // samples.jsonl
	made       int         // lines of it
}

func run(ctx context.Context, o options) (err error) {
	s := &session{options: o, progress: report.Stderr()}
	if err := s.load(); err != nil {
		return err
	}
	if err := s.encode(ctx); err != nil {
		return err
	}
	if s.reward != "" {
		var free func() error
		if s.judge, free, err = command.LoadReward(s.reward, s.clip); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, free()) }()
	}
	if err := s.open(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.log.Close()) }()
	return s.generate(ctx)
}

// load reads the model, adds the adapter to it, and settles what the flags leave to it.
func (s *session) load() (err error) {
	if s.options.model == "" {
		if s.model, err = pipeline.LoadFS(tiny.FS()); err == nil {
			s.model.Name = "tiny"
		}
	} else {
		s.model, err = pipeline.Load(s.options.model)
	}
	if err != nil {
		return fmt.Errorf("-model: %w", err)
	}
	if s.lora != "" {
		adapter, err := lora.Load(s.lora, s.model.UNet, s.model.Text)
		if err != nil {
			return fmt.Errorf("-lora: %w", err)
		}
		adapter.Scale(s.loraScale)
		adapter.Merge()
		s.model.Name += fmt.Sprintf("+%s*%g", filepath.Base(s.lora), s.loraScale)
	}
	if s.sampler.Sample == nil {
		if s.sampler, err = s.model.Schedule.Sampler(); err != nil {
			return fmt.Errorf("-sampler: %w", err)
		}
	}
	if s.eta != 0 && s.sampler.Name != "ddim" {
		return fmt.Errorf("-eta %v is for the sampler ddim; %s has none", s.eta, s.sampler.Name)
	}
	return s.settle()
}

// settle fills in the size, the noise and the batch.
func (s *session) settle() error {
	scale, side := s.model.VAE.Factor(), s.model.UNet.Config.SampleSize
	for _, size := range []struct {
		flag string
		in   int
	}{{"width", s.width}, {"height", s.height}} {
		if size.in%scale != 0 {
			return fmt.Errorf("-%s %d is not a multiple of %d, as this model needs", size.flag, size.in, scale)
		}
	}
	var n noise
	if s.latents != "" {
		var err error
		if n, err = readNoise(s.latents, s.sampler.Name); err != nil {
			return fmt.Errorf("-latents: %w", err)
		}
		s.width, s.height = cmp.Or(s.width, n.shape[4]*scale), cmp.Or(s.height, n.shape[3]*scale)
	}
	s.width, s.height = cmp.Or(s.width, side*scale), cmp.Or(s.height, side*scale)
	if s.latents != "" {
		draws := 1
		if s.sampler.Name == "ddpm" || s.sampler.Name == "euler_a" || s.eta != 0 {
			draws += s.steps
		}
		if err := n.check(draws, s.count(), s.height/scale, s.width/scale, s.model.UNet.Config.InChannels); err != nil {
			return fmt.Errorf("-latents %s: %w", s.latents, err)
		}
		s.noise, s.seed = n.draw, 0
	}
	s.batch = cmp.Or(s.batch, max(1, min(16, 512*512/(s.width*s.height))))
	return nil
}

// count is the number of pictures to make, of which one in bestOf is kept.
func (s *session) count() int { return len(s.prompts) * s.n * s.bestOf }

// encode encodes all prompts and lets the text encoder go, so that its memory is free for the UNet's work.
func (s *session) encode(ctx context.Context) (err error) {
	s.conditions, err = s.model.Conditions(ctx, append([]string{s.negative}, s.prompts...)...)
	s.model.Text = nil
	debug.FreeOSMemory()
	return err
}

// open makes the folder.
func (s *session) open() (err error) {
	if s.folder, err = command.NewFolder(s.out); err != nil {
		return err
	}
	if err := os.Mkdir(s.folder.Path("samples"), 0o755); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	s.log, err = report.OpenLog(s.folder.Path("samples.jsonl"))
	return err
}

// generate makes the pictures. Of each bestOf, one is kept as soon as they are there.
func (s *session) generate(ctx context.Context) error {
	batches := (s.count() + s.batch - 1) / s.batch
	bar := s.progress.Stage("generate", batches*s.steps)
	defer bar.End()
	request := pipeline.Request{
		Prompts: s.prompts, PerPrompt: s.n * s.bestOf, Steps: s.steps, Guidance: s.guidance, Negative: s.negative, Eta: s.eta, Seed: s.seed,
		Sampler: watched(s.sampler, s.steps, bar), Conditions: s.conditions, Noise: s.noise, Batch: s.batch, Width: s.width, Height: s.height,
	}
	var group []dataset.Sample
	for sample, err := range s.model.Generate(request).All(ctx) {
		if err != nil {
			return err
		}
		sample.ID = fmt.Sprintf("%05d", sample.Source.Index)
		if group = append(group, sample); len(group) < s.bestOf {
			continue
		}
		if s.judge != nil {
			if group, err = reward.BestOf(ctx, s.judge, group, s.bestOf); err != nil {
				return err
			}
		}
		if err := s.keep(group[0]); err != nil {
			return err
		}
		group = group[:0]
		bar.Note("%d pictures", s.made)
	}
	return nil
}

// watched is a sampler whose steps move a bar on: by steps in all, however often it calls the network.
func watched(sampler diffusion.Sampler, steps int, bar *report.Stage) diffusion.Sampler {
	sample := sampler.Sample
	sampler.Sample = func(ctx context.Context, net diffusion.Network, s *diffusion.Schedule, x *tensor.Dense, o diffusion.SampleOptions) iter.Seq2[diffusion.Step, error] {
		return func(yield func(diffusion.Step, error) bool) {
			for step, err := range sample(ctx, net, s, x, o) {
				if err == nil {
					bar.Add((step.Index+1)*steps/step.Of - step.Index*steps/step.Of)
				}
				if !yield(step, err) {
					return
				}
			}
		}
	}
	return sampler
}

// keep writes a picture and then its line.
func (s *session) keep(sample dataset.Sample) error {
	sample.File = "samples/" + sample.ID + ".png"
	note := picture.Text{Key: "parameters", Value: parameters(sample, s.width, s.height)}
	if err := picture.WritePNG(s.folder.Path(filepath.FromSlash(sample.File)), sample.Image, note); err != nil {
		return err
	}
	var line bytes.Buffer
	if err := dataset.Encode(&line, sample); err != nil {
		return err
	}
	s.made++
	return s.log.Append(json.RawMessage(line.Bytes()))
}
