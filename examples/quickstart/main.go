// Command quickstart runs the whole method on the embedded miniature: it generates pictures, has
// them labelled, learns a reward from the labels, tunes the UNet by it, and evaluates the result.
//
// It leaves a run folder: config.json, samples.jsonl with samples/, reward/, metrics.jsonl, tuned/
// (a folder that diffusers loads), report.json, report.html. -resume goes on after whatever end.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/examples/tiny/trial"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// A session is the run in hand. It took 5 minutes on two cores of 115 GFLOP/s each.
type session struct {
	report.Folder
	run                  finetune.Run
	labels               string
	seed                 uint64
	samples, steps, eval int
	captioned            int // pictures of the pretraining term
	share, beta, lr, mix float64
	controls             bool
	machine              command.Machine

	*report.Stages
	trial    trial.Trial      // and the models that it is about
	labelled []dataset.Sample // by people; without them the judge is asked
}

// parse reads the flags.
func parse(args []string) (*session, error) {
	s := &session{Stages: report.NewStages(), captioned: 2048}
	f := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	f.StringVar((*string)(&s.Folder), "out", "runs/quickstart", "run `folder`")
	f.Uint64Var(&s.seed, "seed", 1, "decides every random draw")
	f.StringVar(&s.labels, "labels", "", "JSONL `file` of labels to learn from, not the judge's")
	f.IntVar(&s.samples, "samples", 2048, "pictures to generate and label")
	f.IntVar(&s.steps, "steps", 300, "updates of the UNet, of 48 own samples and 16 drawn ones")
	f.Float64Var(&s.share, "baseline", 0.3, "`share` of the mean reward taken off the weights")
	f.Float64Var(&s.beta, "beta", 0.1, "weight β of the pretraining term; 0 leaves it out")
	f.Float64Var(&s.lr, "lr", 4e-4, "learning rate of the UNet")
	f.Float64Var(&s.mix, "mix", 0.7, "`share` of the way to the tuned weights that is saved")
	f.IntVar(&s.eval, "eval", 256, "pictures of seen and of unseen prompts to evaluate a model on")
	f.BoolVar(&s.controls, "controls", false, "tune with equal and shuffled rewards and β 0, too")
	f.BoolVar(&s.run.Resume, "resume", false, "go on with the run in -out, or begin one there")
	s.machine.Flags(f)
	if err := s.machine.Parse(f, args); err != nil {
		return s, err
	}
	s.run.Folder, s.run.Config = s.Path(), report.Config(f)
	s.run.Command = report.Resume("go run ./examples/quickstart", args)
	return s, report.Check(f, report.AtLeast(64, "samples"), report.AtLeast(1, "steps"),
		report.Multiple(4, 128, "eval"), report.Within(0, 0.99, "baseline"),
		report.Within(0, 1e6, "beta"), report.Above(0, 1, "lr", "mix"))
}

func main() {
	s, err := parse(os.Args[1:])
	report.Main("quickstart", func(ctx context.Context) error {
		if err == nil {
			err = s.load(ctx)
		}
		if err != nil {
			return err
		}
		return s.run.Do(ctx, func() error { return cmp.Or(s.method(ctx), s.machine.Close()) })
	}, func() string { return report.Finished(s.Path()) })
}

// load reads the labels, so that what is wrong with them is known first, and the embedded models.
func (s *session) load(ctx context.Context) (err error) {
	if s.labels != "" {
		file := dataset.File{Path: s.labels, Images: true, Check: shapes.Known}
		if s.labelled, err = alignment.Labelled(ctx, file); err != nil {
			return fmt.Errorf("-labels %s: %w", s.labels, err)
		}
	}
	t := &s.trial
	// Hearts and crescents are in no label and no tuning sample. The base model knows them.
	if t.Seen, t.Unseen, err = shapes.Grammar().Split("heart", "crescent"); err != nil {
		return err
	}
	if t.Base, err = tiny.Load(); err != nil {
		return err
	}
	if t.CLIP, err = tiny.CLIP(); err != nil {
		return err
	}
	t.Base.Machine, t.CLIP.Machine = s.machine.Config, s.machine.Config
	t.Tuned = trial.Tunings(s.share, s.beta, s.seed, s.controls)
	// Without guidance, one kind in five would be wrong. DDIM's 15 steps look no better than these.
	t.Request = pipeline.Request{Steps: 10, Guidance: 2, Seed: s.seed, Batch: batch}
	t.Request.Sampler = diffusion.Sampler{Name: "dpmpp_2m", Sample: diffusion.DPMSolver}
	t.Request.Cache, t.Pictures = s.Path("cache"), s.eval
	hashes := t.Base.Hashes()
	hashes["clip"], s.run.Config["sha256"] = t.CLIP.Hash(), hashes
	hashes["labels"], err = report.Hash(s.labels)
	return err
}

// method is all of it.
func (s *session) method(ctx context.Context) error {
	updates := len(s.trial.Tuned) * s.steps
	took, err := s.trial.Estimate(ctx, s.samples, updates*(ownBatch+pretrainBatch))
	if err != nil {
		return err
	}
	s.Printf("This will take about %s: %d pictures to label (the first is %s), %d updates, %d "+
		"pictures to evaluate.", report.Duration(took), s.samples, s.Path("samples", "00000.png"),
		updates, s.trial.Work())
	// Pictures are the model's own distribution, without guidance, as Eq. 2 has it: tuned on guided
	// ones, it would be guided twice, and drift from drawn ones whatever the rewards.
	request := s.trial.Request
	request.Guidance = 1
	if request.Prompts, err = s.trial.Seen.Draw("prompts", s.seed, s.samples); err != nil {
		return err
	}
	pictures := &dataset.Gallery{Folder: s.Path(), Every: batch}
	if err := s.Do("generate", s.samples, func(bar *report.Stage) error {
		return pictures.Fill(ctx, s.trial.Base.Generate(request), bar.Add)
	}); err != nil {
		return err
	}
	if err := s.learn(ctx, pictures); err != nil {
		return err
	}
	for i := range s.trial.Tuned {
		if err := s.tune(ctx, pictures.Samples, &s.trial.Tuned[i]); err != nil {
			return err
		}
	}
	return s.evaluate(ctx)
}

