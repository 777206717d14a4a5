// Command reward learns the paper's reward (Lee et al. 2023, Eq. 1) from a file of labelled pictures.
//
//	go run ./examples/reward -samples FILE.jsonl -clip DIR -out DIR
//
// The file is as package dataset describes it, with labels good, bad or skip. The reward is a folder that examples/finetune and
// examples/evaluate read, and alignment.Load in programs of one's own; report.json beside it says how well it predicts labels of prompts
// that it was not trained on.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward/alignment"
)

type options struct {
	samples, clip, out, cache string
	lambda, heldOut           float64
	hidden                    int
	product                   bool
	seed                      uint64
}

func parse(args []string) (o options, err error) {
	f := flag.NewFlagSet("reward", flag.ContinueOnError)
	f.StringVar(&o.samples, "samples", "", "JSONL `file` of pictures with labels good, bad or skip (required)")
	f.StringVar(&o.clip, "clip", "", "`folder` of a CLIPModel with tokenizer and preprocessor, as transformers writes it; without it the embedded miniature's, which knows shapes only")
	f.StringVar(&o.out, "out", "", "`folder` for the reward (required)")
	f.StringVar(&o.cache, "cache", "", "`file` that keeps the pictures' features, so that another run needs not compute them (default features.safetensors in -out)")
	f.Float64Var(&o.lambda, "lambda", 0.5, "weight λ of prompt classification against other prompts of the file; 0 leaves it out")
	f.Float64Var(&o.heldOut, "held-out", 0.2, "share of the prompts whose labels are for testing only")
	f.IntVar(&o.hidden, "hidden", 1024, "hidden units of the perceptron")
	f.BoolVar(&o.product, "product", true, "let the perceptron read the product of the two embeddings too; the paper's reads only the two")
	f.Uint64Var(&o.seed, "seed", 1, "decides every random draw")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.samples == "" || o.out == "":
		return o, errors.New("-samples and -out are required")
	case !(o.lambda >= 0):
		return o, fmt.Errorf("-lambda %v must not be negative", o.lambda)
	case !(o.heldOut > 0 && o.heldOut < 1):
		return o, fmt.Errorf("-held-out %v must be between 0 and 1", o.heldOut)
	case o.hidden < 1:
		return o, fmt.Errorf("-hidden %d: at least 1 is needed", o.hidden)
	}
	if o.cache == "" {
		o.cache = filepath.Join(o.out, "features.safetensors")
	}
	return o, nil
}

func main() {
	var o options
	report.Main("reward", func(ctx context.Context) (err error) {
		if o, err = parse(os.Args[1:]); err != nil {
			return err
		}
		return run(ctx, o)
	}, func() string { return "the features so far are in " + o.cache })
}

// result is report.json.
type result struct {
	Samples string  `json:"samples"`
	CLIP    string  `json:"clip"` // its hash
	Seed    uint64  `json:"seed"`
	Lambda  float64 `json:"lambda"`
	Train   count   `json:"train"`
	Test    count   `json:"test"`
	HeldOut scores  `json:"held_out"`
}

// A count is of labels, and of the prompts that they are for.
type count struct {
	Prompts int `json:"prompts"`
	Good    int `json:"good"`
	Bad     int `json:"bad"`
}

// scores are how well the reward, and CLIP's similarity, predict the labels of held-out prompts. AUCs are null where all labels are the same.
type scores struct {
	N        int      `json:"n"`
	Accuracy float64  `json:"accuracy"`
	AUC      *float64 `json:"auc"`
	CLIPAUC  *float64 `json:"clip_auc"`
}

