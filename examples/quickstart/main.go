// Command quickstart runs the whole method on the embedded miniature: it generates pictures, has them
// labelled, learns a reward from the labels, tunes the UNet by it, and evaluates the result against
// the base model and best-of-n.
//
// It leaves a run folder: config.json, samples.jsonl with samples/ (what was generated and labelled),
// reward/ (the learned reward), metrics.jsonl, tuned/ (a pipeline folder that diffusers loads),
// report.json and report.html. However it ends, the same command with -resume goes on: what was
// painted is in cache/, what was trained in checkpoints/, and the result is bit for bit the same.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/examples/tiny/trial"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// options are the flags. Their defaults took 9 minutes on two cores that multiply at 115 GFLOP/s each.
type options struct {
	out, labels          string
	seed                 uint64
	samples, steps, eval int
	beta, lr             float64
	controls, resume     bool

	config  map[string]any // the flags, for config.json
	command string         // resumes the run
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	f.StringVar(&o.out, "out", "runs/quickstart", "run `folder`")
	f.Uint64Var(&o.seed, "seed", 1, "decides every random draw")
	f.StringVar(&o.labels, "labels", "",
		"JSONL `file` of labelled pictures to learn the reward from, instead of the judge's labels")
	f.IntVar(&o.samples, "samples", 2048, "pictures to generate and label")
	f.IntVar(&o.steps, "steps", 500,
		"updates of the UNet, 48 samples of the model and 16 of pretraining each")
	f.Float64Var(&o.beta, "beta", 0.1, "weight β of the pretraining term; 0 leaves it out")
	f.Float64Var(&o.lr, "lr", 5e-4, "learning rate of the UNet")
	f.IntVar(&o.eval, "eval", 256,
		"pictures an arm to evaluate on, of seen and of unseen prompts each")
	f.BoolVar(&o.controls, "controls", false, "also tune with all rewards equal, with rewards "+
		"shuffled over the pictures, and with β = 0, to compare")
	f.BoolVar(&o.resume, "resume", false,
		"go on with the run that -out holds, or begin if it holds none")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	o.config, o.command = report.Config(f), report.Resume("quickstart", args)
	return o, report.Check(f, report.AtLeast(64, "samples"), report.AtLeast(1, "steps"),
		report.Multiple(4, 128, "eval"), report.AtLeast(0, "beta"), report.Above(0, "lr"))
}

func main() {
	var o options
	report.Main("quickstart", func(ctx context.Context) (err error) {
		if o, err = parse(os.Args[1:]); err != nil {
			return err
		}
		return start(ctx, o)
	}, func() string { return "what was finished is in " + o.out + "; -resume goes on" })
}

// start is all of a run.
func start(ctx context.Context, o options) error {
	s, err := load(ctx, o)
	if err != nil {
		return err
	}
	defer s.clip.Close()
	run := finetune.Run{Folder: o.out, Resume: o.resume, Config: o.config, Command: o.command}
	return run.Do(ctx, func() error { return s.run(ctx) })
}

// A session is the run in hand.
type session struct {
	options
	*report.Stages
	folder       report.Folder
	base         *pipeline.Pipeline
	clip         *clip.Encoder
	seen, unseen dataset.Grammar
	labelled     []dataset.Sample // by people; without them the judge is asked
}

// load reads the labels, so that what is wrong with them is known first, and the embedded models.
func load(ctx context.Context, o options) (s *session, err error) {
	s = &session{options: o, Stages: report.NewStages(), folder: report.Folder(o.out)}
	if o.labels != "" {
		file := dataset.File{Path: o.labels, Images: true, Check: shapes.Known}
		if s.labelled, err = dataset.CollectLabelled(ctx, file); err != nil {
			return nil, err
		}
	}
	// Hearts and crescents are in no label and no tuning sample. The base model knows them.
	if s.seen, s.unseen, err = shapes.Grammar().Split("heart", "crescent"); err != nil {
		return nil, err
	}
	if s.base, err = tiny.Load(); err != nil {
		return nil, err
	}
	if s.clip, err = tiny.CLIP(); err != nil {
		return nil, err
	}
	hashes := s.base.Hashes()
	hashes["clip"], s.config["sha256"] = s.clip.Hash(), hashes
	hashes["labels"], err = report.Hash(o.labels)
	return s, err
}

