package finetune

import (
	"context"
	"fmt"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// A pool is a dataset in memory: what training needs of its samples.
type pool struct {
	stream  string // names its draws
	samples []dataset.Sample
}

// newPool collects a dataset and checks that its samples can be trained on together. like is another pool's sample, or nil.
func newPool(ctx context.Context, stream string, d dataset.Dataset, rewards bool, like *dataset.Sample) (*pool, error) {
	samples, err := dataset.Collect(ctx, d)
	if err != nil {
		return nil, fmt.Errorf("finetune: %s data: %w", stream, err)
	}
	if len(samples) == 0 {
		return nil, fmt.Errorf("finetune: there are no %s samples", stream)
	}
	if like == nil {
		like = &samples[0]
	}
	for i, s := range samples {
		if err := fits(s, *like); err != nil {
			return nil, fmt.Errorf("finetune: %s sample %d (%s, %q): %w", stream, i, s.ID, s.Prompt, err)
		}
		if rewards && s.Reward == nil {
			return nil, fmt.Errorf("finetune: %s sample %d (%s, %q) has no reward", stream, i, s.ID, s.Prompt)
		}
		if rewards && !(*s.Reward-*s.Reward == 0) {
			return nil, fmt.Errorf("finetune: %s sample %d (%s, %q) has reward %v", stream, i, s.ID, s.Prompt, *s.Reward)
		}
	}
	return &pool{stream, samples}, nil
}

func fits(s, like dataset.Sample) error {
	for _, part := range []struct {
		name      string
		got, want *tensor.Dense
		dims      int
	}{{"latent", s.Latent, like.Latent, 3}, {"condition", s.Condition, like.Condition, 2}} {
		if part.got == nil {
			return fmt.Errorf("it has no %s", part.name)
		}
		if part.got.Dtype() != tensor.Float32 || part.got.Dims() != part.dims {
			return fmt.Errorf("its %s is %v %v, not float32 with %d dimensions", part.name, part.got.Dtype(), part.got.Shape(), part.dims)
		}
		if part.want == nil || !part.got.Shape().Eq(part.want.Shape()) {
			return fmt.Errorf("its %s is %v, another's %v", part.name, part.got.Shape(), part.want.Shape())
		}
	}
	return nil
}

// draw returns the n samples of a step: every sample once, in an order that the seed decides, before any comes again.
func (p *pool) draw(seed uint64, step, n int) []dataset.Sample {
	out := make([]dataset.Sample, n)
	epoch, order := -1, []int(nil)
	for i := range out {
		at := step*n + i
		if e := at / len(p.samples); e != epoch {
			epoch, order = e, rng.New(seed, p.stream+" order", uint64(e), 0).Perm(len(p.samples))
		}
		out[i] = p.samples[order[at%len(p.samples)]]
	}
	return out
}
