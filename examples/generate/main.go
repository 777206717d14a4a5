// Command generate makes pictures of prompts with a Stable Diffusion: the embedded miniature, or a folder, checkpoint file or name
// of yours.
//
// It leaves a folder: samples/, the pictures as PNG files that carry their parameters in the form that AUTOMATIC1111's web UI writes, and
// samples.jsonl, a line for each in the format of dataset.File. A picture is there as soon as it is made, and its line after it, so
// whenever the program is stopped, what is there is whole.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/sampling"
	"github.com/kudos-ml/kudos/finetune/report"
)

// options are the flags.
type options struct {
	model   string // empty: the embedded miniature
	prompts []string
	sampling.Options
	n            int // pictures of a prompt
	out          string
	lora         string
	loraScale    float64
	bestOf       int
	reward, clip string
	latents      string
}

func parse(ctx context.Context, args []string) (o options, err error) {
	f := flag.NewFlagSet("generate", flag.ContinueOnError)
	f.StringVar(&o.model, "model", "", fmt.Sprintf("`folder` that diffusers wrote, checkpoint file, or ORG/NAME in the Hugging Face cache; without it the embedded miniature, with -guidance %d", sampling.TinyGuidance))
	prompt := f.String("prompt", "", "what to make pictures of")
	prompts := f.String("prompts", "", "`file` of prompts: one a line, or samples if its name ends in .jsonl")
	o.Flags(f)
	f.IntVar(&o.n, "n", 1, "pictures of each prompt")
	f.StringVar(&o.out, "out", filepath.Join("runs", "generate"), "`folder` for the pictures")
	f.StringVar(&o.lora, "lora", "", "`file` of a low-rank adapter, as diffusers or kohya's programs write it")
	f.Float64Var(&o.loraScale, "lora-scale", 1, "how much of the adapter to add")
	f.IntVar(&o.bestOf, "best-of", 1, "make as many for each picture and keep the one of the highest reward")
	f.StringVar(&o.reward, "reward", "", "`folder` of a learned reward, such as the quickstart's reward/; pictures get their score")
	f.StringVar(&o.clip, "clip", "", "`folder` of the CLIP that the reward was learned on; the miniature's without it")
	f.StringVar(&o.latents, "latents", "", "safetensors `file` of the noise to use, [K+1,B,C,H,W]: the start, then each step's draw")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if o.model == "" && !given["guidance"] {
		o.Guidance = sampling.TinyGuidance
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; a prompt of several words needs quotes", f.Arg(0))
	case given["prompt"] == given["prompts"]:
		return o, errors.New("give one of -prompt and -prompts")
	case given["prompt"] && strings.TrimSpace(*prompt) == "":
		return o, errors.New("-prompt is empty")
	case o.n < 1 || o.bestOf < 1:
		return o, fmt.Errorf("-n %d and -best-of %d must be at least 1", o.n, o.bestOf)
	case o.bestOf > 1 && o.reward == "":
		return o, errors.New("-best-of needs a -reward to choose by")
	case given["clip"] && o.reward == "":
		return o, errors.New("-clip is what a -reward was learned on; there is none")
	case given["lora-scale"] && o.lora == "":
		return o, errors.New("-lora-scale needs a -lora")
	case o.loraScale-o.loraScale != 0:
		return o, fmt.Errorf("-lora-scale %v is no number to multiply by", o.loraScale)
	case given["latents"] && given["seed"]:
		return o, errors.New("-latents are the noise, so -seed decides nothing: give one of them")
	}
	if err := o.Check(); err != nil {
		return o, err
	}
	o.prompts = []string{*prompt}
	if given["prompts"] {
		if o.prompts, err = dataset.ReadPrompts(ctx, *prompts); err != nil {
			return o, fmt.Errorf("-prompts: %w", err)
		}
	}
	return o, nil
}

func main() {
	var o options
	report.Main("generate", func(ctx context.Context) (err error) {
		if o, err = parse(ctx, os.Args[1:]); err != nil {
			return err
		}
		debug.SetGCPercent(20) // most of the memory is weights, which stay: by default as much garbage would lie beside them
		return run(ctx, o)
	}, func() string { return "what was finished is in " + o.out })
}
