package main

import (
	"context"
	"fmt"
	"image/png"
	"io"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

const (
	samplingSteps = 15   // of DDIM; 25 look no better
	guidance      = 2    // of the pictures that are evaluated; with less, one kind in five is wrong
	labelErrors   = 0.05 // share of labels that are wrong, as people's are
	bestOf        = 4
	batch         = 32 // pictures generated at once
	pretraining   = 2048
	modelBatch    = 48
	pretrainBatch = 16
	promptDropout = 0.1 // share of prompts that are replaced by the empty one, which guidance needs
	minTimestep   = 300 // of the model's own pictures; with all of them, quality falls more and alignment gains less
)

// unseenKinds are in no label and no tuning sample. The base model knows them.
var unseenKinds = []string{"heart", "crescent"}

// A tuning is one way to tune a copy of the UNet.
type tuning struct {
	arm     string
	weights reward.Transform // of the learned rewards
	beta    float64
}

// tunings are the method and, with -controls, what it is held against: what tuning does whatever the rewards say, what
// their distribution does without their meaning, and what it does without the pretraining term.
func (s *session) tunings() []tuning {
	all := []tuning{{"tuned", reward.Raw, s.beta}}
	if s.controls {
		all = append(all, tuning{"equal", reward.Equal, s.beta},
			tuning{"shuffled", reward.Shuffled(reward.Raw, s.seed), s.beta},
			tuning{"beta_0", reward.Raw, 0})
	}
	return all
}

// A session is the run in hand.
type session struct {
	options
	folder       report.Folder
	progress     *report.Progress
	base         *pipeline.Pipeline
	clip         *clip.Encoder
	seen, unseen dataset.Grammar
	people       dataset.Dataset // labels that people gave; nil: the judge is asked
	seconds      map[string]float64
	losses       []finetune.Step // of the method
}

func run(ctx context.Context, o options) error {
	s := &session{options: o, progress: report.Stderr(), seconds: map[string]float64{}}
	if err := s.load(ctx); err != nil {
		return err
	}
	defer s.clip.Close()
	if err := s.estimate(ctx); err != nil {
		return err
	}
	samples, err := s.generate(ctx)
	if err != nil {
		return err
	}
	labelled, err := s.label(ctx, samples)
	if err != nil {
		return err
	}
	model, err := s.learn(ctx, labelled)
	if err != nil {
		return err
	}
	if err := s.score(ctx, samples, model); err != nil {
		return err
	}
	arms := map[string]*pipeline.Pipeline{"base": s.base}
	for _, u := range s.tunings() {
		if arms[u.arm], err = s.tune(ctx, samples, u); err != nil {
			return err
		}
	}
	return s.evaluate(ctx, model, arms)
}

// load reads the labels and the embedded models, and opens the run folder.
func (s *session) load(ctx context.Context) (err error) {
	if s.labels != "" {
		if s.people, err = s.peoplesLabels(ctx); err != nil {
			return err
		}
	}
	if s.base, err = pipeline.LoadFS(tiny.FS()); err != nil {
		return err
	}
	s.base.Name = "tiny"
	if s.clip, err = tiny.CLIP(); err != nil {
		return err
	}
	if s.seen, s.unseen, err = shapes.Grammar.Split(unseenKinds...); err != nil {
		return err
	}
	return s.open()
}

// estimate times one batch of generation, in whose unit everything else is known, and says how long all will take.
func (s *session) estimate(ctx context.Context) error {
	prompts, err := s.seen.Draw("estimate", s.seed, batch)
	if err != nil {
		return err
	}
	began := time.Now()
	if _, err := dataset.Collect(ctx, s.base.Generate(s.request(prompts, 0))); err != nil {
		return err
	}
	picture := time.Since(began).Seconds() / batch
	// A guided picture is two evaluations a sampling step and a decoding, one without is half of that; a sample of a tuning step is an
	// evaluation and its gradient, 3.2 evaluations' time. All else is a twentieth.
	tunings := len(s.tunings())
	pictures := float64(s.samples)/2 + float64(2*s.eval*(bestOf+tunings))
	steps := float64(tunings*s.steps*(modelBatch+pretrainBatch)) * 3.2 / (2 * samplingSteps)
	total := time.Duration(1.05 * (pictures + steps) * picture * float64(time.Second))
	s.progress.Printf("On this machine this will take about %s: %d pictures to label, %d updates, %d pictures to evaluate.",
		report.Duration(total), s.samples, tunings*s.steps, 2*s.eval*(bestOf+tunings))
	return nil
}

func (s *session) request(prompts []string, first uint64) pipeline.Request {
	return pipeline.Request{Prompts: prompts, PerPrompt: 1, Steps: samplingSteps, Guidance: guidance, Seed: s.seed, First: first, Batch: batch}
}

// own is a request without guidance: what the model learns from are samples of its own distribution, as Eq. 2 has it. Tuned on guided
// ones, it would be guided twice, and its pictures would drift from drawn ones whatever their rewards.
func (s *session) own(prompts []string) pipeline.Request {
	r := s.request(prompts, 0)
	r.Guidance = 1
	return r
}

// stage times what f does under a progress bar of n parts.
func (s *session) stage(name string, n int, f func(bar *report.Stage) error) error {
	bar := s.progress.Stage(name, n)
	err := f(bar)
	s.seconds[name] = bar.End().Seconds()
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// collect generates the pictures of a request.
func collect(ctx context.Context, p *pipeline.Pipeline, r pipeline.Request, bar *report.Stage) ([]dataset.Sample, error) {
	var out []dataset.Sample
	for sample, err := range p.Generate(r).All(ctx) {
		if err != nil {
			return nil, err
		}
		out = append(out, sample)
		bar.Add(1)
	}
	return out, nil
}

// generate makes the pictures of seen prompts. They are in samples/ and samples.jsonl as soon as a batch is there.
func (s *session) generate(ctx context.Context) (samples []dataset.Sample, err error) {
	prompts, err := s.seen.Draw("prompts", s.seed, s.samples)
	if err != nil {
		return nil, err
	}
	err = s.stage("generate", s.samples, func(bar *report.Stage) error {
		for sample, err := range s.base.Generate(s.own(prompts)).All(ctx) {
			if err != nil {
				return err
			}
			sample.File = fmt.Sprintf("samples/%05d.png", len(samples))
			write := func(w io.Writer) error { return png.Encode(w, sample.Image) }
			if err := s.folder.Write(sample.File, write); err != nil {
				return err
			}
			samples = append(samples, sample)
			bar.Add(1)
			if len(samples)%batch == 0 || len(samples) == s.samples {
				if err := s.writeSamples(ctx, samples); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return samples, err
}

// label asks the judge, who errs now and then, or takes the labels that people gave.
func (s *session) label(ctx context.Context, samples []dataset.Sample) (labelled dataset.Dataset, err error) {
	if s.people != nil {
		return s.people, nil
	}
	rater := shapes.Rater{ErrorRate: labelErrors, Seed: s.seed}
	err = s.stage("label", len(samples), func(bar *report.Stage) error {
		for i := range samples {
			if samples[i].Label, err = rater.Label(samples[i]); err != nil {
				return err
			}
			samples[i].Source.Rater = "judge"
			bar.Add(1)
		}
		return s.writeSamples(ctx, samples)
	})
	return dataset.FromSlice(samples), err
}

// writeSamples writes samples.jsonl, and sees that through where the run is stopped.
func (s *session) writeSamples(ctx context.Context, samples []dataset.Sample) error {
	_, err := dataset.Write(context.WithoutCancel(ctx), s.folder.Path("samples.jsonl"), dataset.FromSlice(samples))
	return err
}

// learn trains the reward on the labels.
func (s *session) learn(ctx context.Context, labelled dataset.Dataset) (*alignment.Model, error) {
	t := &alignment.Training{
		CLIP: s.clip, Samples: labelled, Lambda: 0.5, Hidden: 256, Product: true, LR: 1e-3, Seed: s.seed,
		HeldOut: 0.15,
		Perturb: func(prompt string, n int, r *rand.Rand) ([]string, error) {
			return shapes.Grammar.Perturb(prompt, n, r)
		},
	}
	err := s.stage("reward", 60, func(bar *report.Stage) error {
		for epoch, err := range t.Epochs(ctx) {
			if err != nil {
				return err
			}
			bar.Note("held-out accuracy %.0f %%", 100*epoch.HeldOut.Accuracy)
			bar.Add(1)
		}
		return t.Model().Save(s.folder.Path("reward"))
	})
	return t.Model(), err
}

// score writes the learned reward of every picture to samples.jsonl.
func (s *session) score(ctx context.Context, samples []dataset.Sample, model reward.Model) error {
	scores, err := model.Score(ctx, samples)
	if err != nil {
		return err
	}
	for i := range samples {
		samples[i].Reward = &scores[i]
	}
	return s.writeSamples(ctx, samples)
}

// tune trains a copy of the UNet by Eq. 2 on the generated pictures, weighted by their rewards. The method's is saved.
func (s *session) tune(ctx context.Context, samples []dataset.Sample, u tuning) (*pipeline.Pipeline, error) {
	// Those of each category have the same sum of weights: the reward decides between pictures, not
	// between easy and hard prompts, or tuning would drift to what the base model does well
	// already.
	balanced := reward.Balanced(u.weights, shapes.Grammar.Category)
	weighted := reward.Weigh(dataset.FromSlice(samples), balanced)
	network, err := nn.Clone(s.base.UNet)
	if err != nil {
		return nil, err
	}
	tuned := s.base.With(u.arm, network)
	empty, err := s.base.Conditions(ctx, "")
	if err != nil {
		return nil, err
	}
	rate := optim.Cosine(s.steps/20+1, s.steps)
	t := &finetune.Tuner{
		Network: network, Schedule: s.base.Schedule, Own: s.base.Encode(weighted, pipeline.EncodeOptions{Batch: batch}),
		OwnBatch: modelBatch, Choose: finetune.ByReward{}, OwnLevels: s.base.Schedule.Process.From(minTimestep),
		Terms: []finetune.Term{finetune.RewardWeighted{}}, Updates: s.steps,
		LR: func(step int) float64 { return s.lr * rate(step) }, EMA: 0.99, Seed: s.seed,
		Dropout: promptDropout, Unconditional: empty[""],
	}
	if u.beta > 0 {
		// The base's own distribution, wrong captions included: right ones would teach alignment without any reward.
		t.Pretrain = s.base.Encode(tiny.Pretraining(s.seed+1000, pretraining), pipeline.EncodeOptions{Batch: batch})
		t.PretrainBatch = pretrainBatch
		t.Terms = append(t.Terms, finetune.Pretraining{Beta: u.beta})
	}
	defer t.Close()
	began := time.Now()
	stage, folder := "tune", s.out
	if u.arm != "tuned" {
		stage, folder = "tune, "+armNames[u.arm], s.folder.Path(filepath.Join("controls", u.arm))
	}
	var losses []finetune.Step
	for step, err := range (&finetune.Record{Trainer: t, Folder: folder, Name: stage}).Steps(ctx) {
		if err != nil {
			return nil, fmt.Errorf("%s: %w", stage, err)
		}
		losses = append(losses, step)
	}
	s.seconds[stage] = time.Since(began).Seconds()
	if err := t.UseAverage(); err != nil {
		return nil, err
	}
	if u.arm != "tuned" {
		return tuned, nil
	}
	s.losses = losses
	return tuned, tuned.Save(s.folder.Path("tuned"), kernels.Float32)
}
