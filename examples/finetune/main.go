// Command finetune tunes a Stable Diffusion of yours by pictures with rewards (Lee et al. 2023, Eq. 2).
//
//	go run ./examples/finetune -model DIR -samples FILE.jsonl -pretrain DIR -out DIR
//
// The pictures, usually the model's own, have rewards in their file, or get them of a reward that examples/reward learned; the
// pretraining term reads a folder of captioned pictures. Before anything takes time it says how much memory training will take.
//
// It leaves a folder: tuned/, a pipeline folder or, with -lora-rank, a LoRA file that diffusers loads; config.json, metrics.jsonl,
// report.json and report.html. Stopped by Ctrl-C after step N, it saves what was trained as stopped-after-N/ instead of tuned/.
//
// However it ends, by Ctrl-C, a full disk or a crash, the same command with -resume goes on: what was encoded and scored is in
// the folder's cache/, what was trained in checkpoints/, and the result is bit for bit what it would have been.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"runtime/debug"

	"github.com/kudos-ml/kudos/finetune/report"
)

// options are the flags.
type options struct {
	model, samples, reward, clip, pretrain, out string

	beta          float64
	steps         int
	batch         int
	pretrainBatch int // 0: as many as batch
	byReward      bool
	lr            float64
	warmUp        int
	dropout       float64
	minSNR        float64
	minTimestep   int
	maxNorm       float64 // 0: none
	ema           float64 // 0: none
	rank          int     // 0: all of the UNet is tuned
	everything    bool    // pairs on all layers, not on attention's alone
	kohya         bool
	memory        report.Size // 0: as much as it takes
	seed          uint64
	resume        bool
	every         int // steps; 0: ten minutes

	args   []string       // as they were typed
	config map[string]any // the flags, for config.json
}

// Defaults that depend on whether all weights are tuned, or pairs that start from 0.
const (
	fullLR = 1e-5
	loraLR = 1e-4
)

func flags(o *options) *flag.FlagSet {
	f := flag.NewFlagSet("finetune", flag.ContinueOnError)
	f.StringVar(&o.model, "model", "", "`folder` that diffusers wrote, checkpoint file, or ORG/NAME in the Hugging Face cache (required); it is only read")
	f.StringVar(&o.samples, "samples", "", "JSONL `file` of pictures with prompts and rewards, such as examples/generate writes (required); go doc ./dataset File has the format")
	f.StringVar(&o.reward, "reward", "", "`folder` of a reward that examples/reward learned, which scores the pictures; without it -samples has their rewards")
	f.StringVar(&o.clip, "clip", "", "`folder` of the CLIP that the reward was learned on; the miniature's without it")
	f.StringVar(&o.pretrain, "pretrain", "", "`folder` of captioned pictures for the pretraining term: NAME.txt beside each, a metadata.jsonl or a samples.jsonl")
	f.StringVar(&o.out, "out", "", "`folder` for what comes out (required); without -resume it must be empty or not there")
	f.Float64Var(&o.beta, "beta", 1, "weight β of the pretraining term; 0 leaves it out. The paper does not give its own; a re-run of it had 0.5 (ImageReward)")
	f.IntVar(&o.steps, "steps", 1000, "updates; the paper has 10,000")
	f.IntVar(&o.batch, "batch", 4, "rewarded pictures in an update; the paper has 256, and each takes 1.5 GiB of activations at 512×512")
	f.IntVar(&o.pretrainBatch, "pretrain-batch", 0, "pretraining pictures in an update; as many as -batch without it, as in the paper")
	f.BoolVar(&o.byReward, "by-reward", false, "draw pictures in proportion to their rewards instead of weighing all alike drawn ones by them: the same in expectation, with less noise where many rewards are near 0")
	f.Float64Var(&o.lr, "lr", 0, fmt.Sprintf("learning rate of AdamW (default %g, of others' runs of this objective; with -lora-rank %g, as usual for pairs that start from 0)", fullLR, loraLR))
	f.IntVar(&o.warmUp, "warm-up", 0, "updates over which the learning rate rises; then it is constant. diffusers' script has none unless asked")
	f.Float64Var(&o.dropout, "dropout", 0.1, "share of prompts that are replaced by the empty one, so that guidance keeps working; Stable Diffusion was trained with 0.1")
	f.Float64Var(&o.minSNR, "min-snr", 0, "weigh timesteps by min(SNR, γ)/SNR with this γ; 5 is the usual one (Hang et al. 2023), 0 does not weigh, as in the paper")
	f.IntVar(&o.minTimestep, "min-timestep", 0, "least of the 1,000 timesteps that rewarded pictures are disturbed at: with 300, what is decided where there is little noise is left to the pretraining pictures. 0 has all, as in the paper")
	f.Float64Var(&o.maxNorm, "max-grad-norm", 0, "scale gradients down to this norm; diffusers' script has 1. 0 does not: gradients then need not all be in memory at once, which saves as much as the tuned weights take")
	f.Float64Var(&o.ema, "ema", 0, "decay of a moving average of the weights, which is saved instead of the last ones, such as 0.999 for thousands of updates; 0 keeps none and saves as much memory as the tuned weights take")
	f.IntVar(&o.rank, "lora-rank", 0, "tune low-rank pairs in the UNet's attention instead of all its weights, of this rank, and save them as a LoRA file; 4 is diffusers' default")
	f.BoolVar(&o.everything, "lora-everything", false, "give low-rank pairs to every linear layer and convolution of the UNet, not to the projections of its attention alone")
	f.BoolVar(&o.kohya, "kohya", false, "save the LoRA file in the form of kohya's programs too")
	f.Var(&o.memory, "memory", "most memory to take, such as 16GiB or 12GB: activations that do not fit are computed again. Without it, as much as is fastest")
	f.Uint64Var(&o.seed, "seed", 1, "decides every random draw")
	f.BoolVar(&o.resume, "resume", false, "go on with the run that -out holds, or begin if it holds none; -steps, -memory and -every may differ from before")
	f.IntVar(&o.every, "every", 0, "updates from one checkpoint to the next (default as many as are made in ten minutes); each takes three times the disk space of what is tuned, and there are up to three")
	return f
}

