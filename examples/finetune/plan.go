package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
)

// A fitting is how training fits the memory that it may take.
type fitting struct {
	kernels.Plan
	activations int64 // the bound on them; 0: none
	data        int64 // of Plan.Other: latents and conditions
	average     int64 // of Plan.Other: the moving average
	short       bool  // it does not fit: the plan is the least that can be met
}

// plan says what memory training will take, and refuses to begin what does not fit. No number of the UNet is read for it.
func (s *session) plan(ctx context.Context) (err error) {
	if s.fitting, err = s.fit(ctx, s.options); err != nil {
		return err
	}
	if s.fitting.short {
		return s.refuse(ctx, s.fitting)
	}
	return s.fitting.table(s.options).Print(s.print)
}

// fit plans training as the flags have it, on one sample that stands for all of its kind.
func (s *session) fit(ctx context.Context, o options) (f fitting, err error) {
	network, adapter, err := o.network(s.model.UNet)
	if err != nil {
		return f, err
	}
	if adapter != nil {
		defer adapter.Detach()
	}
	one, unconditional := s.model.Blank(), s.model.Blank().Condition
	one.Reward = new(1.0)
	all := dataset.FromSlice([]dataset.Sample{one})
	t := o.tuner(network, s.model.Schedule, all, all, unconditional)
	defer t.Close()
	latent, tokens := 4*int64(one.Latent.Size()), 4*int64(one.Condition.Tokens.Size())
	f.data = int64(len(s.samples)+len(s.captioned))*latent + int64(len(s.prompts()))*tokens
	others := f.data - latent - tokens
	most := int64(math.MaxInt64)
	if o.memory > 0 {
		most = max(0, int64(o.memory)-others)
	}
	f.Plan, err = t.Fit(ctx, most)
	if short := (*finetune.FitError)(nil); errors.As(err, &short) {
		f.Plan, f.short, err = short.Least, true, nil
	}
	f.activations = t.Machine.ActivationBytes
	f.Other += others
	if o.ema > 0 {
		f.average = f.Optimizer / 2 // AdamW keeps two numbers for each of the weights
	}
	return f, err
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
	gradients := int64(0)
	if o.maxNorm > 0 {
		gradients = f.Outputs
	}
	t := report.Table{Title: "Planned peak memory", Header: []string{"", ""}}
	for _, row := range []struct {
		name  string
		bytes int64
	}{
		{"weights", f.Weights}, {"AdamW's means", f.Optimizer}, {"moving average, for -ema", f.average},
		{"gradients, kept for -max-grad-norm", gradients}, {"activations", f.Arena - gradients},
		{"workspace", f.Workspace}, {"batch", f.Inputs + f.Other - f.data - f.average},
		{"latents and conditions of all pictures", f.data}, {"all", f.Total()},
	} {
		if row.bytes > 0 {
			t.Rows = append(t.Rows, []string{row.name, report.Size(row.bytes).String()})
		}
	}
	t.Note = "Nothing is computed again."
	if f.Recomputed > 0 {
		t.Note = fmt.Sprintf("To fit -memory %v, %d of %d operations are computed again, %.0f %% of the arithmetic.", o.memory, f.Recomputed, f.Steps, 100*f.RecomputedCost)
	}
	return t
}

// refuse is the error that names what would make training fit: each change of the flags that is enough alone, or else all of them together.
func (s *session) refuse(ctx context.Context, least fitting) error {
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
			if !f.short {
				enough = append(enough, o.difference(s.options))
				break
			}
		}
	}
	changes := all.difference(s.options)
	if len(enough) == 0 && changes != "" {
		together, err := s.fit(ctx, all)
		if err != nil {
			return err
		}
		if !together.short {
			enough = []string{changes}
		} else {
			changes = fmt.Sprintf(", or with -memory %v and %s", report.Size(together.Total()), changes)
		}
	}
	memory := fmt.Sprintf("-memory %v", report.Size(least.Total()))
	switch {
	case len(enough) > 0:
		memory = strings.Join(enough, ", with ") + ", or with " + memory
	case changes != "":
		memory += changes
	}
	return fmt.Errorf("training takes %v where as much as possible of the activations is computed again, which leaves %v of them; -memory is %v. It would fit with %s",
		report.Size(least.Total()), report.Size(least.Activations), s.memory, memory)
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
	for _, f := range []struct {
		name      string
		is, other any
	}{
		{"-ema", o.ema, other.ema}, {"-max-grad-norm", o.maxNorm, other.maxNorm}, {"-batch", o.batch, other.batch},
		{"-pretrain-batch", o.pretrainBatch, other.pretrainBatch}, {"-lora-rank", o.rank, other.rank},
	} {
		if f.is != f.other {
			changed = append(changed, fmt.Sprint(f.name, " ", f.is))
		}
	}
	return strings.Join(changed, " ")
}
