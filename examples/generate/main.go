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
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/examples/internal/command"
)

// options are the flags.
type options struct {
	model         string // empty: the embedded miniature
	prompts       []string
	negative      string
	sampler       diffusion.Sampler // without Sample: the model's own
	steps         int
	eta           float64
	guidance      float64
	width, height int // 0: the model's own
	seed          uint64
	n             int // pictures of a prompt
	batch         int // 0: as many as make one of 512×512
	out           string
	lora          string
	loraScale     float64
	bestOf        int
	reward, clip  string
	latents       string
}

// Defaults that depend on the model: Stable Diffusion's usual guidance makes the miniature's pictures garish.
const (
	usualGuidance = 7.5
	tinyGuidance  = 2
)

func parse(ctx context.Context, args []string) (o options, err error) {
	f := flag.NewFlagSet("generate", flag.ContinueOnError)
	f.StringVar(&o.model, "model", "", "`folder` that diffusers wrote, checkpoint file, or ORG/NAME in the Hugging Face cache; the embedded miniature without it")
	prompt := f.String("prompt", "", "what to make pictures of")
	prompts := f.String("prompts", "", "`file` of prompts: one a line, or samples if its name ends in .jsonl")
	f.StringVar(&o.negative, "negative", "", "what guidance leads away from")
	sampler := f.String("sampler", "", "ddpm, ddim, pndm, euler, euler_a, dpmpp_2m or dpmpp_2m_karras; the model's own without it")
	f.IntVar(&o.steps, "steps", 25, "sampling steps")
	f.Float64Var(&o.eta, "eta", 0, "noise of ddim, 0 to 1")
	f.Float64Var(&o.guidance, "guidance", usualGuidance, fmt.Sprintf("scale of classifier-free guidance; 1 is none; the miniature's default is %d", tinyGuidance))
	f.IntVar(&o.width, "width", 0, "in pixels; the model's own without it")
	f.IntVar(&o.height, "height", 0, "in pixels; the model's own without it")
	f.Uint64Var(&o.seed, "seed", 1, "decides every random draw")
	f.IntVar(&o.n, "n", 1, "pictures of each prompt")
	f.IntVar(&o.batch, "batch", 0, "pictures made at once; without it, as many as have the pixels of one of 512×512")
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
		o.guidance = tinyGuidance
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; a prompt of several words needs quotes", f.Arg(0))
	case given["prompt"] == given["prompts"]:
		return o, errors.New("give one of -prompt and -prompts")
	case given["prompt"] && strings.TrimSpace(*prompt) == "":
		return o, errors.New("-prompt is empty")
	case o.steps < 1:
		return o, fmt.Errorf("-steps %d: at least 1 is needed", o.steps)
	case !(o.eta >= 0 && o.eta <= 1):
		return o, fmt.Errorf("-eta %v is not in 0 to 1", o.eta)
	case !(o.guidance >= 1 && o.guidance <= 1e6):
		return o, fmt.Errorf("-guidance %v: at least 1 is needed, which is none", o.guidance)
	case o.negative != "" && o.guidance == 1:
		return o, errors.New("-negative works by guidance: it needs -guidance above 1")
	case o.width < 0 || o.height < 0:
		return o, fmt.Errorf("-width %d and -height %d must not be negative", o.width, o.height)
	case o.n < 1 || o.bestOf < 1 || o.batch < 0:
		return o, fmt.Errorf("-n %d and -best-of %d must be at least 1, -batch %d must not be negative", o.n, o.bestOf, o.batch)
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
	if *sampler != "" {
		if o.sampler, err = diffusion.ParseSampler(*sampler); err != nil {
			return o, fmt.Errorf("-sampler: %w", err)
		}
	}
	o.prompts = []string{*prompt}
	if given["prompts"] {
		if o.prompts, err = readPrompts(ctx, *prompts); err != nil {
			return o, fmt.Errorf("-prompts: %w", err)
		}
	}
	return o, nil
}

// readPrompts reads a file of prompts. Blank lines are skipped.
func readPrompts(ctx context.Context, name string) (prompts []string, err error) {
	if filepath.Ext(name) == ".jsonl" {
		samples, err := dataset.Collect(ctx, dataset.File{Path: name})
		if err != nil {
			return nil, err
		}
		for _, s := range samples {
			prompts = append(prompts, s.Prompt)
		}
	} else {
		text, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
			prompts = append(prompts, strings.TrimSpace(line))
		}
		prompts = slices.DeleteFunc(prompts, func(p string) bool { return p == "" })
	}
	if len(prompts) == 0 {
		return nil, fmt.Errorf("%s holds no prompt", name)
	}
	return prompts, nil
}

func main() {
	var o options
	command.Main("generate", func(ctx context.Context) (err error) {
		if o, err = parse(ctx, os.Args[1:]); err != nil {
			return err
		}
		debug.SetGCPercent(20) // most of the memory is weights, which stay: by default as much garbage would lie beside them
		return run(ctx, o)
	}, func() string { return "what was finished is in " + o.out })
}
