package finetune

import (
	"context"
	"errors"
	"fmt"
	"math"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// A pool is a dataset in memory: what training needs of its samples.
type pool struct {
	stream  string // names its draws
	samples []dataset.Sample
	copies  []float64 // how often a pass has each, in expectation; nil: once
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
	return &pool{stream: stream, samples: samples}, nil
}

// bytes is the memory of the latents and conditions, which samples may share, that are not among those seen.
func (p *pool) bytes(seen map[*tensor.Dense]bool) (n int64) {
	if p == nil {
		return 0
	}
	for _, s := range p.samples {
		n += unseen(seen, s.Latent)
		for _, d := range s.Condition.Parts() {
			n += unseen(seen, d)
		}
	}
	return n
}

// unseen is a tensor's bytes if it was not seen yet.
func unseen(seen map[*tensor.Dense]bool, d *tensor.Dense) int64 {
	if seen[d] {
		return 0
	}
	seen[d] = true
	return 4 * int64(d.Size())
}

// fits says why two samples cannot be in one batch.
func fits(s, like dataset.Sample) error {
	switch l := s.Latent; {
	case l == nil:
		return errors.New("it has no latent")
	case l.Dtype() != tensor.Float32 || l.Dims() != 3:
		return fmt.Errorf("its latent is %v %v, not float32 with 3 dimensions", l.Dtype(), l.Shape())
	case !l.Shape().Eq(like.Latent.Shape()):
		return fmt.Errorf("its latent is %v, another's %v", l.Shape(), like.Latent.Shape())
	case s.Condition.IsZero():
		return errors.New("it has no condition")
	}
	return s.Condition.Fits(like.Condition)
}

// byReward makes passes have samples in proportion to their rewards, and all of them the mean reward.
func (p *pool) byReward() error {
	var sum float64
	for i, s := range p.samples {
		if *s.Reward < 0 {
			return fmt.Errorf("finetune: %s sample %d (%s, %q) has reward %v: ByReward takes none below 0", p.stream, i, s.ID, s.Prompt, *s.Reward)
		}
		sum += *s.Reward
	}
	mean := sum / float64(len(p.samples))
	if !(mean > 0) || math.IsInf(mean, 0) {
		return fmt.Errorf("finetune: the mean reward of %d %s samples is %v: ByReward cannot draw", len(p.samples), p.stream, mean)
	}
	p.copies = make([]float64, len(p.samples))
	for i := range p.samples {
		p.copies[i], p.samples[i].Reward = *p.samples[i].Reward/mean, &mean
	}
	return nil
}

// draw returns the n samples of a step: every sample once, or in proportion to copies, in an order that the seed decides, before the
// next pass begins.
func (p *pool) draw(seed uint64, step, n int) []dataset.Sample {
	out := make([]dataset.Sample, n)
	epoch, order := -1, []int(nil)
	for i := range out {
		at := step*n + i
		if e := at / len(p.samples); e != epoch {
			epoch, order = e, p.pass(seed, e)
		}
		out[i] = p.samples[order[at%len(p.samples)]]
	}
	return out
}

// pass is the order of a pass's samples. By copies it is a systematic resample: a sample that is due c times comes ⌊c⌋ or ⌈c⌉ times.
func (p *pool) pass(seed uint64, epoch int) []int {
	draw := rng.New(seed, p.stream+" order", uint64(epoch), 0)
	order := draw.Perm(len(p.samples))
	if p.copies == nil {
		return order
	}
	picks, due := make([]int, 0, len(order)), draw.Float64()
	for i, c := range p.copies {
		for due += c; due >= 1 && len(picks) < cap(picks); due-- {
			picks = append(picks, i)
		}
	}
	for len(picks) < cap(picks) { // copies are rounded
		picks = append(picks, picks[len(picks)-1])
	}
	for i, k := range order {
		order[i] = picks[k]
	}
	return order
}
