package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// A Guard is a finetune.Guard of pictures that the tuned model makes, as flags have it. Its metrics
// are reward and judge, the means of two learned rewards of which training sees the first, and an
// evaluate.Panel's CLIPScore and Diversity.
type Guard struct {
	Every    int     // updates; 0 guards nothing
	Judge    string  // folder of a learned reward
	Prompts  string  // file; "" takes those of samples
	Guidance float64 // of the pictures
	Patience int     // judgements
	Floor    float64 // least share of CLIPScore and Diversity

	panel   evaluate.Panel
	encoder *clip.Encoder
}

// What is judged: so many pictures of each prompt, and of so many prompts of samples.
const (
	guardPerPrompt = 2 // the least that Diversity can be of
	guardPrompts   = 16
)

// Guarded adds the flags of Guard to those of New, for a program that calls Judged.
func (t *Tuning) Guarded() {
	f, g := t.flags, &t.Guard
	f.IntVar(&g.Every, "guard-every", 0,
		"updates from one judgement of the tuned model's pictures to the next, of which -steps is "+
			"a multiple: the model that -guard-judge finds best is saved. 0 judges none")
	f.StringVar(&g.Judge, "guard-judge", "",
		"`folder` of a reward that was learned from other labels than -reward, on the same CLIP; "+
			"tuning ends where the reward rises and this one falls")
	f.StringVar(&g.Prompts, "guard-prompts", "",
		"`file` of prompts, one a line, of which two pictures each are judged; without it, 16 "+
			"prompts of -samples")
	f.Float64Var(&g.Guidance, "guard-guidance", 7.5, "scale of guidance for these pictures")
	f.IntVar(&g.Patience, "guard-patience", 3,
		"judgements, one after another, in which the reward is higher and the judge lower than "+
			"where the judge was highest, before tuning ends")
	f.Float64Var(&g.Floor, "guard-floor", 0.8,
		"least share, 0 to 1, of the CLIP score and of the diversity before tuning; below it "+
			"tuning ends")
}

// check reports flags of Guarded that do not fit together.
func (g *Guard) check(t *Tuning) error {
	if t.flags.Lookup("guard-every") == nil {
		return nil
	}
	if g.Every > 0 && t.Tuner.Updates%g.Every != 0 {
		return fmt.Errorf("-steps %d is not a multiple of -guard-every %d", t.Tuner.Updates,
			g.Every)
	}
	return cmp.Or(
		report.Needs(t.flags, "guard-judge", "guard-every"),
		report.Needs(t.flags, "guard-prompts", "guard-every"),
		report.Needs(t.flags, "guard-every", "guard-judge"),
		report.Check(t.flags, report.AtLeast(0, "guard-every"), report.AtLeast(1, "guard-patience",
			"guard-guidance"), report.Within(0, 1, "guard-floor")),
	)
}

// Judged reads what judges pictures of a model while Train tunes its UNet, if flags ask for that:
// the model's autoencoder and the judge. learned is the reward that is trained on, and encoder the
// CLIP of both, which Close then closes. All of them take memory beside training's. samples are
// those that are trained on. Hashes of what it reads are added to hashes, for Run.Config. If
// samples have pictures that are not square, it says what CLIP does not see of them.
func (t *Tuning) Judged(
	ctx context.Context, model string, learned *alignment.Model, encoder *clip.Encoder,
	samples []dataset.Sample, hashes map[string]string,
) error {
	g := &t.Guard
	sayCut(report.Stderr(), samples)
	if g.Every == 0 {
		return nil
	}
	g.encoder = encoder
	judge, err := alignment.Load(g.Judge, encoder)
	if err != nil {
		return fmt.Errorf("-guard-judge: %w", err)
	}
	hashes["guard-judge"] = judge.Hash()
	if judge.Hash() == learned.Hash() {
		return fmt.Errorf("-guard-judge: %s is the reward that is trained on", g.Judge)
	}
	g.panel.CLIP = encoder
	g.panel.Judges = map[string]reward.Model{"reward": learned, "judge": judge}
	r := pipeline.Request{PerPrompt: guardPerPrompt, Guidance: g.Guidance, Seed: t.Tuner.Seed}
	if r.Prompts = dataset.Prompts(samples); len(r.Prompts) > guardPrompts {
		for i := range guardPrompts { // from the first to the last, as they are sorted
			r.Prompts[i] = r.Prompts[i*len(r.Prompts)/guardPrompts]
		}
		r.Prompts = r.Prompts[:guardPrompts]
	}
	if g.Prompts != "" {
		if r.Prompts, err = dataset.ReadPrompts(ctx, g.Prompts); err != nil {
			return fmt.Errorf("-guard-prompts: %w", err)
		}
		if hashes["guard-prompts"], err = report.Hash(g.Prompts); err != nil {
			return err
		}
	}
	if g.panel.Model, err = pipeline.LoadFrozen(model); err != nil {
		return err
	}
	g.panel.Model.Machine = t.Machine.Config
	g.panel.Request, err = g.panel.Model.SettlePrompts(ctx, r, report.Stderr().Printf)
	return err
}

// around is a Trainer of a UNet with its Guard around it, if there is one.
func (g *Guard) around(
	t finetune.Trainer, u *unet.UNet2DCondition, folder string,
) finetune.Trainer {
	if g.Every == 0 {
		return t
	}
	g.panel.Model = g.panel.Model.With(g.panel.Model.Name, u)
	return &finetune.Guard{
		Trainer: t, Folder: folder, Every: g.Every, Judge: g.panel.Judge,
		Reward: "reward", HeldOut: "judge", Patience: g.Patience,
		Shares: map[string]float64{evaluate.CLIPScore: g.Floor, evaluate.Diversity: g.Floor},
	}
}

// Close frees what judges, and the Machine.
func (t *Tuning) Close() (err error) {
	if e := t.Guard.encoder; e != nil {
		t.Guard.encoder, err = nil, e.Close()
	}
	return errors.Join(err, t.Machine.Close())
}
