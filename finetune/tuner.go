package finetune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"time"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A Network is a denoising network that can be tuned.
type Network interface {
	diffusion.Denoiser
	// Trainable lists the parameters to tune.
	Trainable() []optim.Parameter
}

// A Tuner tunes a network by Eq. 2. It is a Trainer.
type Tuner struct {
	Network  Network
	Schedule *diffusion.Schedule // the levels that the network was trained on, and what it predicts

	// Model are the model's own samples: latents, conditions and rewards. Pretrain are latents and conditions of the
	// pretraining distribution; nil for none, which is β = 0. Both are held in memory.
	Model, Pretrain dataset.Dataset
	// ModelBatch and PretrainBatch are the samples of each in a step. 0 is 32 of a dataset that is there; the paper has
	// 256 of each.
	ModelBatch, PretrainBatch int
	// ByReward draws the model's samples in proportion to their rewards, which must not be negative, and gives every draw the mean
	// reward, instead of drawing all alike and weighing each by its own. Eq. 2's expectation is the same; the noise of its gradient
	// is less, as no evaluation goes to samples that hardly count.
	ByReward bool

	// Terms are the loss's. Nil is Eq. 2: RewardWeighted, and Pretraining with β = 1 where Pretrain is there.
	Terms []Term

	Updates int // steps in all; required
	// LR is the learning rate of each step. Nil is 1e-5 throughout, the value of ImageReward's re-run of this objective.
	LR func(step int) float64
	// Optimizer steps the parameters. Nil is AdamW with PyTorch's defaults.
	Optimizer *optim.AdamW
	// Clip is the largest norm of all gradients together; longer ones are scaled down. 0 does not clip, and then
	// gradients are used up during the backward pass, so that they never are in memory all at once.
	Clip float64
	// EMA is the decay of an exponential moving average of the parameters; 0 keeps none. See UseAverage.
	EMA float64
	// MinSNR weighs levels by Prediction.MinSNR (Hang et al. 2023, which has 5); 0 does not.
	MinSNR float64
	// ModelLevels and PretrainLevels are the distributions of levels at which the samples of each
	// dataset are disturbed. Nil is From(0) of the Schedule's Process: all levels, as the process has
	// them. From(300) as ModelLevels leaves out timesteps below 300 for the model's samples. Whether a
	// picture is what its prompt asks for is decided where there is much noise. Where there is little,
	// the model's own pictures would teach it no more than their flaws, and what is there is left to
	// the pretraining term.
	ModelLevels, PretrainLevels diffusion.Levels
	// Dropout is the share of samples whose condition is replaced by Unconditional, that of the empty
	// prompt, so that guidance keeps working.
	Dropout       float64
	Unconditional dataset.Condition

	Seed uint64
	// ActivationBytes bounds the memory of activations (kernels.Config); 0 does not.
	ActivationBytes int64

	run *run // of the first call of Steps on
}

// Prepare reads the data, compiles the loss with its gradients and returns the memory that training will take, without training. Steps
// does it where it was not done. Optimizer and moving average take their memory at the first step only, and so does the graph's where the
// system gives memory out when it is first written to, as Linux does: a plan that is too large costs next to nothing to look at. Where
// ActivationBytes cannot be met, the error wraps a *kernels.ActivationError.
func (t *Tuner) Prepare(ctx context.Context) (kernels.Plan, error) {
	if t.run == nil {
		r, err := t.start(ctx)
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				err = cause
			}
			return kernels.Plan{}, err
		}
		t.run = r
	}
	return t.Plan(), nil
}

// Steps trains from the step that the last call ended at to the last one.
func (t *Tuner) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		if _, err := t.Prepare(ctx); err != nil {
			yield(Step{}, err)
			return
		}
		for t.run.step < t.Updates {
			if err := context.Cause(ctx); err != nil {
				yield(Step{}, err)
				return
			}
			step, err := t.run.once()
			if !yield(step, err) || err != nil {
				return
			}
		}
	}
}

