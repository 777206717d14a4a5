// Command reward learns the paper's reward (Lee et al. 2023, Eq. 1) from labelled pictures.
//
//	go run ./examples/reward -samples FILE.jsonl -clip DIR -out DIR
//
// The file is as package dataset describes it, with labels good, bad or skip. The reward is a
// folder that examples/finetune and examples/evaluate read, and alignment.Load in programs of one's
// own; report.json beside it says how well it predicts labels of prompts that it was not trained
// on. Its folder training/ has the run: config.json, metrics.jsonl, report.html and checkpoints/.
// However it ends, the same command with -resume goes on.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"time"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// options are the flags.
type options struct {
	samples, clip, out, cache string
	lambda, heldOut           float64
	hidden                    int
	product, resume           bool
	seed                      uint64
	machine                   command.Machine

	config  map[string]any // the flags, for config.json
	command string         // resumes the run
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("reward", flag.ContinueOnError)
	f.StringVar(&o.samples, "samples", "",
		"JSONL `file` of pictures with labels good, bad or skip (required)")
	f.StringVar(&o.clip, "clip", "", "`folder` of a CLIPModel with tokenizer and preprocessor, as "+
		"transformers writes it; without it the embedded miniature's, which knows shapes only")
	f.StringVar(&o.out, "out", "", "`folder` for the reward (required)")
	f.StringVar(&o.cache, "cache", "", "`file` that keeps the pictures' features, so that another "+
		"run needs not compute them (default features.safetensors in -out)")
	f.Float64Var(&o.lambda, "lambda", 0.5, "weight λ of prompt classification against other "+
		"prompts of the file; 0 leaves it out")
	f.Float64Var(&o.heldOut, "held-out", 0.2,
		"share of the prompts whose labels are for testing only")
	f.IntVar(&o.hidden, "hidden", 1024, "hidden units of the perceptron")
	f.BoolVar(&o.product, "product", true, "let the perceptron read the product of the two "+
		"embeddings too; the paper's reads only the two")
	f.Uint64Var(&o.seed, "seed", 1, "decides every random draw")
	f.BoolVar(&o.resume, "resume", false, "go on with the run that -out holds, or begin if it "+
		"holds none; -cache may be another")
	o.machine.Flags(f)
	if err := o.machine.Parse(f, args); err != nil {
		return o, err
	}
	o.config, o.command = report.Config(f), report.Resume("go run ./examples/reward", args)
	o.cache = cmp.Or(o.cache, filepath.Join(o.out, "features.safetensors"))
	return o, cmp.Or(report.Required(f, "samples", "out"), report.Check(f,
		report.AtLeast(0, "lambda"), report.Between(0, 1, "held-out"), report.AtLeast(1, "hidden")))
}

func main() {
	var o options
	report.Main("reward", func(ctx context.Context) (err error) {
		if o, err = parse(os.Args[1:]); err != nil {
			return err
		}
		return errors.Join(run(ctx, o), o.machine.Close())
	}, func() string { return "the features so far are in " + o.cache + "; -resume goes on" })
}

// result is report.json.
type result struct {
	Samples string               `json:"samples"`
	CLIP    string               `json:"clip"` // its hash
	Seed    uint64               `json:"seed"`
	Lambda  float64              `json:"lambda"`
	Train   count                `json:"train"`
	Test    count                `json:"test"`
	HeldOut alignment.Comparison `json:"held_out"` // with labels of other prompts
}

// A count is of labels, and of the prompts that they are for.
type count struct {
	Prompts int `json:"prompts"`
	Good    int `json:"good"`
	Bad     int `json:"bad"`
}

// A session is the run in hand.
type session struct {
	options
	progress *report.Progress
	cache    *clip.Cache
	kept     time.Time // when the features were
}

