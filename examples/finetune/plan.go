package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
)

// A fitting is how training fits the memory that it may take.
type fitting struct {
	kernels.Plan
	activations int64 // the bound on them; 0: none
	data        int64 // of Plan.Other: latents and conditions
	average     int64 // of Plan.Other: the moving average
}

// fits reports whether the flags allow as much memory as is planned.
func (f fitting) fits(o options) bool { return o.memory == 0 || f.Total() <= int64(o.memory) }

// plan says what memory training will take, and refuses to begin what does not fit. No number of the UNet is read for it.
func (s *session) plan(ctx context.Context) error {
	f, err := s.fit(ctx, s.options)
	if err != nil {
		return err
	}
	if !f.fits(s.options) {
		return s.refuse(ctx)
	}
	s.fitting = f
	return f.table(s.options).Print(s.print)
}

// fit plans without computing anything again, and where that takes too much memory, with a bound on activations that leaves little unused. The
// result may not fit: then nothing does that computing again reaches.
func (s *session) fit(ctx context.Context, o options) (fitting, error) {
	f, err := s.planned(ctx, o, 0)
	if err != nil || f.fits(o) {
		return f, err
	}
	// What the arena takes beside activations depends on the plan: of the bounds, the largest known to fit and the least known not to.
	fit, fits, budget, tooMuch := f, int64(0), f.Activations, f.Activations
	for range 6 {
		over := f.Total() - int64(o.memory)
		if over > 0 {
			tooMuch = budget
		} else if fit, fits = f, budget; -over < int64(o.memory)/50 {
			break
		}
		if budget -= over; budget <= fits || budget >= tooMuch {
			budget = (fits + tooMuch) / 2
		}
		f, err = s.planned(ctx, o, budget)
		if short := (*kernels.ActivationError)(nil); errors.As(err, &short) {
			break
		}
		if err != nil {
			return f, err
		}
	}
	if fits == 0 {
		return s.least(ctx, o)
	}
	return fit, nil
}

// least plans with the least activations that computing again reaches.
func (s *session) least(ctx context.Context, o options) (fitting, error) {
	short := &kernels.ActivationError{}
	f, err := s.planned(ctx, o, 64) // bytes: too few
	if !errors.As(err, &short) {
		return f, err
	}
	return s.planned(ctx, o, short.Least)
}

// planned is training as the flags have it, compiled on one sample that stands for all of its kind.
func (s *session) planned(ctx context.Context, o options, activations int64) (f fitting, err error) {
	if err := context.Cause(ctx); err != nil {
		return f, err
	}
	network, adapter, err := o.network(s.model.UNet)
	if err != nil {
		return f, err
	}
	if adapter != nil {
		defer adapter.Detach()
	}
	c := s.model.UNet.Config
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	}
	condition := func() dataset.Condition {
		return dataset.Condition{Tokens: zeros(s.model.Tokenizer.Length, s.model.Text.Config.Width)}
	}
	one := dataset.Sample{Reward: new(1.0), Latent: zeros(c.SampleSize, c.SampleSize, c.InChannels), Condition: condition()}
	all := dataset.FromSlice([]dataset.Sample{one})
	t := o.tuner(network, s.model.Schedule, all, all, condition())
	t.Machine.ActivationBytes = activations
	defer t.Close()
	if f.Plan, err = t.Prepare(ctx); err != nil {
		return f, err
	}
	latent, tokens := 4*int64(one.Latent.Size()), 4*int64(one.Condition.Tokens.Size())
	f.activations, f.data = activations, int64(len(s.samples)+len(s.captioned))*latent+int64(len(s.prompts()))*tokens
	f.Other += f.data - latent - tokens
	if o.ema > 0 {
		f.average = f.Optimizer / 2 // AdamW keeps two numbers for each of the weights
	}
	return f, nil
}

// prompts are the different ones: each has its condition once.
func (s *session) prompts() (all []string) {
	seen := map[string]bool{}
	for _, sample := range slices.Concat(s.samples, s.captioned) {
		if !seen[sample.Prompt] {
			seen[sample.Prompt], all = true, append(all, sample.Prompt)
		}
	}
	return all
}