// Plan is the memory that training takes, known after Prepare. Its Other is the data and the moving average; with Clip, the gradients
// are in its Outputs.
func (t *Tuner) Plan() kernels.Plan {
	if t.run == nil {
		return kernels.Plan{}
	}
	return t.run.plan()
}

// UseAverage puts the moving average of the parameters in their place; calling it again puts them back.
func (t *Tuner) UseAverage() error {
	if t.run == nil || t.run.average == nil {
		return errors.New("finetune: there is no average: EMA is 0 or nothing was trained")
	}
	t.run.average.Swap()
	return nil
}

// Close frees the memory of training. The network's parameters stay.
func (t *Tuner) Close() error {
	if t.run == nil {
		return nil
	}
	return t.run.machine.Close()
}

// A run is a Tuner in action.
type run struct {
	*Tuner
	step            int
	model, pretrain *pool
	params          []optim.Parameter
	adam            *optim.AdamW
	average         *optim.EMA
	clipper         optim.Clipper
	guard           guard // without clipping

	// What the graph reads, written anew for each step.
	clean, noise, noisy, target, timesteps, weights, rewards *tensor.Dense
	conditions                                               dataset.Condition

	machine *kernels.Machine
	batch   *Batch
	loss    *gorgonia.Node
	names   []string
	terms   gorgonia.Nodes
	grads   gorgonia.Nodes // with clipping
}

// A guard passes gradients on to AdamW as they appear. Where one is not finite the step ends, before it spoils its parameter.
type guard struct {
	adam    *optim.AdamW
	norms   optim.Clipper
	squares float64 // the norm of the step's gradients so far, squared
}

// Update satisfies kernels.Optimizer.
func (g *guard) Update(param, grad *tensor.Dense) error {
	norm, err := g.norms.Norm(grad)
	if err != nil {
		return err
	}
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return fmt.Errorf("the gradient's norm is %v", norm)
	}
	g.squares += norm * norm
	return g.adam.Update(param, grad)
}

func (t *Tuner) start(ctx context.Context) (*run, error) {
	r := &run{Tuner: t}
	if err := t.check(); err != nil {
		return nil, err
	}
	var err error
	var like *dataset.Sample
	if t.Model != nil {
		if r.model, err = newPool(ctx, "model", t.Model, true, nil); err != nil {
			return nil, err
		}
		if t.ByReward {
			if err := r.model.byReward(); err != nil {
				return nil, err
			}
		}
		like = &r.model.samples[0]
	}
	if t.Pretrain != nil {
		if r.pretrain, err = newPool(ctx, "pretraining", t.Pretrain, false, like); err != nil {
			return nil, err
		}
		like = &r.pretrain.samples[0]
	}
	if err := t.fitsUnconditional(*like); err != nil {
		return nil, err
	}
	r.allocate(*like)
	if r.params = t.Network.Trainable(); len(r.params) == 0 {
		return nil, errors.New("finetune: the Network has no parameters to train")
	}
	if r.adam = t.Optimizer; r.adam == nil {
		if r.adam, err = optim.NewAdamW(r.params...); err != nil {
			return nil, err
		}
	}
	r.guard.adam = r.adam
	return r, r.compile()
}

// plan is the machine's, and what it does not know of.
func (r *run) plan() kernels.Plan {
	plan := r.machine.Plan()
	plan.Optimizer = r.adam.Bytes()
	plan.Other = 4 * int64(r.clean.Size()+r.noise.Size())
	if r.EMA > 0 {
		for _, p := range r.params {
			plan.Other += 4 * int64(p.Value.Size())
		}
	}
	seen := map[*tensor.Dense]bool{}
	for _, d := range r.Unconditional.Parts() {
		plan.Other += unseen(seen, d)
	}
	for _, p := range []*pool{r.model, r.pretrain} {
		plan.Other += p.bytes(seen)
	}
	return plan
}

