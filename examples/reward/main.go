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
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/command"
	"github.com/kudos-ml/kudos/internal/report"
	"github.com/kudos-ml/kudos/internal/rng"
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
	command.Main("reward", func(ctx context.Context) (err error) {
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
	test, err := heldOut(labelled, o)
	if err != nil {
		return err
	}
	encoder, err := command.LoadCLIP(o.clip)
	if err != nil {
		return err
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
	r.Train, r.Test = counts(labelled, func(p string) bool { return !test[p] }), counts(labelled, func(p string) bool { return test[p] })
	model, err := learn(ctx, cache, labelled, test, o)
	if err == nil {
		r.HeldOut, err = compare(ctx, cache, model, test, r.Test, o)
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

// heldOut chooses the prompts whose labels are for testing only.
func heldOut(labelled []dataset.Sample, o options) (map[string]bool, error) {
	prompts := promptsOf(labelled)
	if len(prompts) < 3 {
		return nil, fmt.Errorf("%s: there are labels of %d prompts; at least 3 are needed: to learn from, to stop early by, to test on", o.samples, len(prompts))
	}
	r := rng.New(o.seed, "test prompts", 0, 0)
	r.Shuffle(len(prompts), func(i, j int) { prompts[i], prompts[j] = prompts[j], prompts[i] })
	test := map[string]bool{}
	for _, p := range prompts[:min(max(1, int(o.heldOut*float64(len(prompts)))), len(prompts)-2)] {
		test[p] = true
	}
	return test, nil
}

// promptsOf lists the distinct prompts, sorted.
func promptsOf(samples []dataset.Sample) []string {
	var prompts []string
	for _, s := range samples {
		prompts = append(prompts, s.Prompt)
	}
	slices.Sort(prompts)
	return slices.Compact(prompts)
}

func counts(labelled []dataset.Sample, of func(prompt string) bool) (c count) {
	var part []dataset.Sample
	for _, s := range labelled {
		switch {
		case !of(s.Prompt):
			continue
		case s.Label == dataset.Good:
			c.Good++
		default:
			c.Bad++
		}
		part = append(part, s)
	}
	c.Prompts = len(promptsOf(part))
	return c
}

// pictures are the labelled samples of the prompts that of holds for, each counted as it is read.
func pictures(o options, of func(prompt string) bool, bar *report.Stage) dataset.Dataset {
	labelled := dataset.Filter(dataset.File{Path: o.samples, Images: true}, func(s dataset.Sample) bool {
		return (s.Label == dataset.Good || s.Label == dataset.Bad) && of(s.Prompt)
	})
	return dataset.Map(labelled, func(_ context.Context, s dataset.Sample) (dataset.Sample, error) {
		bar.Add(1)
		return s, nil
	})
}

// learn trains the reward on the labels of all prompts that are not for testing.
func learn(ctx context.Context, cache *clip.Cache, labelled []dataset.Sample, test map[string]bool, o options) (*alignment.Model, error) {
	const passes = 60
	progress := report.Stderr()
	train := counts(labelled, func(p string) bool { return !test[p] })
	reading := progress.Stage("features", train.Good+train.Bad)
	t := &alignment.Training{
		CLIP: cache, Lambda: o.lambda, Hidden: o.hidden, Product: o.product, Seed: o.seed, Passes: passes,
		Samples: pictures(o, func(p string) bool { return !test[p] }, reading),
	}
	if o.lambda > 0 {
		t.Prompts, t.Perturb = others(labelled, test)
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

// others are the wrong prompts of free text: those of other pictures that the reward learns from. (The paper's are variations of the
// prompt, which takes a grammar.) There are 8 with the true one, or as many as there are.
func others(labelled []dataset.Sample, test map[string]bool) (n int, perturb func(string, int, *rand.Rand) ([]string, error)) {
	prompts := slices.DeleteFunc(promptsOf(labelled), func(p string) bool { return test[p] })
	return min(8, len(prompts)), func(prompt string, n int, r *rand.Rand) ([]string, error) {
		var wrong []string
		for _, i := range r.Perm(len(prompts)) {
			if prompts[i] != prompt && len(wrong) < n {
				wrong = append(wrong, prompts[i])
			}
		}
		return wrong, nil
	}
}

// compare tests the reward on the held-out prompts.
func compare(ctx context.Context, cache *clip.Cache, model *alignment.Model, test map[string]bool, n count, o options) (scores, error) {
	bar := report.Stderr().Stage("test", n.Good+n.Bad)
	c, err := model.Evaluate(ctx, pictures(o, func(p string) bool { return test[p] }, bar))
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