// run is the method.
func (s *session) run(ctx context.Context) error {
	prompts, err := s.seen.Draw("prompts", s.seed, s.samples)
	if err != nil {
		return err
	}
	if err := s.estimate(ctx, prompts); err != nil {
		return err
	}
	// Pictures are the model's own distribution, without guidance, as Eq. 2 has it: tuned on guided
	// ones, it would be guided twice, and drift from drawn ones whatever the rewards.
	request := s.request(prompts)
	request.Guidance = 1
	pictures := &dataset.Gallery{Folder: s.out, Every: batch}
	if err := s.Do("generate", s.samples, func(bar *report.Stage) error {
		return pictures.Fill(ctx, s.base.Generate(request), bar.Add)
	}); err != nil {
		return err
	}
	model, err := s.learn(ctx, pictures)
	if err != nil {
		return err
	}
	var tuned []trial.Arm
	for _, u := range trial.Tunings(s.beta, s.seed, s.controls) {
		if u.Model, err = s.tune(ctx, pictures.Samples, u); err != nil {
			return err
		}
		tuned = append(tuned, u.Arm)
	}
	return s.evaluate(ctx, model, tuned)
}

// Pictures that are generated at once, and samples of an update.
const batch, ownBatch, pretrainBatch = 32, 48, 16

// request is for pictures with guidance, without which one kind in five is wrong. Of DDIM's steps, 25
// look no better.
func (s *session) request(prompts []string) pipeline.Request {
	return pipeline.Request{
		Prompts: prompts, Steps: 15, Guidance: 2, Seed: s.seed, Batch: batch,
		Cache: s.folder.Path("cache"),
	}
}

// estimate says how long all will take, by the time that one batch takes. A guided picture is 30
// evaluations of the UNet, one without guidance 15; a sample of an update is an evaluation and its
// gradient, 3.2 of them. All else is a twentieth.
func (s *session) estimate(ctx context.Context, prompts []string) error {
	pace, err := s.base.Pace(ctx, s.request(prompts))
	n := len(trial.Tunings(s.beta, s.seed, s.controls))
	judged, updates := 2*s.eval*(trial.BestOf+n), n*s.steps
	pictures := float64(s.samples)/2 + float64(judged) +
		3.2/30*float64(updates*(ownBatch+pretrainBatch))
	s.Printf("On this machine this will take about %s: %d pictures to label, %d updates, "+
		"%d pictures to evaluate.", report.Duration(time.Duration(1.05*pictures*float64(pace))),
		s.samples, updates, judged)
	return err
}

// learn has the pictures labelled, by a judge who errs as people do unless people have done it, trains
// the reward on the labels, and gives the pictures their rewards.
func (s *session) learn(ctx context.Context, p *dataset.Gallery) (*alignment.Model, error) {
	if s.labelled == nil {
		rater := shapes.Rater{ErrorRate: 0.05, Seed: s.seed}
		if err := s.Do("label", 0, func(*report.Stage) error {
			return p.Label(ctx, "judge", rater.Label)
		}); err != nil {
			return nil, err
		}
		s.labelled = p.Samples
	}
	t := &alignment.Training{
		CLIP: s.clip, Samples: dataset.FromSlice(s.labelled), Perturb: shapes.Grammar().Perturb,
		Lambda: 0.5, Hidden: 256, Product: true, LR: 1e-3, HeldOut: 0.15, Seed: s.seed,
	}
	if err := s.Do("reward", 60, func(bar *report.Stage) error {
		return finetune.Each(ctx, t, func(epoch finetune.Step) {
			bar.Note("held-out accuracy %.0f %%", 100*epoch.Metrics["held-out accuracy"])
			bar.Add(1)
		})
	}); err != nil {
		return nil, err
	}
	if err := reward.Give(ctx, t.Model(), p.Samples); err != nil {
		return nil, err
	}
	return t.Model(), errors.Join(t.Model().Save(s.folder.Path("reward")), p.Save(ctx))
}

