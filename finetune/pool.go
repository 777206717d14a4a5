package finetune

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
)

// A pool is a dataset in memory: what training needs of its samples.
type pool struct {
	samples []dataset.Sample
	shapes  []shape // of latents, in the order in which they appear
	picks   func(step, n int) []Pick
}

// newPool collects a dataset and checks that its samples can be trained on together. like is
// another pool's sample, or nil. Latents of samples without rewards may differ in height and width.
func newPool(
	ctx context.Context, stream string, d dataset.Dataset, rewards bool, c Choice, seed uint64,
	like *dataset.Sample,
) (*pool, error) {
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
	p := &pool{samples: samples}
	for i, s := range samples {
		name := fmt.Sprintf("finetune: %s sample %d (%s, %q)", stream, i, s.ID, s.Prompt)
		if err := fits(s, *like, rewards); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if !slices.Contains(p.shapes, shapeOf(s)) {
			p.shapes = append(p.shapes, shapeOf(s))
		}
		for _, a := range s.Alternatives {
			if err := a.Condition.Fits(like.Condition); err != nil {
				return nil, fmt.Errorf("%s: alternative %q: %w", name, a.Prompt, err)
			}
		}
		if rewards && s.Reward == nil {
			return nil, errors.New(name + " has no reward")
		}
		if rewards && !(*s.Reward-*s.Reward == 0) {
			return nil, fmt.Errorf("%s has reward %v", name, *s.Reward)
		}
	}
	if len(p.shapes) > 1 {
		c = byShape{stream}
	}
	if p.picks, err = c.Among(samples, seed); err != nil {
		return nil, fmt.Errorf("finetune: %s samples: %w", stream, err)
	}
	return p, nil
}

// bytes is the memory of the latents and conditions, which samples may share, that are not among
// those seen.
func (p *pool) bytes(seen map[*tensor.Dense]bool) (n int64) {
	if p == nil {
		return 0
	}
	for _, s := range p.samples {
		n += unseen(seen, s.Latent)
		for k := range 1 + len(s.Alternatives) {
			for _, d := range caption(s, k).Parts() {
				n += unseen(seen, d)
			}
		}
	}
	return n
}

// caption is the condition of caption k of a sample: 0 is its prompt, the others are alternatives.
func caption(s dataset.Sample, k int) dataset.Condition {
	if k == 0 {
		return s.Condition
	}
	return s.Alternatives[k-1].Condition
}

// unseen is a tensor's bytes if it was not seen yet.
func unseen(seen map[*tensor.Dense]bool, d *tensor.Dense) int64 {
	if seen[d] {
		return 0
	}
	seen[d] = true
	return 4 * int64(d.Size())
}

// fits says why two samples cannot be trained on together. Their latents must have as many
// channels, and the same height and width, if that is asked for.
func fits(s, like dataset.Sample, size bool) error {
	switch l := s.Latent; {
	case l == nil:
		return errors.New("it has no latent")
	case l.Dtype() != tensor.Float32 || l.Dims() != 3:
		return fmt.Errorf("its latent is %v %v, not float32 with 3 dimensions",
			l.Dtype(), l.Shape())
	case size && !l.Shape().Eq(like.Latent.Shape()) || l.Shape()[2] != like.Latent.Shape()[2]:
		return fmt.Errorf("its latent is %v, another's %v", l.Shape(), like.Latent.Shape())
	case s.Condition.IsZero():
		return errors.New("it has no condition")
	}
	return s.Condition.Fits(like.Condition)
}

// draw returns the draws of a step, n of them, with their samples and rewards.
func (p *pool) draw(step, n int) []draw {
	if n == 0 {
		return nil
	}
	draws := make([]draw, n)
	for i, k := range p.picks(step, n) {
		draws[i] = draw{sample: p.samples[k.Sample], reward: k.Reward, shares: k.Shares}
	}
	return draws
}
