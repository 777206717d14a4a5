package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/internal/command"
	"github.com/kudos-ml/kudos/examples/internal/sampling"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
)

// A session is the run in hand.
type session struct {
	options
	progress   *report.Progress
	model      *pipeline.Pipeline
	conditions map[string]dataset.Condition
	noise      diffusion.Noise // nil: by the seed
	judge      reward.Model    // nil: pictures have no reward
}

func run(ctx context.Context, o options) (err error) {
	s := &session{options: o, progress: report.Stderr()}
	if err := s.load(); err != nil {
		return err
	}
	command.WarnLong(s.progress, s.model, append([]string{s.Negative}, s.prompts...))
	if s.conditions, err = s.Encode(ctx, s.model, s.prompts); err != nil {
		return err
	}
	if s.reward != "" {
		var free func() error
		if s.judge, free, err = command.LoadReward(s.reward, s.clip); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, free()) }()
	}
	if _, err := report.EmptyFolder(s.out); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	return s.generate(ctx)
}

// load reads the model, adds the adapter to it, and settles what the flags leave to it.
func (s *session) load() (err error) {
	if s.model, err = sampling.Load(s.options.model); err != nil {
		return err
	}
	if s.lora != "" {
		if err := sampling.Adapt(s.model, s.lora, s.loraScale); err != nil {
			return err
		}
	}
	if err := s.SettleSampler(s.model); err != nil {
		return err
	}
	if s.latents == "" {
		return s.SettleSize(s.model)
	}
	return s.readLatents()
}

// readLatents reads the noise, whose size is the pictures' if the flags give none.
func (s *session) readLatents() error {
	n, err := pipeline.ReadNoise(s.latents, s.Sampler.Name)
	if err != nil {
		return fmt.Errorf("-latents: %w", err)
	}
	scale := s.model.VAE.Factor()
	s.Width, s.Height = cmp.Or(s.Width, n.Shape[4]*scale), cmp.Or(s.Height, n.Shape[3]*scale)
	if err := s.SettleSize(s.model); err != nil {
		return err
	}
	draws := 1
	if s.Sampler.Name == "ddpm" || s.Sampler.Name == "euler_a" || s.Eta != 0 {
		draws += s.Steps
	}
	if err := n.Check(draws, s.count(), s.Height/scale, s.Width/scale,
		s.model.UNet.Config.InChannels); err != nil {
		return fmt.Errorf("-latents %s: %w", s.latents, err)
	}
	s.noise, s.Seed = n.Draw, 0
	return nil
}

// count is the number of pictures to make, of which one in bestOf is kept.
func (s *session) count() int { return len(s.prompts) * s.n * s.bestOf }

// generate makes the pictures. Of each bestOf, one is kept as soon as they are there.
func (s *session) generate(ctx context.Context) error {
	request := s.For(s.prompts, s.n*s.bestOf, s.conditions)
	request.Noise = s.noise
	bar := s.progress.Stage("generate", request.Parts())
	defer bar.End()
	pictures := s.model.Generate(request.Watched(bar.Add))
	if s.judge != nil {
		pictures = reward.Best(pictures, s.judge, s.bestOf)
	}
	n := 0
	count := func(_ context.Context, sample dataset.Sample) (dataset.Sample, error) {
		n++
		bar.Note("%d pictures", n)
		return sample, nil
	}
	_, err := dataset.WriteFolder(ctx, s.out, sampling.Numbered(dataset.Map(pictures, count)))
	return err
}
