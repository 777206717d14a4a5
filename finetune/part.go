package finetune

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A part of a step's batch: the loss of so many own and pretraining samples. Parts of one size are
// one.
type part struct {
	feeds []*feed // one of all samples, or where latents differ, one of each dataset's
	loss  *optim.Compiled
}

// A feed is the tensors that a Batch's nodes read, which are written anew for each step.
type feed struct {
	*Tuner
	own, pretrain int
	batch         *Batch

	clean, noise, noisy, target, timesteps, weights, rewards, groups *tensor.Dense
	conditions                                                       dataset.Condition // a batch's
}

// A shape is that of latents, [H,W,C].
type shape [3]int

func shapeOf(s dataset.Sample) shape { return shape([]int(s.Latent.Shape())) }

// size is the number of values.
func (s shape) size() int { return s[0] * s[1] * s[2] }

// divide compiles the parts of a step's batch, for each shape that pretraining latents have. The
// largest are first, whose memory is that of the others too.
func (r *run) divide() error {
	type key struct {
		own, pretrain int
		shape         shape
	}
	own, pretrain := r.sizes()
	var all []key
	r.parts = map[shape][]*part{}
	for _, shape := range r.shapes() {
		for i := range max(1, r.Accumulate) {
			lo, hi := r.share(own, i)
			from, to := r.share(pretrain, i)
			all = append(all, key{hi - lo, to - from, shape})
		}
	}
	compiled := map[key]*part{}
	bySize := slices.Clone(all)
	values := func(k key) int { return k.own*r.ownShape().size() + k.pretrain*k.shape.size() }
	slices.SortStableFunc(bySize, func(a, b key) int { return values(b) - values(a) })
	for _, k := range bySize {
		if compiled[k] != nil {
			continue
		}
		p := &part{feeds: r.feeds(k.own, k.pretrain, k.shape)}
		var err error
		if p.loss, err = r.stepper.Compile(p.build(r.Tuner, own, pretrain)); err != nil {
			return fmt.Errorf("finetune: %w", err)
		}
		compiled[k] = p
	}
	for _, k := range all {
		r.parts[k.shape] = append(r.parts[k.shape], compiled[k])
	}
	return nil
}

// shapes are those of pretraining latents, or of the own ones if there are no others.
func (r *run) shapes() []shape {
	if r.pretrain == nil {
		return []shape{r.ownShape()}
	}
	return r.pretrain.shapes
}

// ownShape is the shape of own latents; zero if there are none.
func (r *run) ownShape() (s shape) {
	if r.own != nil {
		s = r.own.shapes[0]
	}
	return s
}

// feeds makes what so many samples are fed by, pretraining ones of the shape given.
func (r *run) feeds(own, pretrain int, other shape) []*feed {
	condition := r.like().Condition
	if own == 0 || pretrain == 0 || other == r.ownShape() {
		return []*feed{newFeed(r.Tuner, own, pretrain, other, condition)}
	}
	return []*feed{
		newFeed(r.Tuner, own, 0, r.ownShape(), condition),
		newFeed(r.Tuner, 0, pretrain, other, condition),
	}
}

// share is which of n samples are in part i.
func (t *Tuner) share(n, i int) (from, to int) {
	parts := max(1, t.Accumulate)
	return n * i / parts, n * (i + 1) / parts
}

func newFeed(t *Tuner, own, pretrain int, of shape, condition dataset.Condition) *feed {
	f, n := &feed{Tuner: t, own: own, pretrain: pretrain}, own+pretrain
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	latents := []int{n, of[0], of[1], of[2]}
	f.clean, f.noise = zeros(latents...), zeros(latents...)
	f.noisy, f.target = zeros(latents...), zeros(latents...)
	f.timesteps, f.weights, f.groups = zeros(n), zeros(n), zeros(n)
	f.conditions = condition.Batch(n)
	if own > 0 {
		f.rewards = zeros(own)
	}
	return f
}

// bytes is the memory of what a loss need not read.
func (p *part) bytes() (n int64) {
	for _, f := range p.feeds {
		n += 4 * int64(f.clean.Size()+f.noise.Size())
	}
	return n
}

// termSuffix tells terms from metrics among the parts of a loss.
const termSuffix = " term"