// table shows a plan to people.
func (f fitting) table(o options) report.Table {
	t := report.Table{Title: "Planned peak memory", Header: []string{"", ""}}
	row := func(name string, bytes int64) {
		if bytes > 0 {
			t.Rows = append(t.Rows, []string{name, size(bytes).String()})
		}
	}
	gradients := int64(0)
	if o.maxNorm > 0 {
		gradients = f.Outputs
	}
	row("weights", f.Weights)
	row("AdamW's means", f.Optimizer)
	row("moving average, for -ema", f.average)
	row("gradients, kept for -max-grad-norm", gradients)
	row("activations", f.Arena-gradients)
	row("workspace", f.Workspace)
	row("batch", f.Inputs+f.Other-f.data-f.average)
	row("latents and conditions of all pictures", f.data)
	row("all", f.Total())
	t.Note = "Nothing is computed again."
	if f.Recomputed > 0 {
		t.Note = fmt.Sprintf("To fit -memory %v, %d of %d operations are computed again, %.0f %% of the arithmetic.", o.memory, f.Recomputed, f.Steps, 100*f.RecomputedCost)
	}
	return t
}

// refuse is the error that names what would make training fit: each change of the flags that is enough alone, or else all of them together.
func (s *session) refuse(ctx context.Context) error {
	least, err := s.least(ctx, s.options)
	if err != nil {
		return err
	}
	var enough []string
	all := s.options
	for _, ways := range s.savings() {
		for _, change := range ways {
			o := s.options
			change(&o)
			change(&all)
			f, err := s.fit(ctx, o)
			if err != nil {
				return err
			}
			if f.fits(o) {
				enough = append(enough, o.difference(s.options))
				break
			}
		}
	}
	refusal := fmt.Sprintf("training takes %v where as much as possible of the activations is computed again, which leaves %v of them; -memory is %v", size(least.Total()), size(least.Activations), s.memory)
	memory, changes := size(least.Total()), all.difference(s.options)
	if len(enough) > 0 {
		return fmt.Errorf("%s. It would fit with %s, or with -memory %v", refusal, strings.Join(enough, ", with "), memory)
	}
	if changes == "" {
		return fmt.Errorf("%s. It would fit with -memory %v", refusal, memory)
	}
	together, err := s.least(ctx, all)
	if err != nil {
		return err
	}
	if together.fits(all) {
		return fmt.Errorf("%s. It would fit with %s, or with -memory %v", refusal, changes, memory)
	}
	return fmt.Errorf("%s. It would fit with -memory %v, or with -memory %v and %s", refusal, memory, size(together.Total()), changes)
}

// savings are changes of the flags that save memory: of each list, one is to be tried after another.
func (s *session) savings() (all [][]func(*options)) {
	if s.ema > 0 {
		all = append(all, []func(*options){func(o *options) { o.ema = 0 }})
	}
	if s.maxNorm > 0 {
		all = append(all, []func(*options){func(o *options) { o.maxNorm = 0 }})
	}
	var smaller []func(*options)
	for b, p := s.batch, s.pretrainBatch; b > 1 || p > 1; {
		b, p = (b+1)/2, (p+1)/2
		smaller = append(smaller, func(o *options) { o.batch, o.pretrainBatch = b, p })
	}
	all = append(all, smaller)
	if s.rank == 0 {
		all = append(all, []func(*options){func(o *options) { o.rank = 4 }})
	}
	return all
}

// difference names the flags of o that save memory and are not other's.
func (o options) difference(other options) string {
	var changed []string
	add := func(differ bool, format string, v any) {
		if differ {
			changed = append(changed, fmt.Sprintf(format, v))
		}
	}
	add(o.ema != other.ema, "-ema %v", o.ema)
	add(o.maxNorm != other.maxNorm, "-max-grad-norm %v", o.maxNorm)
	add(o.batch != other.batch, "-batch %v", o.batch)
	add(o.pretrainBatch != other.pretrainBatch, "-pretrain-batch %v", o.pretrainBatch)
	add(o.rank != other.rank, "-lora-rank %v", o.rank)
	return strings.Join(changed, " ")
}
