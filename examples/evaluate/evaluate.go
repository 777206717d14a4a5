package main

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/internal/command"
	"github.com/kudos-ml/kudos/examples/internal/sampling"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// A session is the run in hand.
type session struct {
	options
	progress *report.Progress
	folder   report.Folder
	latent   [3]int            // height, width and channels of the base's latents
	hashes   map[string]string // of arms' UNets
}

func run(ctx context.Context, o options) error {
	s := &session{options: o, progress: report.Stderr(), hashes: map[string]string{}}
	if err := s.check(ctx); err != nil {
		return err
	}
	var err error
	if s.folder, err = report.EmptyFolder(s.out); err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	for i, a := range s.arms {
		draws := 1
		if i == 0 {
			draws = s.n
		}
		if err := s.generate(ctx, a, draws); err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		debug.FreeOSMemory() // the model's, for the next one
	}
	all, err := s.score(ctx)
	if err != nil {
		return err
	}
	found, err := evaluate.Summarize(all, evaluate.Pairs(len(all), s.n > 1), s.Seed)
	if err != nil {
		return err
	}
	r := s.result(found)
	page, err := s.page(ctx, r, found, all)
	if err != nil {
		return err
	}
	return s.folder.Conclude(os.Stdout, r, page, s.tables(found)...)
}

// check reads everything once, so that what is wrong with it is known before anything takes time, and settles by the base what the flags
// leave open: all models sample alike.
func (s *session) check(ctx context.Context) error {
	bar := s.progress.Stage("check", len(s.arms)+1)
	defer bar.End()
	if cache, _, err := s.loadJudge(); err != nil {
		return err
	} else if err := cache.Close(); err != nil {
		return err
	}
	debug.FreeOSMemory()
	bar.Add(1)
	for i, a := range s.arms {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := s.load(a)
		if err == nil && i == 0 {
			if err = s.SettleSampler(m); err == nil {
				err = s.SettleSize(m)
			}
			s.latent = s.latentOf(m)
		}
		if err == nil && s.latentOf(m) != s.latent {
			err = fmt.Errorf("its latents are %v for %d×%d pixels, the base's %v: they cannot have the same noise", s.latentOf(m), s.Width, s.Height, s.latent)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", a.name, err)
		}
		s.hashes[a.unet()] = nn.Hash(m.UNet)
		debug.FreeOSMemory()
		bar.Add(1)
	}
	return nil
}

// load reads an arm's model.
func (s *session) load(a arm) (*pipeline.Pipeline, error) {
	m, err := sampling.Load(a.model)
	if err == nil && a.lora != "" {
		err = sampling.Adapt(m, a.lora, s.loraScale)
	}
	return m, err
}

// latentOf is the height, width and channels of what a model's pictures are made from.
func (s *session) latentOf(m *pipeline.Pipeline) [3]int {
	return [3]int{s.Height / m.VAE.Factor(), s.Width / m.VAE.Factor(), m.UNet.Config.InChannels}
}

// places is how many pictures an arm has.
func (s *session) places() int { return len(s.prompts) * s.perPrompt }

// generate makes an arm's pictures, and draws-1 more in the place of each for best-of-n.
func (s *session) generate(ctx context.Context, a arm, draws int) error {
	m, err := s.load(a)
	if err != nil {
		return err
	}
	if a == s.arms[0] {
		command.WarnLong(s.progress, m, append([]string{s.Negative}, s.prompts...))
	}
	conditions, err := s.Encode(ctx, m, s.prompts)
	if err != nil {
		return err
	}
	request := s.For(s.prompts, s.perPrompt, conditions)
	bar := s.progress.Stage(a.name, draws*request.Parts())
	defer bar.End()
	request = request.Watched(bar.Add)
	if err := s.keep(ctx, m, a.name, request, 1); err != nil {
		return err
	}
	if draws == 1 {
		return nil
	}
	request.First = uint64(s.places()) // the noise of the first draw is the other arms'
	return s.keep(ctx, m, candidates, request, draws-1)
}

// candidates is the folder of the pictures that best-of-n chooses from beside the base's own: one in the place of each of the base's, then
// another.
const candidates = "candidates"

// keep makes the pictures of a request, over and over from other noise, in a folder of a name.
func (s *session) keep(ctx context.Context, m *pipeline.Pipeline, name string, r pipeline.Request,
	draws int) error {
	var pictures []dataset.Dataset
	for range draws {
		pictures = append(pictures, m.Generate(r))
		r.First += uint64(s.places())
	}
	_, err := dataset.WriteFolder(ctx, s.folder.Path(name), sampling.Numbered(dataset.Join(pictures...)))
	return err
}
