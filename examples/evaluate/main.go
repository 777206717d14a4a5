// Command evaluate compares Stable Diffusions on prompts of the user's: a base model, tuned ones,
// and the best of n pictures of the base.
//
//	go run ./examples/evaluate -model BASE -model TUNED -prompts FILE -reward DIR -clip DIR -n 4 \
//		-out DIR
//
// Every model makes its pictures from the same noise: picture i of one is from the noise of picture
// i of any other. So differences are paired, and their intervals are those of measure.Paired,
// clustered by prompt. Best-of-n draws n pictures of the base in the place of each, of which the
// first is the base's own, and takes the one of the highest reward.
//
// It leaves a folder: report.html and report.json, and for every arm (base, tuned, best_of_4, …) a
// folder with samples/, the pictures, and samples.jsonl, a line for each with its reward in the
// format of dataset.File. A picture is there as soon as it is made. Whenever the program is
// stopped, what is there is whole, and the same command with -resume goes on: it leaves bit for bit
// what it would have left.
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

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/command"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// program is what people type.
const program = "go run ./examples/evaluate"

// options are the flags.
type options struct {
	evaluate.Models
	loraScale    float64
	reward, clip string
	resume       bool
	machine      command.Machine

	args   []string       // as they were typed
	config map[string]any // the flags, for config.json
}

func flags(o *options) (f *flag.FlagSet, prompts *string) {
	f = flag.NewFlagSet("evaluate", flag.ContinueOnError)
	f.Func("model", "`folder` that diffusers wrote, checkpoint file, or ORG/NAME in the Hugging "+
		"Face cache: first the base, then, each with a -model of its own, the tuned ones",
		func(s string) error {
			o.Add(s, "")
			return nil
		})
	f.Func("lora", "`file` of an adapter (LoRA, LoHa, LoKr, DoRA), or its folder: the "+
		"base with it is a tuned model; may be given several times",
		func(s string) error {
			if len(o.Arms) == 0 {
				return errors.New("the base, a -model, comes first")
			}
			o.Add(o.Arms[0].Model, s)
			return nil
		})
	f.Float64Var(&o.loraScale, "lora-scale", 1, "how much of each adapter to add")
	prompts = f.String("prompts", "",
		"`file` of prompts: one a line, or samples if its name ends in .jsonl (required)")
	o.Request = pipeline.Request{Steps: 25, Guidance: 7.5, Seed: 1}
	o.Request.Flags(f)
	f.Lookup("guidance").Usage += "; 2 suits the miniature"
	f.IntVar(&o.Request.PerPrompt, "per-prompt", 2,
		"pictures of each prompt an arm; diversity needs 2")
	f.IntVar(&o.BestOf, "n", 4, "pictures of the base, its own among them, of which best-of-n "+
		"takes the one of the highest reward in the place of each; 1 leaves best-of-n out")
	f.StringVar(&o.reward, "reward", "", "`folder` of a learned reward, as examples/reward writes "+
		"it; without it there are CLIP's scores alone, and no best-of-n")
	f.StringVar(&o.clip, "clip", "", "`folder` or ORG/NAME of the CLIP that gives CLIP's scores "+
		"and that the reward was learned on; without it the miniature's, which knows shapes only")
	f.StringVar(&o.Folder, "out", filepath.Join("runs", "evaluate"),
		"`folder` for what comes out")
	f.BoolVar(&o.resume, "resume", false,
		"go on with the run that -out holds, or begin if it holds none")
	o.machine.Flags(f)
	o.machine.PlainFlag(f)
	return f, prompts
}

func parse(ctx context.Context, args []string) (o options, err error) {
	f, prompts := flags(&o)
	if err := o.machine.Parse(f, args); err != nil {
		return o, err
	}
	given := report.Given(f)
	if o.reward == "" && !given["n"] {
		o.BestOf = 1
	}
	switch {
	case f.NArg() == 0 && (len(o.Arms) == 0 || *prompts == ""):
		return o, errors.New("-model and -prompts are required")
	case o.BestOf > 1 && o.reward == "":
		return o, fmt.Errorf("-n %d: best-of-n needs a -reward to choose by", o.BestOf)
	case len(o.Arms) == 1 && o.BestOf == 1:
		return o, errors.New("there is nothing to compare the base with: give another -model, a " +
			"-lora, or a -reward for best-of-n")
	case given["lora-scale"] && !given["lora"]:
		return o, errors.New("-lora-scale needs a -lora")
	}
	err = errors.Join(report.Check(f, report.AtLeast(1, "per-prompt", "n"),
		report.Within(-1e3, 1e3, "lora-scale")), o.Request.CheckFlags())
	if err != nil {
		return o, err
	}
	if o.Request.Prompts, err = dataset.ReadPrompts(ctx, *prompts); err != nil {
		return o, fmt.Errorf("-prompts: %w", err)
	}
	if len(o.Request.Prompts)*o.Request.PerPrompt < 2 {
		return o, errors.New("-per-prompt 1: one picture of one prompt is nothing to compare by")
	}
	var models, adapters []string
	for i := range o.Arms {
		a := &o.Arms[i]
		models, adapters = append(models, a.Model), append(adapters, a.LoRA)
		if a.LoRA != "" {
			a.LoRAScale = o.loraScale
		}
	}
	o.args, o.config = args, report.Config(f)
	o.config["model"], o.config["lora"] = models, adapters
	return o, nil
}

