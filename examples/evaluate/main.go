// Command evaluate compares Stable Diffusions on prompts of the user's: a base model, tuned ones, and the best of n pictures of the base.
//
//	go run ./examples/evaluate -model BASE -model TUNED -prompts FILE -reward DIR -clip DIR -n 4 -out DIR
//
// Every model makes its pictures from the same noise: picture i of one is from the noise of picture i of any other. So differences are paired,
// and their intervals are those of measure.Paired, clustered by prompt. Best-of-n draws n pictures of the base in the place of each, of which
// the first is the base's own, and takes the one of the highest reward.
//
// It leaves a folder: report.html and report.json, and for every arm (base, tuned, best_of_4, …) a folder with samples/, the pictures, and
// samples.jsonl, a line for each with its reward in the format of dataset.File. A picture is there as soon as it is made. Whenever the
// program is stopped, what is there is whole.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/sampling"
	"github.com/kudos-ml/kudos/finetune/report"
)

// options are the flags.
type options struct {
	args      []string // all of them, for the page
	arms      []arm    // that are models: the base, then the tuned ones
	loraScale float64
	prompts   []string
	sampling.Options
	perPrompt    int
	n            int // of best-of-n; 1 without a reward
	reward, clip string
	out          string
}

// An arm is what is compared.
type arm struct {
	name        string // of its folder
	title       string // on the page
	model, lora string // lora is empty for a model as it is
}

// unet tells the UNets of arms apart.
func (a arm) unet() string { return a.model + "\x00" + a.lora }

func parse(ctx context.Context, args []string) (o options, err error) {
	o.args = args
	f := flag.NewFlagSet("evaluate", flag.ContinueOnError)
	f.Func("model", "`folder` that diffusers wrote, checkpoint file, or ORG/NAME in the Hugging Face cache: first the base, then, each with a -model of its own, the tuned ones", func(s string) error {
		o.arms = append(o.arms, arm{model: s})
		return nil
	})
	f.Func("lora", "`file` of a low-rank adapter, as diffusers or kohya's programs write it: the base with it is a tuned model; may be given several times", func(s string) error {
		if len(o.arms) == 0 {
			return errors.New("the base, a -model, comes first")
		}
		o.arms = append(o.arms, arm{model: o.arms[0].model, lora: s})
		return nil
	})
	f.Float64Var(&o.loraScale, "lora-scale", 1, "how much of each adapter to add")
	prompts := f.String("prompts", "", "`file` of prompts: one a line, or samples if its name ends in .jsonl (required)")
	o.Flags(f)
	f.IntVar(&o.perPrompt, "per-prompt", 2, "pictures of each prompt an arm; diversity needs 2")
	f.IntVar(&o.n, "n", 4, "pictures of the base, its own among them, of which best-of-n takes the one of the highest reward in the place of each; 1 leaves best-of-n out")
	f.StringVar(&o.reward, "reward", "", "`folder` of a learned reward, as examples/reward writes it; without it there are CLIP's scores alone, and no best-of-n")
	f.StringVar(&o.clip, "clip", "", "`folder` of the CLIP that gives CLIP's scores and that the reward was learned on; without it the embedded miniature's, which knows shapes only")
	f.StringVar(&o.out, "out", filepath.Join("runs", "evaluate"), "`folder` for what comes out")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.reward == "" && !given["n"] {
		o.n = 1
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case len(o.arms) == 0 || *prompts == "":
		return o, errors.New("-model and -prompts are required")
	case o.perPrompt < 1 || o.n < 1:
		return o, fmt.Errorf("-per-prompt %d and -n %d must be at least 1", o.perPrompt, o.n)
	case o.n > 1 && o.reward == "":
		return o, fmt.Errorf("-n %d: best-of-n needs a -reward to choose by", o.n)
	case len(o.arms) == 1 && o.n == 1:
		return o, errors.New("there is nothing to compare the base with: give another -model, a -lora, or a -reward for best-of-n")
	case given["lora-scale"] && !given["lora"]:
		return o, errors.New("-lora-scale needs a -lora")
	case o.loraScale-o.loraScale != 0:
		return o, fmt.Errorf("-lora-scale %v is no number to multiply by", o.loraScale)
	}
	if err := o.Check(); err != nil {
		return o, err
	}
	if o.prompts, err = dataset.ReadPrompts(ctx, *prompts); err != nil {
		return o, fmt.Errorf("-prompts: %w", err)
	}
	if len(o.prompts)*o.perPrompt < 2 {
		return o, errors.New("-per-prompt 1: one picture of one prompt is nothing to compare by")
	}
	o.name()
	return o, nil
}

// name names the arms.
func (o *options) name() {
	o.arms[0].name, o.arms[0].title = "base", "base"
	for i := range o.arms[1:] {
		a := &o.arms[1+i]
		a.name, a.title = "tuned", "tuned"
		if i > 0 {
			a.name, a.title = fmt.Sprintf("tuned_%d", i+1), fmt.Sprintf("tuned %d", i+1)
		}
	}
}

// bestOf is the arm best-of-n.
func (o *options) bestOf() arm {
	return arm{name: fmt.Sprintf("best_of_%d", o.n), title: fmt.Sprintf("best of %d", o.n), model: o.arms[0].model}
}

func main() {
	var o options
	report.Main("evaluate", func(ctx context.Context) (err error) {
		if o, err = parse(ctx, os.Args[1:]); err != nil {
			return err
		}
		debug.SetGCPercent(20) // most of the memory is weights, which stay: by default as much garbage would lie beside them
		return run(ctx, o)
	}, func() string { return "what was finished is in " + o.out })
}
