// Command generate makes pictures of prompts with a Stable Diffusion: the embedded miniature, or a
// folder, checkpoint file or name of yours.
//
// It leaves a folder: samples/, the pictures as PNG files that carry their parameters in the form
// that AUTOMATIC1111's web UI writes; samples.jsonl, a line for each in the format of dataset.File;
// and config.json, which says how they were made. A picture is there as soon as it is made, and its
// line after it, so whenever the program is stopped, what is there is whole. However it is stopped,
// the same command with -resume goes on, and leaves bit for bit what it would have left.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"unicode/utf8"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// The guidance that is usual for Stable Diffusion, the default, and that of the miniature, whose
// pictures it would make garish.
const (
	usualGuidance = 7.5
	tinyGuidance  = 2
)

// options are the flags.
type options struct {
	pipeline.Request        // what to make: bestOf times as many pictures as are kept
	model            string // empty: the embedded miniature
	lora             string
	loraScale        float64
	bestOf           int
	reward, clip     string
	latents, out     string
	resume           bool
	machine          command.Machine

	args   []string       // as they were typed
	config map[string]any // the flags, for config.json
}

func parse(ctx context.Context, args []string) (o options, err error) {
	f := flag.NewFlagSet("generate", flag.ContinueOnError)
	f.StringVar(&o.model, "model", "", fmt.Sprintf("`folder` that diffusers wrote, checkpoint "+
		"file, or ORG/NAME in the Hugging Face cache; without it the embedded miniature, with "+
		"-guidance %d", tinyGuidance))
	prompt := f.String("prompt", "", "what to make pictures of")
	prompts := f.String("prompts", "",
		"`file` of prompts: one a line, or samples if its name ends in .jsonl")
	o.Request = pipeline.Request{Steps: 25, Guidance: usualGuidance, Seed: 1}
	o.Flags(f)
	f.Lookup("guidance").Usage += fmt.Sprintf("; %d suits the miniature", tinyGuidance)
	n := f.Int("n", 1, "pictures of each prompt")
	f.StringVar(&o.out, "out", filepath.Join("runs", "generate"), "`folder` for the pictures")
	f.StringVar(&o.lora, "lora", "",
		"`file` of an adapter (LoRA, LoHa, LoKr, DoRA), or the folder that it lies in")
	f.Float64Var(&o.loraScale, "lora-scale", 1, "how much of the adapter to add")
	f.IntVar(&o.bestOf, "best-of", 1,
		"make as many for each picture and keep the one of the highest reward")
	f.StringVar(&o.reward, "reward", "",
		"`folder` of a learned reward, such as the quickstart's reward/; pictures get their score")
	f.StringVar(&o.clip, "clip", "",
		"`folder` or ORG/NAME of the CLIP that -reward was learned on; the miniature's without it")
	f.StringVar(&o.latents, "latents", "", "safetensors `file` of the noise to use, "+
		"[K+1,B,C,H,W]: the start, then each step's draw")
	f.BoolVar(&o.resume, "resume", false,
		"go on with the run that -out holds, or begin if it holds none")
	o.machine.Flags(f)
	o.machine.PlainFlag(f)
	if err := o.machine.Parse(f, args); err != nil {
		return o, err
	}
	given := report.Given(f)
	if o.model == "" && !given["guidance"] {
		o.Guidance = tinyGuidance
	}
	if o.model == "" && !given["plain"] {
		o.machine.Winograd = false
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; a prompt of several words needs quotes",
			f.Arg(0))
	case given["prompt"] == given["prompts"]:
		return o, errors.New("give one of -prompt and -prompts")
	case given["prompt"] && strings.TrimSpace(*prompt) == "":
		return o, errors.New("-prompt is empty")
	case !utf8.ValidString(*prompt):
		return o, fmt.Errorf("-prompt %+q is not UTF-8", *prompt)
	case o.bestOf > 1 && o.reward == "":
		return o, errors.New("-best-of needs a -reward to choose by")
	case given["clip"] && o.reward == "":
		return o, errors.New("-clip is what a -reward was learned on; there is none")
	case given["lora-scale"] && o.lora == "":
		return o, errors.New("-lora-scale needs a -lora")
	case given["latents"] && given["seed"]:
		return o, errors.New("-latents are the noise, so -seed decides nothing: give one of them")
	}
	o.args, o.config = args, report.Config(f)
	err = errors.Join(report.Check(f, report.AtLeast(1, "n", "best-of"),
		report.Within(-1e3, 1e3, "lora-scale")), o.CheckFlags())
	if err != nil {
		return o, err
	}
	o.Prompts, o.PerPrompt = []string{*prompt}, *n*o.bestOf
	if given["prompts"] {
		if o.Prompts, err = dataset.ReadPrompts(ctx, *prompts); err != nil {
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
		// Most of the memory is weights, which stay: by default as much garbage would lie beside
		// them.
		debug.SetGCPercent(20)
		return run(ctx, o)
	}, func() string { return report.Finished(o.out) })
}

