package finetune

import (
	"cmp"
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A part of a step's batch: the loss of so many own and pretraining samples, and the tensors that
// its graph reads, which are written anew for each step. Parts of one size are one.
type part struct {
	*Tuner
	own, pretrain int
	batch         *Batch
	loss          *optim.Compiled

	clean, noise, noisy, target, timesteps, weights, rewards, groups *tensor.Dense
	conditions                                                       dataset.Condition // a batch's
}

// divide compiles the parts of a step's batch.
func (r *run) divide(like dataset.Sample) error {
	own, pretrain := r.sizes()
	bySize := map[[2]int]*part{}
	for i := range max(1, r.Accumulate) {
		lo, hi := r.share(own, i)
		from, to := r.share(pretrain, i)
		size := [2]int{hi - lo, to - from}
		if bySize[size] == nil {
			p := newPart(r.Tuner, size[0], size[1], like)
			var err error
			if p.loss, err = r.stepper.Compile(p.build(own, pretrain)); err != nil {
				return fmt.Errorf("finetune: %w", err)
			}
			bySize[size] = p
		}
		r.parts = append(r.parts, bySize[size])
	}
	return nil
}

// share is which of n samples are in part i.
func (t *Tuner) share(n, i int) (from, to int) {
	parts := max(1, t.Accumulate)
	return n * i / parts, n * (i + 1) / parts
}

func newPart(t *Tuner, own, pretrain int, like dataset.Sample) *part {
	p, n := &part{Tuner: t, own: own, pretrain: pretrain}, own+pretrain
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	latents := append([]int{n}, like.Latent.Shape()...)
	p.clean, p.noise = zeros(latents...), zeros(latents...)
	p.noisy, p.target = zeros(latents...), zeros(latents...)
	p.timesteps, p.weights, p.groups = zeros(n), zeros(n), zeros(n)
	p.conditions = like.Condition.Batch(n)
	if own > 0 {
		p.rewards = zeros(own)
	}
	return p
}

// bytes is the memory of what a loss need not read.
func (p *part) bytes() int64 { return 4 * int64(p.clean.Size()+p.noise.Size()) }

// termSuffix tells terms from metrics among the parts of a loss.
const termSuffix = " term"

// build makes the loss of a part, of a whole of so many samples.
func (p *part) build(own, pretrain int) func(g *gorgonia.ExprGraph) (optim.Loss, error) {
	return func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
		b := &Batch{
			Graph: g, Own: p.own, Pretrain: p.pretrain, OwnOf: own, PretrainOf: pretrain,
			Clean:      kernels.Input(g, "clean", p.clean),
			Noise:      kernels.Input(g, "noise", p.noise),
			Noisy:      kernels.Input(g, "noisy", p.noisy),
			Timesteps:  kernels.Input(g, "timesteps", p.timesteps),
			Target:     kernels.Input(g, "target", p.target),
			Conditions: diffusion.Input(g, p.conditions),
			Rewards:    kernels.Input(g, "rewards", p.rewards),
			Weights:    kernels.Input(g, "weights", p.weights),
			Groups:     kernels.Input(g, "groups", p.groups),
			network:    p.Network,
			reference:  p.Reference,
		}
		if b.Predicted, err = p.Network.Predict(b.Noisy, b.Timesteps, b.Conditions); err != nil {
			return loss, err
		}
		p.batch = b
		terms := p.Terms
		if terms == nil {
			if p.Own != nil {
				terms = append(terms, RewardWeighted{})
			}
			if p.Pretrain != nil {
				terms = append(terms, Pretraining{Beta: 1})
			}
		}
		if len(terms) == 0 {
			return loss, errors.New("the loss has no terms")
		}
		for _, t := range terms {
			if err := addTerm(&loss, t, b); err != nil {
				return loss, fmt.Errorf("term %s: %w", t.Name(), err)
			}
		}
		loss.Parts = append(loss.Parts, b.metrics...)
		return loss, nil
	}
}

// addTerm adds a term to a loss.
func addTerm(loss *optim.Loss, t Term, b *Batch) error {
	n, err := t.Loss(b)
	switch {
	case err != nil:
		return err
	case n == nil:
		return errors.New("it gave no loss")
	case !n.Shape().IsScalar():
		return fmt.Errorf("it is %v, not a scalar", n.Shape())
	}
	loss.Parts = append(loss.Parts, optim.Part{Name: t.Name() + termSuffix, Value: n})
	if loss.Value == nil {
		loss.Value = n
		return nil
	}
	loss.Value, err = kernels.Add(loss.Value, n)
	return err
}