func (t *Tuner) check() error {
	switch {
	case t.Network == nil:
		return errors.New("finetune: the Tuner has no Network")
	case t.Schedule == nil:
		return errors.New("finetune: the Tuner has no Schedule")
	case t.Schedule.Process == nil || t.Schedule.Prediction == diffusion.Prediction{}:
		return errors.New("finetune: the Schedule has no Process or no Prediction")
	case t.Model == nil && t.Pretrain == nil:
		return errors.New("finetune: the Tuner has no data")
	case t.Updates < 1:
		return fmt.Errorf("finetune: %d updates asked for", t.Updates)
	case t.ModelBatch < 0 || t.PretrainBatch < 0:
		return fmt.Errorf("finetune: batches of %d and %d samples", t.ModelBatch, t.PretrainBatch)
	case t.Dropout > 0 && t.Unconditional.IsZero():
		return errors.New("finetune: Dropout needs Unconditional")
	case !(t.Dropout >= 0 && t.Dropout <= 1):
		return fmt.Errorf("finetune: Dropout is %v, not in [0,1]", t.Dropout)
	case !(t.EMA >= 0 && t.EMA < 1):
		return fmt.Errorf("finetune: EMA is %v, not in [0,1)", t.EMA)
	case !(t.Clip >= 0 && t.MinSNR >= 0):
		return fmt.Errorf("finetune: Clip is %v, MinSNR %v: below zero or not a number", t.Clip, t.MinSNR)
	}
	model, pretrain := t.levels()
	for name, levels := range map[string]diffusion.Levels{"ModelLevels": model, "PretrainLevels": pretrain} {
		if l := levels(0); !(l.Signal-l.Signal == 0 && l.Noise-l.Noise == 0) {
			return fmt.Errorf("finetune: %s: there is no level of timestep %g", name, l.Timestep)
		}
	}
	return nil
}

// fitsUnconditional checks that Unconditional can stand in for a sample's condition.
func (t *Tuner) fitsUnconditional(like dataset.Sample) error {
	if t.Dropout == 0 {
		return nil
	}
	s := like
	s.Condition = t.Unconditional
	if err := fits(s, like); err != nil {
		return fmt.Errorf("finetune: Unconditional: %w", err)
	}
	return nil
}

// sizes returns how many samples of each dataset a step has.
func (t *Tuner) sizes() (model, pretrain int) {
	size := func(d dataset.Dataset, n int) int {
		switch {
		case d == nil:
			return 0
		case n == 0:
			return 32
		}
		return n
	}
	return size(t.Model, t.ModelBatch), size(t.Pretrain, t.PretrainBatch)
}

func (r *run) allocate(like dataset.Sample) {
	model, pretrain := r.sizes()
	n := model + pretrain
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	latents := append([]int{n}, like.Latent.Shape()...)
	r.clean, r.noise, r.noisy, r.target = zeros(latents...), zeros(latents...), zeros(latents...), zeros(latents...)
	r.timesteps, r.weights = zeros(n), zeros(n)
	r.conditions = like.Condition.Batch(n)
	if model > 0 {
		r.rewards = zeros(model)
	}
}

