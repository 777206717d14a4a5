package command

import (
	"cmp"
	"errors"
	"flag"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// Tuning is how a UNet is tuned, as the flags of a program have it.
type Tuning struct {
	Tuner   finetune.Tuner // those of its fields that a flag sets by itself, and Machine
	Run     finetune.Run   // -out, -resume and -every; Parse sets the others
	Machine Machine        // Parse opens it, and Close closes it
	Guard   Guard          // see Guarded

	Beta        float64 // weight of the pretraining term; 0 leaves it out
	ByReward    bool    // finetune.ByReward chooses
	Baseline    float64 // share of the mean reward that is taken off: reward.Baseline
	Mix         float64 // share of the way from the base to the tuned model to save; 0 is 1
	Buckets     bool    // pretraining pictures keep their shapes
	LR          float64 // the learning rate when WarmUp is over
	WarmUp      int     // updates
	MinTimestep int     // of the model's own samples

	Rank       int  // of low-rank pairs; 0 tunes all weights
	Everything bool // has pairs, not attention alone
	Kohya      bool // the pairs are saved in kohya's form too

	// Memory is the most that training may take, of the device's memory if there is a device. 0 is
	// as much as is free, of which nothing is computed again that fits.
	Memory  report.Size
	Planned finetune.Memory // by Fit

	tuned, state int64 // bytes of what is saved in the end, and of a checkpoint, by Fit

	flags *flag.FlagSet
}

// New adds the flags to f, whose name is the program's. -pretrain, which says where the pictures of
// the pretraining term are, is a flag of the program's own.
func New(f *flag.FlagSet) *Tuning {
	t := &Tuning{flags: f, Tuner: finetune.Tuner{EMAWarmUp: true}}
	f.StringVar(&t.Run.Folder, "out", "",
		"`folder` for what comes out (required); without -resume it must be empty or not there")
	f.Float64Var(&t.Beta, "beta", 1,
		"weight β of the pretraining term; 0 leaves it out. The paper does not give its own; a "+
			"re-run of it had 0.5 (ImageReward)")
	f.IntVar(&t.Tuner.Updates, "steps", 1000, "updates; the paper has 10,000")
	f.IntVar(&t.Tuner.OwnBatch, "batch", 4,
		"rewarded pictures in an update; the paper has 256, and each takes 1.5 GiB of activations "+
			"at 512×512")
	f.IntVar(&t.Tuner.PretrainBatch, "pretrain-batch", 0,
		"pretraining pictures in an update; as many as -batch without it, as in the paper")
	f.BoolVar(&t.Buckets, "buckets", true,
		"have pretraining pictures keep their shapes, each update those of one shape; otherwise "+
			"they are cut to the shape of the rewarded ones")
	f.BoolVar(&t.ByReward, "by-reward", false,
		"draw pictures in proportion to their rewards instead of weighing all alike drawn ones by "+
			"them: the same in expectation, with less noise where many rewards are near 0")
	f.Float64Var(&t.Baseline, "baseline", 0,
		"take this share of the mean reward off every reward: pictures with less are turned away "+
			"from. With 0.3 fewer updates do more; 0 weighs by the rewards, as in the paper")
	f.Float64Var(&t.Mix, "mix", 1,
		"save weights on the way from the base model's to the tuned ones, at this share of it: "+
			"with 0.6 pictures keep more of their quality than they lose of what was learned")
	f.Float64Var(&t.LR, "lr", 0,
		"learning rate of AdamW (default 1e-05, of others' runs of this objective; with "+
			"-lora-rank 0.0001, as usual for pairs that start from 0)")
	f.IntVar(&t.WarmUp, "warm-up", 0,
		"updates over which the learning rate rises; then it is constant. diffusers' script has "+
			"none unless asked")
	f.Float64Var(&t.Tuner.Dropout, "dropout", 0.1,
		"share of prompts that are replaced by the empty one, so that guidance keeps working; "+
			"Stable Diffusion was trained with 0.1")
	f.Float64Var(&t.Tuner.MinSNR, "min-snr", 0,
		"weigh timesteps by min(SNR, γ)/SNR with this γ; 5 is the usual one (Hang et al. 2023), 0 "+
			"does not weigh, as in the paper")
	f.IntVar(&t.MinTimestep, "min-timestep", 0,
		"least of the 1,000 timesteps that rewarded pictures are disturbed at: with 300, what is "+
			"decided where there is little noise is left to the pretraining pictures. 0 has all, "+
			"as in the paper")
	f.Float64Var(&t.Tuner.Clip, "max-grad-norm", 0,
		"scale gradients down to this norm; diffusers' script has 1. 0 does not: gradients then "+
			"need not all be in memory at once, which saves as much as the tuned weights take")
	f.Float64Var(&t.Tuner.EMA, "ema", 0,
		"decay of a moving average of the weights, which is saved instead of the last ones, "+
			"such as 0.999 for thousands of updates; in update n it is at most (1+n)/(10+n). 0 "+
			"keeps none and saves as much memory as the tuned weights take")
	f.IntVar(&t.Rank, "lora-rank", 0,
		"tune low-rank pairs in the UNet's attention instead of all its weights, of this rank, "+
			"and save them as a LoRA file; 4 is diffusers' default")
	f.BoolVar(&t.Everything, "lora-everything", false,
		"give low-rank pairs to every linear layer and convolution of the UNet, not to the "+
			"projections of its attention alone")
	f.BoolVar(&t.Kohya, "kohya", false, "save the LoRA file in the form of kohya's programs too")
	f.Var(&t.Memory, "memory",
		"most memory to take, such as 16GiB or 12GB: activations that do not fit are computed "+
			"again. Without it, as much as is fastest of what is free on this machine or in its "+
			"cgroup, or on a GPU; what takes more is begun only with this flag")
	t.Machine.Flags(f)
	t.Machine.PlainFlag(f)
	f.Uint64Var(&t.Tuner.Seed, "seed", 1, "decides every random draw")
	f.BoolVar(&t.Run.Resume, "resume", false,
		"go on with the run that -out holds, or begin if it holds none; -steps, -memory and "+
			"-every may differ from before")
	f.IntVar(&t.Run.Every, "every", 0,
		"updates from one checkpoint to the next (default as many as are made in ten minutes); "+
			"each takes three times the disk space of what is tuned, and there are up to three")
	return t
}

// mostTogether is far more than the paper's batch of 256, and little enough that what it would take
// can be planned.
const mostTogether = 1 << 16

// Parse reads a command line. What depends on other flags, the learning rate and -pretrain-batch,
// then has its default. After it all of Run is set but for its Progress. Run.Config has all flags
// of f.
func (t *Tuning) Parse(args []string) error {
	if err := t.Machine.Parse(t.flags, args); err != nil {
		return err
	}
	t.Tuner.Machine = t.Machine.Config
	t.Tuner.Machine.Room = nil // Fit has its own, which -memory overrides
	if !report.Given(t.flags)["lr"] {
		if t.LR = 1e-5; t.Rank > 0 {
			t.LR = 1e-4
		}
	}
	if err := cmp.Or(
		report.Check(t.flags,
			report.AtLeast(0, "warm-up", "lora-rank", "every"),
			report.AtLeast(1, "steps"),
			report.Within(0, 1e6, "beta", "min-snr", "max-grad-norm"),
			report.Within(0, mostTogether, "pretrain-batch"),
			report.Within(1, mostTogether, "batch"),
			report.Within(0, 999, "min-timestep"),
			report.Above(0, 1, "lr"),
			report.Within(0, 1, "dropout"),
			report.From(0, 1, "ema", "baseline"),
			report.Above(0, 1, "mix"),
		),
		report.Needs(t.flags, "lora-everything", "lora-rank"),
		report.Needs(t.flags, "kohya", "lora-rank"),
		report.Needs(t.flags, "pretrain-batch", "beta"),
		t.contradiction(),
		t.Guard.check(t),
	); err != nil {
		return cmp.Or(err, t.Machine.Close())
	}
	if t.Beta > 0 && t.Tuner.PretrainBatch == 0 {
		t.Tuner.PretrainBatch = t.Tuner.OwnBatch
	}
	t.Run.Name = "tune"
	t.Run.Config = report.Config(t.flags)
	t.Run.Command = report.Resume(t.flags.Name(), args)
	// The learning rate does not depend on how many updates there are.
	t.Run.MayChange = []string{"out", "memory", "every", "steps"}
	return nil
}

func (t *Tuning) contradiction() error {
	if t.Baseline > 0 && t.ByReward {
		return errors.New("-baseline makes weights below 0, by which -by-reward cannot draw")
	}
	return nil
}

// Data is what a UNet is tuned on: samples with latents and conditions.
type Data struct {
	Own           []dataset.Sample  // with rewards
	Pretrain      []dataset.Sample  // unused where Beta is 0
	Unconditional dataset.Condition // of the empty prompt
}

// Trainer is Eq. 2 as the flags have it, of a UNet or, with Rank, of pairs that are attached to it:
// then adapter is not nil.
func (t *Tuning) Trainer(u *unet.UNet2DCondition, s *diffusion.Schedule, d Data) (
	tuner *finetune.Tuner, adapter *lora.Adapter, err error,
) {
	copied, rate := t.Tuner, optim.Constant(t.WarmUp)
	tuner = &copied
	tuner.Network, tuner.Schedule = u, s
	tuner.Own, tuner.Terms = dataset.FromSlice(d.Own), []finetune.Term{finetune.RewardWeighted{}}
	tuner.LR = func(step int) float64 { return t.LR * rate(step) }
	tuner.OwnLevels = s.Process.From(t.MinTimestep)
	if t.ByReward {
		tuner.Choose = finetune.ByReward{}
	}
	if t.Beta > 0 {
		tuner.Pretrain = dataset.FromSlice(d.Pretrain)
		tuner.Terms = append(tuner.Terms, finetune.Pretraining{Beta: t.Beta})
	}
	if t.Tuner.Dropout > 0 {
		tuner.Unconditional = d.Unconditional
	}
	if t.Rank == 0 {
		return tuner, nil, nil
	}
	c := lora.Config{Rank: t.Rank, Alpha: float64(t.Rank), Seed: t.Tuner.Seed}
	if t.Everything {
		c.Targets = lora.Everything
	}
	if adapter, err = lora.New(u, c); err != nil {
		return nil, nil, err
	}
	tuner.Network = adapter
	return tuner, adapter, nil
}