// A draw is a place of a step's batch with what is drawn for it.
type draw struct {
	sample    dataset.Sample
	reward    float64
	shares    bool // level, noise and what becomes of the condition, with the draw before
	condition dataset.Condition
	level     diffusion.Level
	noise     []float32
}

// draw draws a step's batch: own samples first. Levels are stratified: of a stream's n draws that
// share nothing, whose order is random, the k-th has one of the k-th n-th of the stream's levels.
// The loss depends on them so much that drawing them independently would be most of its noise.
func (r *run) draw(step int) ([]draw, error) {
	own, pretrain := r.sizes()
	draws := append(r.own.draw(step, own), r.pretrain.draw(step, pretrain)...)
	ofOwn, ofPretrain := r.levels()
	if err := r.level(draws[:own], 0, step, ofOwn); err != nil {
		return nil, err
	}
	return draws, r.level(draws[own:], own, step, ofPretrain)
}

// level draws what a stream's draws, the first of which is at place first of the batch, have beside
// their samples.
func (r *run) level(draws []draw, first, step int, levels diffusion.Levels) error {
	alone, k := 0, 0
	for _, d := range draws {
		if !d.shares {
			alone++
		}
	}
	var drop bool
	for i := range draws {
		d := &draws[i]
		if d.shares {
			if i == 0 {
				return fmt.Errorf("sample %s shares the level of one that is not in the step: "+
					"is the batch of pairs odd?", d.sample.ID)
			}
			d.level, d.noise = draws[i-1].level, draws[i-1].noise
		} else {
			place := uint64(first + i)
			random := rng.New(r.seed(), "tuning", uint64(step), place)
			d.level = levels((float64(k) + random.Float64()) / float64(alone))
			drop = random.Float64() < r.Dropout
			d.noise = make([]float32, d.sample.Latent.Size())
			rng.Normal(d.noise, r.seed(), "tuning noise", uint64(step), place)
			k++
		}
		if d.condition = d.sample.Condition; drop {
			d.condition = r.Unconditional
		}
	}
	return nil
}

// ofPart are the draws of part i.
func (r *run) ofPart(draws []draw, i int) []draw {
	own, _ := r.sizes()
	lo, hi := r.share(own, i)
	from, to := r.share(len(draws)-own, i)
	return append(append([]draw(nil), draws[lo:hi]...), draws[own+from:own+to]...)
}

// fill writes draws to what the loss reads.
func (p *part) fill(draws []draw) error {
	if len(draws) > 0 && draws[0].shares {
		return fmt.Errorf("sample %s is in another part than the one that it shares a level with "+
			"(Accumulate)", draws[0].sample.ID)
	}
	clean, noise := p.clean.Float32s(), p.noise.Float32s()
	size := len(noise) / len(draws)
	levels, conditions := make([]diffusion.Level, len(draws)), make([]dataset.Condition, len(draws))
	groups := map[string]int{}
	for i, d := range draws {
		copy(clean[i*size:], d.sample.Latent.Float32s())
		copy(noise[i*size:], d.noise)
		levels[i], conditions[i] = d.level, d.condition
		if i < p.own {
			p.rewards.Float32s()[i] = float32(d.reward)
		}
		group := i
		if name := d.sample.Group; name != "" {
			if k, ok := groups[name]; ok {
				group = k
			}
			groups[name] = group
		}
		p.groups.Float32s()[i] = float32(group)
	}
	if err := p.conditions.Fill(conditions...); err != nil {
		return err
	}
	return p.disturb(levels)
}

// disturb makes what depends on the levels of clean latents and noise: noisy latents, targets,
// weights, and what the batch's readings are made with.
func (p *part) disturb(levels []diffusion.Level) error {
	says := p.Schedule.Prediction
	for i, l := range levels {
		p.timesteps.Float32s()[i] = float32(l.Timestep)
		p.weights.Float32s()[i] = 1
		if p.MinSNR > 0 {
			p.weights.Float32s()[i] = float32(says.MinSNR(p.MinSNR, l))
		}
	}
	return cmp.Or(
		diffusion.Disturb(p.noisy, p.clean, p.noise, levels),
		says.Target(p.target, p.clean, p.noise, levels),
		p.batch.setLevels(says, levels),
	)
}