// Pictures that are generated at once, and samples of an update.
const batch, ownBatch, pretrainBatch = 32, 48, 16

// learn has the pictures labelled, by a judge who errs as people do, unless people have done it. It
// trains the reward on the labels, and gives the pictures their rewards.
func (s *session) learn(ctx context.Context, p *dataset.Gallery) error {
	if s.labelled == nil {
		rater := shapes.Rater{ErrorRate: 0.05, Seed: s.seed}
		if err := s.Do("label", 0, func(*report.Stage) error {
			return p.Label(ctx, "judge", rater.Label)
		}); err != nil {
			return err
		}
		s.labelled = p.Samples
	}
	t := &alignment.Training{
		CLIP: s.trial.CLIP, Samples: dataset.FromSlice(s.labelled), HeldOut: 0.15, Lambda: 0.5,
		Perturb: shapes.Grammar().Perturb, Hidden: 256, Product: true, LR: 1e-3, Seed: s.seed,
		Machine: s.machine.Config,
	}
	if err := s.Do("reward", 60, func(bar *report.Stage) error {
		return finetune.Each(ctx, t, func(epoch finetune.Step) {
			bar.Note("held-out accuracy %.0f %%", 100*epoch.Metrics["held-out accuracy"])
			bar.Add(1)
		})
	}); err != nil {
		return err
	}
	s.trial.Reward = t.Model()
	err := reward.Give(ctx, t.Model(), p.Samples)
	return cmp.Or(err, t.Model().Save(s.Path("reward")), p.Save(ctx))
}

// tune trains a copy of the UNet by Eq. 2 on the pictures, whose weights are their rewards less a
// share of their category's mean. The reward decides between pictures, not between easy and hard
// prompts, and what is worse than the share pushes away. The trained weights are mixed with the
// base's, which keeps most of the gain and loses little quality.
func (s *session) tune(ctx context.Context, pictures []dataset.Sample, u *trial.Tuning) error {
	base, own := s.trial.Base, reward.Weigh(dataset.FromSlice(pictures), u.Weights)
	network, err := nn.Clone(base.UNet)
	empty, unknown := base.Conditions(ctx, "")
	if err = cmp.Or(err, unknown); err != nil {
		return err
	}
	encode := pipeline.EncodeOptions{Batch: batch, Cache: s.Path("cache")}
	rate := optim.Cosine(s.steps/20+1, s.steps)
	t := &finetune.Tuner{
		Network: network, Schedule: base.Schedule, Own: base.Encode(own, encode),
		OwnBatch: ownBatch, Terms: []finetune.Term{finetune.RewardWeighted{}}, Updates: s.steps,
		OwnLevels: base.Schedule.Process.From(300), // from 0 on quality falls more
		LR:        func(step int) float64 { return s.lr * rate(step) },
		Dropout:   0.1, Unconditional: empty[""], Seed: s.seed, Machine: s.machine.Config,
	}
	if u.Beta > 0 {
		// With wrong captions too: right ones would teach alignment without any reward.
		t.Pretrain = base.Encode(tiny.Pretraining(s.seed+1000, s.captioned), encode)
		t.PretrainBatch = pretrainBatch
		t.Terms = append(t.Terms, finetune.Pretraining{Beta: u.Beta})
	}
	stage, folder := "tune", s.Path()
	if u.Name != "tuned" {
		stage, folder = "tune, "+u.Title, s.Path("controls", u.Name)
	}
	u.Model = base.With(u.Name, network)
	done, every := s.Time(stage), max(1, s.steps/5)
	saved := &finetune.Checkpoints{Trainer: t, Folder: folder, Every: every, Resume: s.run.Resume}
	record := &finetune.Record{Trainer: saved, Folder: folder, Name: stage}
	_, err = record.Finish(ctx, func(name string) error {
		done()
		if err := nn.Mix(network, base.UNet, s.mix); err != nil || name != u.Name {
			return err // without one it was stopped, or is a control
		}
		return u.Model.Save(s.Path(name), kernels.Float32)
	})
	return err
}

// evaluate compares the models with each other and with best-of-n, and writes the reports.
func (s *session) evaluate(ctx context.Context) error {
	var found *trial.Result
	if err := s.Do("evaluate", s.trial.Work(), func(bar *report.Stage) (err error) {
		found, err = s.trial.Run(ctx, bar.Add)
		return err
	}); err != nil {
		return err
	}
	steps, err := finetune.ReadSteps(s.Path())
	if err != nil {
		return err
	}
	done := fmt.Sprintf("A miniature Stable Diffusion was tuned on %d of its own pictures, "+
		"weighted by a reward that was learned from labels good and bad.", s.samples)
	begin := report.Settled("go run ./examples/quickstart", s.run.Config)
	chart := finetune.TermsChart("Tuning", steps, "reward", "pretraining")
	page := found.Page("kudos quickstart", done, begin, chart)
	found.Seconds = s.Seconds
	return s.Conclude(report.Stdout(), found, page, found.Tables()...)
}