// tune trains a copy of the UNet by Eq. 2 on the pictures, which are drawn by their rewards. Those of
// each category are drawn equally often: the reward decides between pictures, not between easy and
// hard prompts, or tuning would drift to what the base model does well already.
func (s *session) tune(
	ctx context.Context, pictures []dataset.Sample, u trial.Tuning,
) (*pipeline.Pipeline, error) {
	weights := reward.Balanced(u.Weights, shapes.Grammar().Category)
	own := reward.Weigh(dataset.FromSlice(pictures), weights)
	network, err := nn.Clone(s.base.UNet)
	if err != nil {
		return nil, err
	}
	empty, err := s.base.Conditions(ctx, "")
	if err != nil {
		return nil, err
	}
	encode := pipeline.EncodeOptions{Batch: batch, Cache: s.folder.Path("cache")}
	rate := optim.Cosine(s.steps/20+1, s.steps)
	t := &finetune.Tuner{
		Network: network, Schedule: s.base.Schedule, Own: s.base.Encode(own, encode),
		OwnBatch: ownBatch, Choose: finetune.ByReward{},
		OwnLevels: s.base.Schedule.Process.From(300), // from 0 on, quality falls more, alignment gains less
		Terms:     []finetune.Term{finetune.RewardWeighted{}}, Updates: s.steps,
		LR: func(step int) float64 { return s.lr * rate(step) }, EMA: 0.99,
		Dropout: 0.1, Unconditional: empty[""], Seed: s.seed,
	}
	if u.Beta > 0 {
		// The base's own distribution, wrong captions included: right ones would teach alignment
		// without any reward.
		t.Pretrain = s.base.Encode(tiny.Pretraining(s.seed+1000, 2048), encode)
		t.PretrainBatch = pretrainBatch
		t.Terms = append(t.Terms, finetune.Pretraining{Beta: u.Beta})
	}
	stage, folder := "tune", s.out
	if u.Name != "tuned" {
		stage, folder = "tune, "+u.Title, s.folder.Path("controls", u.Name)
	}
	began, tuned := time.Now(), s.base.With(u.Name, network)
	saved := &finetune.Checkpoints{Trainer: t, Folder: folder, Every: max(1, s.steps/5), Resume: s.resume}
	run := &finetune.Record{Trainer: saved, Folder: folder, Name: stage}
	_, err = run.Finish(ctx, func(name string) error {
		if s.Seconds[stage] = time.Since(began).Seconds(); name != u.Name {
			return nil // it was stopped, or is a control
		}
		return tuned.Save(s.folder.Path(name), kernels.Float32)
	})
	return tuned, err
}

// evaluate compares the models with each other and with best-of-n, and writes the reports.
func (s *session) evaluate(ctx context.Context, model *alignment.Model, tuned []trial.Arm) error {
	t := &trial.Trial{
		Base: s.base, Tuned: tuned, Reward: model, CLIP: s.clip, Seen: s.seen, Unseen: s.unseen,
		Pictures: s.eval, Request: s.request(nil),
	}
	var found *trial.Result
	if err := s.Do("evaluate", t.Work(), func(bar *report.Stage) (err error) {
		found, err = t.Run(ctx, bar.Add)
		return err
	}); err != nil {
		return err
	}
	steps, err := finetune.ReadSteps(s.out)
	if err != nil {
		return err
	}
	done := fmt.Sprintf("A miniature Stable Diffusion was tuned on %d of its own pictures, weighted by "+
		"a reward that was learned from labels good and bad.", s.samples)
	command := fmt.Sprintf("go run ./examples/quickstart -seed %d -samples %d -steps %d -beta %v -lr %v "+
		"-eval %d -controls=%t", s.seed, s.samples, s.steps, s.beta, s.lr, s.eval, s.controls)
	page := found.Page("kudos quickstart", done, command,
		finetune.TermsChart("Tuning", steps, "reward", "pretraining"))
	return s.folder.Conclude(os.Stdout, struct {
		Seed    uint64             `json:"seed"`
		Beta    float64            `json:"beta"`
		Seconds map[string]float64 `json:"seconds"` // of stages
		*trial.Result
	}{s.seed, s.beta, s.Seconds, found}, page, found.Tables()...)
}