func parse(args []string) (o options, err error) {
	f := flags(&o)
	if err := f.Parse(args); err != nil {
		return o, err
	}
	given := map[string]bool{}
	f.Visit(func(f *flag.Flag) { given[f.Name] = true })
	if !given["lr"] {
		if o.lr = fullLR; o.rank > 0 {
			o.lr = loraLR
		}
	}
	switch {
	case f.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	case o.model == "" || o.samples == "" || o.out == "":
		return o, errors.New("-model, -samples and -out are required")
	case given["clip"] && o.reward == "":
		return o, errors.New("-clip is what a -reward was learned on; there is none")
	case !(o.beta >= 0 && o.beta-o.beta == 0):
		return o, fmt.Errorf("-beta %v must be a number of at least 0", o.beta)
	case o.beta > 0 && o.pretrain == "":
		return o, fmt.Errorf("-beta %v weighs a term of pretraining pictures: it needs -pretrain; -beta 0 leaves the term out", o.beta)
	case o.beta == 0 && (o.pretrain != "" || given["pretrain-batch"]):
		return o, errors.New("-beta 0 leaves out the pretraining term, so -pretrain and -pretrain-batch would do nothing")
	case o.steps < 1 || o.batch < 1 || o.pretrainBatch < 0:
		return o, fmt.Errorf("-steps %d and -batch %d must be at least 1, -pretrain-batch %d must not be negative", o.steps, o.batch, o.pretrainBatch)
	case !(o.lr > 0 && o.lr-o.lr == 0):
		return o, fmt.Errorf("-lr %v must be a number above 0", o.lr)
	case o.warmUp < 0:
		return o, fmt.Errorf("-warm-up %d must not be negative", o.warmUp)
	case !(o.dropout >= 0 && o.dropout <= 1):
		return o, fmt.Errorf("-dropout %v is not in 0 to 1", o.dropout)
	case o.every < 0:
		return o, fmt.Errorf("-every %d must not be negative", o.every)
	case o.minTimestep < 0:
		return o, fmt.Errorf("-min-timestep %d must not be negative", o.minTimestep)
	case !(o.minSNR >= 0 && o.maxNorm >= 0):
		return o, fmt.Errorf("-min-snr %v and -max-grad-norm %v must not be negative", o.minSNR, o.maxNorm)
	case !(o.ema >= 0 && o.ema < 1):
		return o, fmt.Errorf("-ema %v is not at least 0 and below 1", o.ema)
	case o.rank < 0:
		return o, fmt.Errorf("-lora-rank %d must not be negative", o.rank)
	case o.everything && o.rank == 0:
		return o, errors.New("-lora-everything says which layers get low-rank pairs: it needs -lora-rank")
	case o.kohya && o.rank == 0:
		return o, errors.New("-kohya is a form of LoRA files: it needs -lora-rank")
	}
	if o.beta > 0 && o.pretrainBatch == 0 {
		o.pretrainBatch = o.batch
	}
	o.args, o.config = args, report.Config(f)
	return o, nil
}

func main() {
	s := newSession()
	report.Main("finetune", func(ctx context.Context) (err error) {
		if s.options, err = parse(os.Args[1:]); err != nil {
			return err
		}
		debug.SetGCPercent(10) // most of the memory is weights, which stay: by default as much garbage would lie beside them
		return s.run(ctx)
	}, func() string { return s.left })
}