func run(ctx context.Context, o options) error {
	// What is wrong with the file is known before anything takes time.
	labelled, err := dataset.CollectLabelled(ctx, dataset.File{Path: o.samples})
	if err != nil {
		return err
	}
	rest, heldOut, err := dataset.SplitPrompts(labelled, o.heldOut, o.seed)
	if err != nil {
		return fmt.Errorf("%s: %w", o.samples, err)
	}
	encoder, err := tiny.LoadCLIP(o.clip)
	if err != nil {
		return fmt.Errorf("-clip: %w", err)
	}
	defer encoder.Close()
	encoder.Machine = o.machine.Config
	samples, err := report.Hash(o.samples)
	if err != nil {
		return err
	}
	o.config["sha256"] = map[string]string{"samples": samples, "clip": encoder.Hash()}
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
	r := result{Samples: s.samples, CLIP: s.cache.Hash(), Seed: s.seed, Lambda: s.lambda}
	r.Train, r.Test = counts(rest), counts(heldOut)
	bar := s.progress.Stage("test", len(heldOut))
	r.HeldOut, err = model.Evaluate(ctx, s.pictures(heldOut, bar))
	bar.End()
	if err != nil {
		return err
	}
	saved := cmp.Or(model.Save(s.out), report.Folder(s.out).JSON("report.json", r))
	if err := cmp.Or(saved, r.table().Print(os.Stdout)); err != nil {
		return err
	}
	fmt.Printf("\nThe reward is in %s.\n", s.out)
	return nil
}

// pictures are the labelled samples of some prompts, each counted as it is read. Once a minute the
// features so far are kept.
func (s *session) pictures(of []dataset.Sample, bar *report.Stage) dataset.Dataset {
	prompts := map[string]bool{}
	for _, sample := range of {
		prompts[sample.Prompt] = true
	}
	all := dataset.File{Path: s.samples, Images: true}
	labelled := dataset.Filter(all, func(s dataset.Sample) bool {
		return (s.Label == dataset.Good || s.Label == dataset.Bad) && prompts[s.Prompt]
	})
	return dataset.Checked(dataset.Watched(labelled, bar.Add), func(dataset.Sample) error {
		if time.Since(s.kept) < time.Minute {
			return nil
		}
		s.kept = time.Now()
		return s.cache.Save()
	})
}

// learn trains the reward on the labels of all prompts that are not for testing.
func (s *session) learn(ctx context.Context, rest []dataset.Sample) (*alignment.Model, error) {
	const passes = 60
	bar := s.progress.Stage("features", len(rest))
	t := &alignment.Training{
		CLIP: s.cache, Samples: s.pictures(rest, bar), Lambda: s.lambda, Hidden: s.hidden,
		Product: s.product, HeldOut: 0.15, Passes: passes, Seed: s.seed, Machine: s.machine.Config,
	}
	if s.lambda > 0 { // 8 prompts with the true one, or as many as there are
		prompts := dataset.Prompts(rest)
		t.Prompts, t.Perturb = min(8, len(prompts)), dataset.OtherPrompts(prompts)
	}
	_, err := t.State(ctx) // which reads the pictures
	bar.End()
	if err = errors.Join(err, s.cache.Save()); err != nil {
		return nil, err
	}
	bar = s.progress.Stage("reward", passes)
	defer bar.End()
	folder := filepath.Join(s.out, "training")
	saved := &finetune.Checkpoints{Trainer: t, Folder: folder, Resume: s.resume}
	record := &finetune.Record{Trainer: saved, Folder: folder, Name: "reward", Progress: io.Discard}
	err = finetune.Each(ctx, record, func(epoch finetune.Step) {
		bar.Note("held-out accuracy %.0f %%", 100*epoch.Metrics["held-out accuracy"])
		bar.Add(1)
	})
	return t.Model(), err
}

func counts(labelled []dataset.Sample) count {
	c := count{Prompts: len(dataset.Prompts(labelled))}
	for _, s := range labelled {
		if s.Label == dataset.Good {
			c.Good++
		} else {
			c.Bad++
		}
	}
	return c
}

// table shows it to people.
func (r result) table() report.Table {
	auc := func(v float64) string {
		if math.IsNaN(v) {
			return "–"
		}
		return fmt.Sprintf("%.2f", v)
	}
	c := r.HeldOut
	return report.Table{
		Title:  "The reward on prompts that it was not trained on",
		Header: []string{"", "labels", "accuracy", "AUC"},
		Rows: [][]string{
			{"reward", fmt.Sprint(c.N), report.Percent(c.Accuracy.Accuracy), auc(c.AUC)},
			{"CLIP similarity", fmt.Sprint(c.N), "", auc(c.CLIPAUC)},
		},
		Note: fmt.Sprintf("Learned from %d labels good and %d bad of %d prompts, tested on those "+
			"of %d others.", r.Train.Good, r.Train.Bad, r.Train.Prompts, r.Test.Prompts),
	}
}
