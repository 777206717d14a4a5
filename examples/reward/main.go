// Command reward learns the paper's reward (Lee et al. 2023, Eq. 1) from labelled pictures.
//
//	go run ./examples/reward -samples FILE.jsonl -clip DIR -out DIR
//	go run ./examples/reward -db FILE -aggregate dawid-skene -clip DIR -out DIR -folds 5 -curve
//
// Labels are in a file as package dataset describes it, or what raters say in a store of package
// feedback. The reward is a folder that alignment.Load reads; report.json and report.html in it say
// how well it predicts labels of prompts that it was not trained on. Its folder training/ has the
// run. However it ends, the same command with -resume goes on.
package main

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// options are the flags.
type options struct {
	samples, db, aggregate, clip, out, cache string
	lambda, heldOut                          float64
	hidden, folds                            int
	product, soft, balance, calibrate        bool
	ablate, curve, resume                    bool
	seed                                     uint64
	machine                                  command.Machine

	source, command string         // -samples or -db, where paths begin; what resumes the run
	config          map[string]any // the flags, for config.json
}

// aggregators are what -aggregate can be. Mean is Majority with -soft.
var aggregators = map[string]feedback.Aggregator{
	"": feedback.Majority{}, "majority": feedback.Majority{}, "mean": feedback.Mean{},
	"dawid-skene": feedback.DawidSkene{Smoothing: 1},
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("reward", flag.ContinueOnError)
	f.StringVar(&o.samples, "samples", "", "JSONL `file` of pictures with labels good, bad or skip")
	f.StringVar(&o.db, "db", "", "`file` of a store with judgements, instead of -samples")
	f.StringVar(&o.aggregate, "aggregate", "", "what makes labels of the judgements in -db: "+
		"`majority` (the default), mean (the same with -soft) or dawid-skene")
	f.StringVar(&o.clip, "clip", "", "`folder` of a CLIPModel with tokenizer and preprocessor, or "+
		"ORG/NAME; without it the embedded miniature's, which knows shapes only")
	f.StringVar(&o.out, "out", "", "`folder` for the reward (required)")
	f.StringVar(&o.cache, "cache", "", "`file` that keeps the pictures' features for other runs "+
		"(default features.safetensors in -out); those of another -clip stay, beside it")
	f.Float64Var(&o.lambda, "lambda", 0.5, "weight λ of prompt classification; 0 leaves it out")
	f.Float64Var(&o.heldOut, "held-out", 0.2, "share of the prompts, whose labels are for testing")
	f.IntVar(&o.hidden, "hidden", 1024, "hidden units of the perceptron")
	f.BoolVar(&o.product, "product", true, "let it read the product of the embeddings, too")
	f.BoolVar(&o.soft, "soft", false, "learn how good people say it is, not the label alone")
	f.BoolVar(&o.balance, "balance", false, "have good labels count as much as bad ones, together")
	f.BoolVar(&o.calibrate, "calibrate", true, "make rewards probabilities, by a temperature")
	f.IntVar(&o.folds, "folds", 0, "try the training on so many folds of all labels; 0 does not")
	f.BoolVar(&o.ablate, "ablate", false, "try it without λ, and with 1/2 of the labels, in -folds")
	f.BoolVar(&o.curve, "curve", false, "try it with 1/8, 1/4 and 1/2 of the labels, in -folds")
	f.Uint64Var(&o.seed, "seed", 1, "decides every random draw")
	f.BoolVar(&o.resume, "resume", false, "go on with the run in -out, or begin if there is none")
	o.machine.Flags(f)
	if err := o.machine.Parse(f, args); err != nil {
		return o, err
	}
	o.config, o.command = report.Config(f), report.Resume("go run ./examples/reward", args)
	o.cache = cmp.Or(o.cache, filepath.Join(o.out, "features.safetensors"))
	o.source, o.soft = cmp.Or(o.samples, o.db), o.soft || o.aggregate == "mean"
	switch {
	case (o.samples == "") == (o.db == ""):
		return o, errors.New("one of -samples and -db is required")
	case aggregators[o.aggregate] == nil:
		return o, fmt.Errorf("-aggregate %s must be majority, mean or dawid-skene", o.aggregate)
	}
	return o, cmp.Or(report.Required(f, "out"), report.Needs(f, "aggregate", "db"),
		report.Needs(f, "ablate", "folds"), report.Needs(f, "curve", "folds"), report.Check(f,
			report.AtLeast(0, "folds"), report.Within(0, 1e6, "lambda"), report.Between(0, 1,
				"held-out"), report.Within(1, 1<<16, "hidden")), alignment.Vacant(o.out))
}

func main() {
	var o options
	report.Main("reward", func(ctx context.Context) (err error) {
		if o, err = parse(os.Args[1:]); err != nil {
			return err
		}
		return errors.Join(run(ctx, o), o.machine.Close())
	}, func() string { return report.Finished(o.cache) })
}

// labelled are the samples that are labelled good or bad.
func (o options) labelled(ctx context.Context) ([]dataset.Sample, error) {
	if o.db != "" {
		return feedback.ReadLabels(ctx, o.db, aggregators[o.aggregate])
	}
	return dataset.CollectLabelled(ctx, dataset.File{Path: o.samples})
}

// A session is the run in hand.
type session struct {
	options
	progress *report.Progress
	cache    *clip.Cache
	kept     time.Time // when the features were
}