// compile builds the loss and its gradients as one graph and plans it.
func (r *run) compile() error {
	g := gorgonia.NewGraph()
	model, pretrain := r.sizes()
	b := &Batch{
		Graph: g, Model: model, Pretrain: pretrain, Network: r.Network,
		Noisy: kernels.Input(g, "noisy", r.noisy), Timesteps: kernels.Input(g, "timesteps", r.timesteps),
		Conditions: diffusion.Input(g, r.conditions), Target: kernels.Input(g, "target", r.target),
		Rewards: kernels.Input(g, "rewards", r.rewards), Weights: kernels.Input(g, "weights", r.weights),
	}
	var err error
	if b.Predicted, err = r.Network.Predict(b.Noisy, b.Timesteps, b.Conditions); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	r.batch = b
	if err := r.addTerms(b); err != nil {
		return err
	}
	nodes, used := make(gorgonia.Nodes, len(r.params)), inputs(r.loss)
	for i, p := range r.params {
		if nodes[i] = kernels.Param(g, p.Value); !used[nodes[i].ID()] {
			return fmt.Errorf("finetune: the loss does not depend on parameter %s", p.Name)
		}
	}
	grads, err := gorgonia.Grad(r.loss, nodes...)
	if err != nil {
		return fmt.Errorf("finetune: gradient: %w", err)
	}
	c := kernels.Config{Want: append(gorgonia.Nodes{r.loss}, r.terms...), ActivationBytes: r.ActivationBytes}
	if r.Clip > 0 {
		r.grads = grads
		c.Want = append(c.Want, grads...)
	} else {
		for i := range nodes {
			c.Updates = append(c.Updates, kernels.Update{Param: nodes[i], Grad: grads[i], By: &r.guard})
		}
	}
	if r.machine, err = kernels.NewMachine(g, c); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	return nil
}

// inputs are the nodes that n is computed from.
func inputs(n *gorgonia.Node) map[int64]bool {
	seen, todo := map[int64]bool{}, []int64{n.ID()}
	for len(todo) > 0 {
		id := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for from := n.Graph().From(id); from.Next(); {
			if next := from.Node().ID(); !seen[next] {
				seen[next], todo = true, append(todo, next)
			}
		}
	}
	return seen
}

func (r *run) addTerms(b *Batch) error {
	terms := r.Terms
	if terms == nil {
		if b.Model > 0 {
			terms = append(terms, RewardWeighted{})
		}
		if b.Pretrain > 0 {
			terms = append(terms, Pretraining{Beta: 1})
		}
	}
	if len(terms) == 0 {
		return errors.New("finetune: the loss has no terms")
	}
	for _, t := range terms {
		n, err := t.Loss(b)
		if err != nil {
			return fmt.Errorf("finetune: term %s: %w", t.Name(), err)
		}
		if n == nil {
			return fmt.Errorf("finetune: term %s gave no loss", t.Name())
		}
		if !n.Shape().IsScalar() {
			return fmt.Errorf("finetune: term %s is %v, not a scalar", t.Name(), n.Shape())
		}
		r.names, r.terms = append(r.names, t.Name()), append(r.terms, n)
		if r.loss == nil {
			r.loss = n
		} else if r.loss, err = kernels.Add(r.loss, n); err != nil {
			return fmt.Errorf("finetune: term %s: %w", t.Name(), err)
		}
	}
	return nil
}

// once makes one update.
func (r *run) once() (Step, error) {
	began := time.Now()
	if err := r.fill(); err != nil {
		return Step{}, fmt.Errorf("finetune: step %d: %w", r.step, err)
	}
	step, err := r.update()
	step.Time = time.Since(began)
	return step, err
}

// update steps the parameters by the batch that the graph reads.
func (r *run) update() (Step, error) {
	step := Step{Index: r.step, Of: r.Updates, Terms: map[string]float64{}, LR: 1e-5, Samples: r.timesteps.Shape()[0]}
	if r.LR != nil {
		step.LR = r.LR(r.step)
	}
	if !(step.LR-step.LR == 0) {
		return Step{}, fmt.Errorf("finetune: step %d: the learning rate is %v", r.step, step.LR)
	}
	r.adam.LR = step.LR
	if r.EMA > 0 && r.average == nil {
		var err error
		if r.average, err = optim.NewEMA(r.EMA, r.params...); err != nil {
			return Step{}, err
		}
	}
	r.guard.squares = 0
	failure := r.machine.RunAll()
	step.Loss, step.GradNorm = r.machine.Scalar(r.loss), math.Sqrt(r.guard.squares)
	for i, name := range r.names { // they are computed before any gradient, and tell more about what is wrong
		v := r.machine.Scalar(r.terms[i])
		step.Terms[name] += v
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return Step{}, fmt.Errorf("finetune: step %d: the %s term is %v", r.step, name, v)
		}
	}
	if failure != nil {
		return Step{}, fmt.Errorf("finetune: step %d: %w", r.step, failure)
	}
	if r.grads != nil {
		var err error
		if step.GradNorm, err = r.clipped(); err != nil {
			return Step{}, fmt.Errorf("finetune: step %d: %w", r.step, err)
		}
	}
	if r.average != nil {
		if err := r.average.Update(); err != nil {
			return Step{}, fmt.Errorf("finetune: step %d: %w", r.step, err)
		}
	}
	r.step++
	return step, nil
}