func run(ctx context.Context, o options) (err error) {
	begun := finetune.Run{
		Folder: o.out, Resume: o.resume, Config: o.config,
		Command: report.Resume("go run ./examples/generate", o.args),
	}
	release, err := begun.Begin()
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	defer func() { err = errors.Join(begun.GoesOn(ctx, err), release(), o.machine.Close()) }()
	prompts := sha256.Sum256(fmt.Appendf(nil, "%q", o.Prompts))
	hashes := map[string]any{"prompts": fmt.Sprintf("%x", prompts)}
	model, err := o.load(hashes)
	if err != nil {
		return err
	}
	progress := report.Stderr()
	if o.Request, err = model.SettlePrompts(ctx, o.Request, progress.Printf); err != nil {
		return err
	}
	var judge reward.Model // nil: pictures have no reward
	if o.reward != "" {
		encoder, err := tiny.LoadCLIP(o.clip)
		if err != nil {
			return fmt.Errorf("-clip: %w", err)
		}
		defer encoder.Close()
		encoder.Machine = o.machine.Config
		learned, err := alignment.Load(o.reward, encoder)
		if err != nil {
			return fmt.Errorf("-reward: %w", err)
		}
		judge, hashes["reward"] = learned, learned.Hash()
	}
	o.config["sha256"] = hashes
	if err := begun.Settle(); err != nil {
		return err
	}
	return o.generate(ctx, model, judge, progress)
}

// load reads the model, adds the adapter to it, and settles what the flags leave to it. What it
// reads it names in hashes.
func (o *options) load(hashes map[string]any) (model *pipeline.Pipeline, err error) {
	if o.model != "" {
		model, err = pipeline.Load(o.model)
	} else {
		model, err = tiny.Load()
	}
	if err != nil {
		return nil, fmt.Errorf("-model: %w", err)
	}
	hashes["model"], model.Machine = model.Hashes(), o.machine.Config
	if hashes["lora"], err = report.Hash(o.lora); err != nil {
		return nil, fmt.Errorf("-lora: %w", err)
	}
	if o.lora != "" {
		adapter, err := lora.Load(o.lora, model.UNet, model.Text)
		if err != nil {
			return nil, fmt.Errorf("-lora: %w", err)
		}
		adapter.Scale(o.loraScale)
		adapter.Merge()
		model.Notes = append(model.Notes, adapter.Notes...)
		model.Name += fmt.Sprintf("+%s*%g", filepath.Base(o.lora), o.loraScale)
	}
	if o.latents == "" {
		o.Request, err = model.SettleFlags(o.Request)
		return model, err
	}
	if hashes["latents"], err = report.Hash(o.latents); err == nil {
		o.Request, err = model.SettleNoise(o.Request, o.latents)
	}
	if err != nil {
		return nil, fmt.Errorf("-latents: %w", err)
	}
	return model, nil
}

// generate makes the pictures that are not there yet. Of each bestOf, one is kept as soon as they
// are there.
func (o *options) generate(
	ctx context.Context, model *pipeline.Pipeline, judge reward.Model, progress *report.Progress,
) error {
	there, err := dataset.Verify(ctx, o.out)
	if err != nil {
		return err
	}
	n, r := len(there), o.Request
	r.Skip = n * o.bestOf
	bytes := r.DiskBytes(len(r.Prompts)*r.PerPrompt/o.bestOf - n)
	if err := report.Folder(o.out).Room(bytes, "the pictures"); err != nil {
		return err
	}
	bar := progress.Stage("generate", r.Parts())
	defer bar.End()
	pictures := model.Generate(r.Watched(bar.Add))
	if judge != nil {
		pictures = reward.Best(pictures, judge, o.bestOf)
	}
	numbered := func(_ context.Context, sample dataset.Sample) (dataset.Sample, error) {
		n++
		bar.Note("%d pictures", n)
		sample.ID = "" // the file is named by the picture's number
		return sample, nil
	}
	_, err = dataset.WriteFolder(ctx, o.out, dataset.Map(pictures, numbered))
	return err
}