// build makes the loss of a part, of a whole of so many samples.
func (p *part) build(t *Tuner, own, pretrain int) func(g *gorgonia.ExprGraph) (optim.Loss, error) {
	return func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
		for _, f := range p.feeds {
			if err := f.open(g, own, pretrain); err != nil {
				return loss, err
			}
		}
		terms := t.terms()
		if len(terms) == 0 {
			return loss, errors.New("the loss has no terms")
		}
		for _, t := range terms {
			if err := addTerm(&loss, t, p.batchOf(t)); err != nil {
				return loss, fmt.Errorf("term %s: %w", t.Name(), err)
			}
		}
		for _, f := range p.feeds {
			loss.Parts = append(loss.Parts, f.batch.metrics...)
		}
		return loss, nil
	}
}

// batchOf is the batch that a term is of. Where each dataset has its own, Pretraining is of the
// second, and any other term of the first.
func (p *part) batchOf(t Term) *Batch {
	switch t.(type) {
	case Pretraining, *Pretraining:
		return p.feeds[len(p.feeds)-1].batch
	}
	return p.feeds[0].batch
}

// terms are the loss's.
func (t *Tuner) terms() []Term {
	if t.Terms != nil {
		return t.Terms
	}
	var terms []Term
	if t.Own != nil {
		terms = append(terms, RewardWeighted{})
	}
	if t.Pretrain != nil {
		terms = append(terms, Pretraining{Beta: 1})
	}
	return terms
}

// open adds the batch to a graph, and what the network says of it.
func (f *feed) open(g *gorgonia.ExprGraph, own, pretrain int) (err error) {
	b := &Batch{
		Graph: g, Own: f.own, Pretrain: f.pretrain, OwnOf: own, PretrainOf: pretrain,
		Clean:      kernels.Input(g, "clean", f.clean),
		Noise:      kernels.Input(g, "noise", f.noise),
		Noisy:      kernels.Input(g, "noisy", f.noisy),
		Timesteps:  kernels.Input(g, "timesteps", f.timesteps),
		Target:     kernels.Input(g, "target", f.target),
		Conditions: diffusion.Input(g, f.conditions),
		Rewards:    kernels.Input(g, "rewards", f.rewards),
		Weights:    kernels.Input(g, "weights", f.weights),
		Groups:     kernels.Input(g, "groups", f.groups),
		network:    f.Network,
		reference:  f.Reference,
	}
	f.batch = b
	b.Predicted, err = f.Network.Predict(b.Noisy, b.Timesteps, b.Conditions)
	return err
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
		switch n := len(d.sample.Alternatives); {
		case drop:
			d.condition = r.Unconditional
		case n == 0:
			d.condition = d.sample.Condition
		default:
			random := rng.New(r.seed(), "caption", uint64(step), uint64(first+i))
			d.condition = caption(d.sample, random.IntN(1+n))
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
	for _, f := range p.feeds {
		n := f.own + f.pretrain
		if err := f.fill(draws[:n]); err != nil {
			return err
		}
		draws = draws[n:]
	}
	return nil
}

func (f *feed) fill(draws []draw) error {
	if len(draws) > 0 && draws[0].shares {
		return fmt.Errorf("sample %s is in another part than the one that it shares a level with "+
			"(Accumulate)", draws[0].sample.ID)
	}
	clean, noise := f.clean.Float32s(), f.noise.Float32s()
	size := len(noise) / len(draws)
	levels, conditions := make([]diffusion.Level, len(draws)), make([]dataset.Condition, len(draws))
	groups := map[string]int{}
	for i, d := range draws {
		copy(clean[i*size:], d.sample.Latent.Float32s())
		copy(noise[i*size:], d.noise)
		levels[i], conditions[i] = d.level, d.condition
		if i < f.own {
			f.rewards.Float32s()[i] = float32(d.reward)
		}
		group := i
		if name := d.sample.Group; name != "" {
			if k, ok := groups[name]; ok {
				group = k
			}
			groups[name] = group
		}
		f.groups.Float32s()[i] = float32(group)
	}
	if err := f.conditions.Fill(conditions...); err != nil {
		return err
	}
	return f.disturb(levels)
}

// disturb makes what depends on the levels of clean latents and noise: noisy latents, targets,
// weights, and what the batch's readings are made with.
func (f *feed) disturb(levels []diffusion.Level) error {
	says := f.Schedule.Prediction
	for i, l := range levels {
		f.timesteps.Float32s()[i] = float32(l.Timestep)
		f.weights.Float32s()[i] = 1
		if f.MinSNR > 0 {
			f.weights.Float32s()[i] = float32(says.MinSNR(f.MinSNR, l))
		}
	}
	return cmp.Or(
		diffusion.Disturb(f.noisy, f.clean, f.noise, levels),
		says.Target(f.target, f.clean, f.noise, levels),
		f.batch.setLevels(says, levels),
	)
}