// clipped steps the optimizer with gradients of norm Clip at most. It returns their norm before.
func (r *run) clipped() (float64, error) {
	grads := make([]*tensor.Dense, len(r.grads))
	for i, g := range r.grads {
		grads[i] = r.machine.Value(g)
	}
	norm, err := r.clipper.Clip(r.Clip, grads...)
	if err != nil {
		return norm, err
	}
	if math.IsNaN(norm) || math.IsInf(norm, 0) {
		return norm, fmt.Errorf("the gradients' norm is %v", norm)
	}
	for i, p := range r.params {
		if err := r.adam.Update(p.Value, grads[i]); err != nil {
			return norm, err
		}
	}
	return norm, nil
}

// fill draws the batch of the step. Levels are stratified: of a stream's n samples, whose order is
// random, the k-th has one of the k-th n-th of the stream's levels. The loss depends on them so much
// that drawing them independently would be most of its noise.
func (r *run) fill() error {
	model, pretrain := r.sizes()
	var samples []dataset.Sample
	if model > 0 {
		samples = r.model.draw(r.Seed, r.step, model)
		for i, s := range samples {
			r.rewards.Float32s()[i] = float32(*s.Reward)
		}
	}
	if pretrain > 0 {
		samples = append(samples, r.pretrain.draw(r.Seed, r.step, pretrain)...)
	}
	levels := make([]diffusion.Level, len(samples))
	ofModel, ofPretrain := r.levels()
	conditions := make([]dataset.Condition, len(samples))
	clean, noise := r.clean.Float32s(), r.noise.Float32s()
	size := len(noise) / len(samples)
	for i, s := range samples {
		draw := rng.New(r.Seed, "tuning", uint64(r.step), uint64(i))
		k, n, from := i, model, ofModel
		if i >= model {
			k, n, from = i-model, pretrain, ofPretrain
		}
		levels[i] = from((float64(k) + draw.Float64()) / float64(n))
		conditions[i] = s.Condition
		if draw.Float64() < r.Dropout {
			conditions[i] = r.Unconditional
		}
		copy(clean[i*size:], s.Latent.Float32s())
		rng.Normal(noise[i*size:(i+1)*size], r.Seed, "tuning noise", uint64(r.step), uint64(i))
	}
	if err := r.conditions.Fill(conditions...); err != nil {
		return err
	}
	return r.disturb(levels)
}

// levels are the distributions of levels for the two streams.
func (t *Tuner) levels() (model, pretrain diffusion.Levels) {
	model, pretrain = t.ModelLevels, t.PretrainLevels
	all := t.Schedule.Process.From(0)
	if model == nil {
		model = all
	}
	if pretrain == nil {
		pretrain = all
	}
	return model, pretrain
}

// disturb makes what depends on the levels of clean latents and noise: noisy latents, targets and weights.
func (r *run) disturb(levels []diffusion.Level) error {
	says := r.Schedule.Prediction
	for i, l := range levels {
		r.timesteps.Float32s()[i] = float32(l.Timestep)
		r.weights.Float32s()[i] = 1
		if r.MinSNR > 0 {
			r.weights.Float32s()[i] = float32(says.MinSNR(r.MinSNR, l))
		}
	}
	return cmp.Or(
		diffusion.Disturb(r.noisy, r.clean, r.noise, levels),
		says.Target(r.target, r.clean, r.noise, levels),
		r.batch.setLevels(says, levels),
	)
}