func run(ctx context.Context, o options) error {
	labelled, err := dataset.CollectLabelled(ctx, dataset.File{Path: o.samples}) // what is wrong with the file is known before anything takes time
	if err != nil {
		return err
	}
	rest, heldOut, err := dataset.SplitPrompts(labelled, o.heldOut, o.seed)
	if err != nil {
		return fmt.Errorf("%s: %w", o.samples, err)
	}
	encoder, err := tiny.CLIP()
	if o.clip != "" {
		encoder, err = clip.Load(o.clip)
	}
	if err != nil {
		return fmt.Errorf("-clip: %w", err)
	}
	defer encoder.Close()
	folder, err := report.NewFolder(o.out)
	if err != nil {
		return err
	}
	cache, err := clip.OpenCache(encoder, o.cache)
	if err != nil {
		return err
	}
	r := result{Samples: o.samples, CLIP: encoder.Hash(), Seed: o.seed, Lambda: o.lambda}
	r.Train, r.Test = counts(rest), counts(heldOut)
	model, err := learn(ctx, cache, rest, o)
	if err == nil {
		r.HeldOut, err = compare(ctx, model, heldOut, o)
	}
	if err = errors.Join(err, cache.Save()); err != nil {
		return err
	}
	if err := model.Save(o.out); err != nil {
		return err
	}
	if err := folder.JSON("report.json", r); err != nil {
		return err
	}
	if err := table(r).Print(os.Stdout); err != nil {
		return err
	}
	fmt.Printf("\nThe reward is in %s.\n", o.out)
	return nil
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

// pictures are the labelled samples of the prompts of some of them, each counted as it is read.
func pictures(o options, of []dataset.Sample, bar *report.Stage) dataset.Dataset {
	prompts := map[string]bool{}
	for _, s := range of {
		prompts[s.Prompt] = true
	}
	labelled := dataset.Filter(dataset.File{Path: o.samples, Images: true}, func(s dataset.Sample) bool {
		return (s.Label == dataset.Good || s.Label == dataset.Bad) && prompts[s.Prompt]
	})
	return dataset.Map(labelled, func(_ context.Context, s dataset.Sample) (dataset.Sample, error) {
		bar.Add(1)
		return s, nil
	})
}

// learn trains the reward on the labels of all prompts that are not for testing.
func learn(ctx context.Context, cache *clip.Cache, rest []dataset.Sample,
	o options) (*alignment.Model, error) {
	const passes = 60
	progress := report.Stderr()
	reading := progress.Stage("features", len(rest))
	t := &alignment.Training{
		CLIP: cache, Lambda: o.lambda, Hidden: o.hidden, Product: o.product, Seed: o.seed, Passes: passes,
		HeldOut: 0.15,
		Samples: pictures(o, rest, reading),
	}
	if o.lambda > 0 { // 8 prompts with the true one, or as many as there are
		prompts := dataset.Prompts(rest)
		t.Prompts, t.Perturb = min(8, len(prompts)), dataset.OtherPrompts(prompts)
	}
	var learning *report.Stage
	for epoch, err := range t.Epochs(ctx) {
		if err != nil {
			reading.End()
			return nil, err
		}
		if learning == nil {
			reading.End()
			if err := cache.Save(); err != nil {
				return nil, err
			}
			learning = progress.Stage("reward", passes)
		}
		learning.Note("held-out accuracy %.0f %%", 100*epoch.HeldOut.Accuracy)
		learning.Add(1)
	}
	learning.End()
	return t.Model(), nil
}

// compare tests the reward on the held-out prompts.
func compare(ctx context.Context, model *alignment.Model, heldOut []dataset.Sample,
	o options) (scores, error) {
	bar := report.Stderr().Stage("test", len(heldOut))
	c, err := model.Evaluate(ctx, pictures(o, heldOut, bar))
	bar.End()
	known := func(v float64) *float64 {
		if math.IsNaN(v) {
			return nil
		}
		return &v
	}
	return scores{c.N, c.Accuracy.Accuracy, known(c.AUC), known(c.CLIPAUC)}, err
}

func table(r result) report.Table {
	auc := func(v *float64) string {
		if v == nil {
			return "–"
		}
		return fmt.Sprintf("%.2f", *v)
	}
	return report.Table{
		Title: "The reward on prompts that it was not trained on", Header: []string{"", "labels", "accuracy", "AUC"},
		Rows: [][]string{
			{"reward", fmt.Sprint(r.HeldOut.N), report.Percent(r.HeldOut.Accuracy), auc(r.HeldOut.AUC)},
			{"CLIP similarity", fmt.Sprint(r.HeldOut.N), "", auc(r.HeldOut.CLIPAUC)},
		},
		Note: fmt.Sprintf("Learned from %d labels good and %d bad of %d prompts, tested on those of %d others.", r.Train.Good, r.Train.Bad, r.Train.Prompts, r.Test.Prompts),
	}
}
