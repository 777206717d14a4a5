package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"runtime/debug"
	"slices"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/memory"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/reward"
)

// Fit finds how training fits Memory, for Train, and writes to w what it takes. What does not fit
// is an error that says with which flags it would, and wraps a *finetune.FitError. No number of the
// UNet is read, nor of the data: both may be blank.
func (t *Tuning) Fit(
	ctx context.Context, w io.Writer, u *unet.UNet2DCondition, s *diffusion.Schedule, d Data,
) error {
	ways := [][]string{
		{"-ema 0"}, {"-max-grad-norm 0"}, report.Halves(t.flags, "batch", "pretrain-batch"),
	}
	if t.Rank == 0 {
		ways = append(ways, []string{"-lora-rank 4"})
	}
	given, limit := t.Memory > 0, "-memory "
	if device := t.Machine.Device; device != nil && !given {
		free, err := device.Free()
		if err != nil {
			return err
		}
		given, t.Memory = true, report.Size(free)
	}
	if free, known := freeMemory(); known && !given {
		t.Memory = report.Size(free - free/20) // the rest is for what is in no plan
		limit = "what is free, "
		defer func() { t.Memory = 0 }()
	}
	fit := func() error { return t.plan(ctx, u, s, d) }
	err := report.FitsWith(t.flags, "memory", fit, ways...)
	if _, tooLarge := errors.AsType[report.TooLarge](err); tooLarge && !given {
		err = fmt.Errorf("-memory is not given, so it is what this machine, or the cgroup of this "+
			"process, has free: %w", err)
	}
	if err = cmp.Or(err, t.room(d)); err != nil {
		return err
	}
	names := map[string]string{"EMA": "-ema", "Clip": "-max-grad-norm"}
	return t.Planned.Table(fmt.Sprint(limit, t.Memory), names).Print(w)
}

// freeMemory is what the machine has. Tests have others.
var freeMemory = memory.Free

// room says whether what the run will write has room on the disk, beside what of it is there.
func (t *Tuning) room(d Data) error {
	bytes := 3*t.state + t.tuned // checkpoints, while one is being written, and the result
	if t.Guard.Every > 0 {
		bytes += 3 * t.state // the best networks
	}
	seen := map[*tensor.Dense]bool{}
	for _, x := range slices.Concat(d.Own, d.Pretrain) { // the cache
		if x.Latent != nil {
			bytes += 4 * int64(x.Latent.Size())
		}
		for _, part := range x.Condition.Parts() {
			if !seen[part] {
				bytes += 4 * int64(part.Size())
			}
			seen[part] = true
		}
	}
	there, err := file.Size(t.Run.Folder)
	if err != nil {
		return err
	}
	return report.Folder(t.Run.Folder).Room(max(0, bytes-there), "checkpoints, cache and result")
}

// Weigh makes the rewards of the samples of a file, which are to be tuned on, their weights, by
// Baseline. It writes to w what the weights amount to beside β. It is an error if they cannot be
// learned from: see reward.CountRewards.
func (t *Tuning) Weigh(w io.Writer, file string, own []dataset.Sample) error {
	if t.Baseline > 0 {
		weights, err := reward.Baseline(t.Baseline)(own)
		if err != nil {
			return fmt.Errorf("-baseline: %s: %w", file, err)
		}
		for i := range own {
			own[i].Reward = &weights[i]
		}
	}
	count, err := reward.CountRewards(own)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	beside := "there is no pretraining term"
	if t.Beta > 0 {
		beside = fmt.Sprintf("beside it the pretraining term weighs β = %v", t.Beta)
	}
	_, err = fmt.Fprintf(w, "%v. The reward term weighs %.3g, the mean of their sizes; %s.\n",
		count, count.Weight, beside)
	return err
}

// plan plans training as the flags are now.
func (t *Tuning) plan(
	ctx context.Context, u *unet.UNet2DCondition, s *diffusion.Schedule, d Data,
) error {
	tuner, adapter, err := t.Trainer(u, s, d)
	if err != nil {
		return err
	}
	if adapter != nil {
		defer adapter.Detach()
	}
	most := int64(t.Memory)
	if most == 0 {
		most = math.MaxInt64
	}
	_, err = tuner.Fit(ctx, most)
	t.Planned, t.tuned = tuner.Memory(), 0
	for _, p := range tuner.Network.Trainable() {
		t.tuned += 4 * int64(p.Value.Size())
	}
	t.state = t.tuned + t.Planned.Optimizer + t.Planned.Average
	if t.Kohya {
		t.tuned *= 2 // it is saved in two forms
	}
	t.Tuner.Machine.ActivationBytes = tuner.Machine.ActivationBytes
	return errors.Join(err, tuner.Close())
}

// Train trains as Run.Finish does, in the memory that Fit has found, and saves what was trained in
// the run's folder: with a Guard, the best that it judged. Where all weights are tuned, save, such
// as SaveUNet is with the model at hand,
// completes the folder dir, which is the Run's Unfinished. Pairs are saved there as
// pytorch_lora_weights.safetensors, which diffusers loads, and with Kohya as kohya.safetensors too:
// save is not called. What there is then is left, as Run.Finish says it. When ctx is cancelled
// Train says that it is stopping.
func (t *Tuning) Train(
	ctx context.Context, u *unet.UNet2DCondition, s *diffusion.Schedule, d Data,
	save func(dir string) error,
) (left string, err error) {
	tuner, adapter, err := t.Trainer(u, s, d)
	if err != nil {
		return "", err
	}
	if t.Memory > 0 && t.Machine.Device == nil { // the garbage collector's part of it
		rest := max(0, int64(t.Memory)-t.Planned.Arena-t.Planned.Workspace)
		defer debug.SetMemoryLimit(debug.SetMemoryLimit(rest))
	}
	stopped := context.AfterFunc(ctx, func() {
		progress := report.Stderr()
		if t.Run.Progress != nil {
			progress = report.Plain(t.Run.Progress)
		}
		progress.Printf("Stopping, and saving what was trained, if anything was. " +
			"Once more ends the program at once.")
	})
	defer stopped()
	trainer := t.Guard.around(tuner, u, t.Run.Folder)
	return t.Run.Finish(ctx, trainer, func(dir string) error {
		debug.FreeOSMemory() // training's
		if adapter == nil {
			return save(dir)
		}
		return t.savePairs(adapter, dir)
	})
}

// SaveUNet completes the folder dir by the UNet of m, which was tuned. With a Mix below 1 it reads
// the base model's, by its name, once more, and saves weights in between.
func (t *Tuning) SaveUNet(m *pipeline.Pipeline, base, dir string) error {
	if mix := cmp.Or(t.Mix, 1); mix < 1 {
		from, err := pipeline.LoadTunable(base)
		if err == nil {
			err = from.LoadUNet()
		}
		if err == nil {
			err = nn.Mix(m.UNet, from.UNet, mix)
		}
		if err != nil {
			return fmt.Errorf("-mix: %w", err)
		}
	}
	return m.SaveUNet(dir, kernels.Float32)
}

// savePairs saves low-rank pairs.
func (t *Tuning) savePairs(a *lora.Adapter, dir string) error {
	if err := a.Mix(cmp.Or(t.Mix, 1)); err != nil {
		return err
	}
	err := a.Save(filepath.Join(dir, "pytorch_lora_weights.safetensors"), kernels.Float32)
	if err == nil && t.Kohya {
		err = a.SaveKohya(filepath.Join(dir, "kohya.safetensors"), kernels.Float32)
	}
	return err
}