func run(ctx context.Context, o options) error {
	// What is wrong with labels and pictures is known before anything takes time.
	labelled, err := o.labelled(ctx)
	text, bad := json.Marshal(labelled) // a store's file changes with every judgement
	if err = cmp.Or(err, bad); err != nil {
		return err
	}
	rest, heldOut, err := dataset.SplitPrompts(labelled, o.heldOut, o.seed)
	err = cmp.Or(err, (&alignment.KFold{Folds: cmp.Or(o.folds, 2)}).Check(labelled))
	if err == nil {
		err = command.Look(ctx, report.Stderr(), labelled, filepath.Dir(o.source))
	}
	if err != nil {
		return fmt.Errorf("%s: %w", o.source, err)
	}
	encoder, err := tiny.LoadCLIP(o.clip)
	if err != nil {
		return fmt.Errorf("-clip: %w", err)
	}
	defer encoder.Close()
	encoder.Machine = o.machine.Config
	labels := fmt.Sprintf("%x", sha256.Sum256(text))
	o.config["sha256"] = map[string]string{"labels": labels, "clip": encoder.Hash()}
	begun := finetune.Run{
		Folder: filepath.Join(o.out, "training"), Resume: o.resume, Command: o.command,
		Config: o.config, MayChange: []string{"cache"},
	}
	return begun.Do(ctx, func() error {
		cache, err := clip.OpenCache(encoder, o.cache)
		if err != nil {
			return err
		}
		s := &session{options: o, progress: report.Stderr(), cache: cache, kept: time.Now()}
		return errors.Join(s.run(ctx, rest, heldOut), cache.Save())
	})
}

// run learns the reward from the labels of some prompts and tests it by those of others.
func (s *session) run(ctx context.Context, rest, heldOut []dataset.Sample) error {
	model, err := s.learn(ctx, rest)
	if err != nil {
		return err
	}
	bar := s.progress.Stage("test", len(heldOut))
	predictions, err := model.Predict(ctx, s.pictures(heldOut, bar))
	bar.End()
	if err != nil {
		return err
	}
	r := alignment.Report{
		Samples: s.source, CLIP: s.cache.Hash(), Seed: s.seed, Lambda: s.lambda,
		Temperature: model.Temperature(), Train: alignment.CountLabels(rest),
	}
	if r.HeldOut, err = alignment.NewSkill(predictions, s.seed); err == nil && s.folds > 0 {
		r.KFold, err = s.validate(ctx, slices.Concat(rest, heldOut))
	}
	if err = cmp.Or(err, model.Save(s.out)); err != nil {
		return err
	}
	r.Test = r.HeldOut.Labels
	fmt.Fprintf(report.Stdout(), "The reward is in %s.\n\n", s.out)
	return report.Folder(s.out).Conclude(report.Stdout(), r, r.Page(), r.Tables()...)
}

// validate tries the training on folds of all labels. The features of all pictures are there.
func (s *session) validate(
	ctx context.Context, all []dataset.Sample,
) (*alignment.Validation, error) {
	bar := s.progress.Stage("folds", 0)
	defer bar.End()
	k := alignment.KFold{
		Training: s.training(all, bar), Folds: s.folds, Seen: true, Done: func() { bar.Add(1) },
	}
	if s.curve {
		k.Variants = alignment.Curve()
	}
	if s.ablate {
		k.Variants = append(k.Variants, alignment.Ablations()...)
	}
	bar.Of(len(all) + k.Trainings())
	return k.Run(ctx)
}

// pictures are samples with their pictures. Once a minute the features so far are kept.
func (s *session) pictures(of []dataset.Sample, bar *report.Stage) dataset.Dataset {
	read := dataset.Map(dataset.FromSlice(of), dataset.File{Path: s.source}.Decode)
	return dataset.Checked(dataset.Watched(read, bar.Add), func(dataset.Sample) error {
		if time.Since(s.kept) < time.Minute {
			return nil
		}
		s.kept = time.Now()
		return s.cache.Save()
	})
}

// training is what learns from samples.
func (s *session) training(of []dataset.Sample, bar *report.Stage) *alignment.Training {
	return &alignment.Training{
		CLIP: s.cache, Samples: s.pictures(of, bar), Soft: s.soft, Balance: s.balance,
		Lambda: s.lambda, Hidden: s.hidden, Product: s.product,
		HeldOut: 0.15, Passes: 60, Seed: s.seed, Machine: s.machine.Config,
	}
}

// learn trains the reward on the labels of all prompts that are not for testing.
func (s *session) learn(ctx context.Context, rest []dataset.Sample) (*alignment.Model, error) {
	bar := s.progress.Stage("features", len(rest))
	t := s.training(rest, bar)
	_, err := t.State(ctx) // which reads the pictures
	bar.End()
	if err = errors.Join(err, s.cache.Save()); err != nil {
		return nil, err
	}
	bar = s.progress.Stage("reward", t.Passes)
	defer bar.End()
	folder := filepath.Join(s.out, "training")
	saved := &finetune.Checkpoints{Trainer: t, Folder: folder, Resume: s.resume}
	record := &finetune.Record{Trainer: saved, Folder: folder, Name: "reward", Progress: io.Discard}
	err = finetune.Each(ctx, record, func(epoch finetune.Step) {
		bar.Note("held-out accuracy %.0f %%", 100*epoch.Metrics["held-out accuracy"])
		bar.Add(1)
	})
	if err != nil || !s.calibrate {
		return t.Model(), err
	}
	return t.Calibrated()
}