func main() {
	var o options
	report.Main("evaluate", func(ctx context.Context) (err error) {
		if o, err = parse(ctx, os.Args[1:]); err != nil {
			return err
		}
		// Most of the memory is weights, which stay: by default as much garbage would lie beside
		// them.
		debug.SetGCPercent(20)
		return run(ctx, o)
	}, func() string { return report.Finished(o.Folder) })
}

func run(ctx context.Context, o options) (err error) {
	begun := finetune.Run{
		Folder: o.Folder, Resume: o.resume, Config: o.config,
		Command: report.Resume(program, o.args),
	}
	release, err := begun.Begin()
	if err != nil {
		return fmt.Errorf("-out: %w", err)
	}
	defer func() { err = errors.Join(begun.GoesOn(ctx, err), release(), o.machine.Close()) }()
	o.Load, o.Progress = o.load, report.Stderr()
	hashes := map[string]any{}
	if err := o.judged(hashes, nil); err != nil {
		return err
	}
	if hashes["models"], err = o.Check(ctx); err != nil {
		return err
	}
	prompts := sha256.Sum256(fmt.Appendf(nil, "%q", o.Request.Prompts))
	hashes["prompts"], o.config["sha256"] = fmt.Sprintf("%x", prompts), hashes
	if err := begun.Settle(); err != nil {
		return err
	}
	if err := o.Paint(ctx); err != nil {
		return err
	}
	return o.judged(hashes, func(by *evaluate.Scorer) error {
		r, arms, err := o.Score(ctx, by)
		if err != nil {
			return err
		}
		r.CLIP, r.Reward = o.clip, o.reward
		page, err := r.Page(ctx, o.Folder, arms)
		if err != nil {
			return err
		}
		page.Footer = report.Begin(program, o.args)
		return report.Folder(o.Folder).Conclude(report.Stdout(), r, page, r.Tables()...)
	})
}

// load reads an arm's model, and merges its adapter into it.
func (o *options) load(a evaluate.ArmReport) (*pipeline.Pipeline, error) {
	m, err := pipeline.Load(a.Model)
	if err != nil {
		return nil, fmt.Errorf("-model: %w", err)
	}
	m.Machine = o.machine.Config
	if a.LoRA != "" {
		adapter, err := lora.Load(a.LoRA, m.UNet, m.Text)
		if err != nil {
			return nil, fmt.Errorf("-lora: %w", err)
		}
		adapter.Scale(a.LoRAScale)
		adapter.Merge()
		m.Notes = append(m.Notes, adapter.Notes...)
		m.Name += fmt.Sprintf("+%s*%g", filepath.Base(a.LoRA), a.LoRAScale)
	}
	return m, nil
}

// judged reads CLIP and the reward, names them in hashes, and lets them go after use, unless that
// is nil. What they have encoded and scored is kept in the run's folder.
func (o *options) judged(hashes map[string]any, use func(*evaluate.Scorer) error) (err error) {
	encoder, err := tiny.LoadCLIP(o.clip)
	if err != nil {
		return fmt.Errorf("-clip: %w", err)
	}
	encoder.Machine = o.machine.Config
	defer func() {
		err = errors.Join(err, encoder.Close())
		debug.FreeOSMemory()
	}()
	cache, err := clip.OpenCache(encoder, filepath.Join(o.Folder, "cache", "features.safetensors"))
	if err != nil {
		return err
	}
	by := &evaluate.Scorer{CLIP: cache}
	hashes["clip"] = encoder.Hash()
	if o.reward != "" {
		learned, err := alignment.Load(o.reward, cache)
		if err != nil {
			return fmt.Errorf("-reward: %w", err)
		}
		kept := filepath.Join(o.Folder, "cache", "scores.jsonl")
		by.Reward, hashes["reward"] = reward.Kept(learned, kept, learned.Hash()), learned.Hash()
	}
	if use == nil {
		return nil
	}
	if _, err := report.NewFolder(filepath.Join(o.Folder, "cache")); err != nil {
		return err
	}
	return use(by)
}
