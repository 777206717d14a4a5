package main

import (
	"encoding/json"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// constants are the metadata "train". Model and Pretrain are the numbers of samples.
type constants struct {
	Steps, Model, Pretrain int
	Beta, LR, Eps, Clip    float64
	Betas                  [2]float64
	Decay                  float64 `json:"weight_decay"`
}

// A training is Eq. 2 with its gradients as a graph, over the batches of the case.
type training struct {
	constants
	*check
	schedule *diffusion.Schedule

	noisy, target, timesteps, conditions, rewards *tensor.Dense // what the loss reads

	stepper optim.Stepper
	loss    *optim.Compiled
}

// train makes the updates of the case on a network. It compares the losses, the norms of the
// gradients and the changes of the parameters with tensors whose names begin with prefix. The
// batches are the tensors train.*.
func (c *check) train(prefix string, n finetune.Network) error {
	t := &training{check: c}
	if err := json.Unmarshal([]byte(c.data.Metadata["train"]), &t.constants); err != nil {
		return fmt.Errorf("%s: metadata train: %w", c.path(casesFile), err)
	}
	if t.Steps < 1 || t.Model < 0 || t.Pretrain < 0 || t.Model+t.Pretrain < 1 {
		return fmt.Errorf("%s: metadata train: %d steps of %d and %d samples",
			c.path(casesFile), t.Steps, t.Model, t.Pretrain)
	}
	if shape, _ := c.data.Shape(prefix + "loss"); len(shape) != 1 || shape[0] != t.Steps {
		return fmt.Errorf("%s: tensor %sloss is %v, the metadata's train has %d steps",
			c.path(casesFile), prefix, shape, t.Steps)
	}
	if err := t.compile(n); err != nil {
		return err
	}
	defer t.stepper.Close()
	before := make([][]float32, len(t.stepper.Parameters))
	for i, p := range t.stepper.Parameters {
		if c.has(prefix + "delta." + p.Name) {
			before[i] = append([]float32(nil), p.Value.Float32s()...)
		}
	}
	losses := tensor.New(tensor.WithShape(t.Steps), tensor.Of(tensor.Float32))
	norms := tensor.New(tensor.WithShape(t.Steps), tensor.Of(tensor.Float32))
	for step := range t.Steps {
		if err := t.fill(step); err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		r, err := t.stepper.Step(t.loss)
		if err != nil {
			return err
		}
		losses.Float32s()[step] = float32(r.Loss)
		norms.Float32s()[step] = float32(r.GradNorm)
	}
	c.near(prefix+"loss", prefix+"loss", losses)
	c.near(prefix+"grad_norm", prefix+"grad_norm", norms)
	var deltas group
	for i, p := range t.stepper.Parameters {
		if before[i] == nil {
			continue
		}
		name := prefix + "delta." + p.Name
		want, err := c.parameter(name, p.Value.Shape())
		if err != nil {
			c.fail(name, err)
			continue
		}
		for j, v := range p.Value.Float32s() {
			before[i][j] = v - before[i][j]
		}
		shape := p.Value.Shape().Clone()
		got := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(before[i]))
		e, at := relative(got.Float32s(), want.Float32s(), 0)
		inFile, _ := c.data.Shape(name)
		deltas.add(p.Name, inFile, e, element(at, got, want), delta)
	}
	c.group(prefix+"delta", deltas)
	return nil
}

// compile compiles the loss for batches of the shape of the first one.
func (t *training) compile(n finetune.Network) (err error) {
	if t.schedule, err = diffusion.LoadSchedule(t.path("scheduler")); err != nil {
		return err
	}
	t.stepper.Parameters, t.stepper.Clip = n.Trainable(), t.Clip
	adam, err := optim.NewAdamW(t.stepper.Parameters...)
	if err != nil {
		return err
	}
	adam.LR, adam.Eps, adam.WeightDecay = t.LR, t.Eps, t.Decay
	adam.Beta1, adam.Beta2 = t.Betas[0], t.Betas[1]
	t.stepper.Optimizer = adam
	latents, err := t.pictures("train.latents.0", 4)
	if err != nil {
		return err
	}
	states, err := t.read("train.encoder_hidden_states.0", 3)
	if err != nil {
		return err
	}
	size := t.Model + t.Pretrain
	if latents.Shape()[0] != size || states.Shape()[0] != size {
		return fmt.Errorf("train.latents.0 %v (channels last) and "+
			"train.encoder_hidden_states.0 %v are not of %d samples",
			latents.Shape(), states.Shape(), size)
	}
	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	}
	t.noisy, t.target = zeros(latents.Shape()...), zeros(latents.Shape()...)
	t.timesteps, t.conditions = zeros(size), zeros(states.Shape()...)
	weights := zeros(size)
	for i := range weights.Float32s() {
		weights.Float32s()[i] = 1
	}
	if t.Model > 0 {
		t.rewards = zeros(t.Model)
	}
	t.loss, err = t.stepper.Compile(func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
		b := &finetune.Batch{
			Graph:      g,
			Own:        t.Model,
			Pretrain:   t.Pretrain,
			OwnOf:      t.Model,
			PretrainOf: t.Pretrain,
			Noisy:      kernels.Input(g, "noisy", t.noisy),
			Timesteps:  kernels.Input(g, "timesteps", t.timesteps),
			Conditions: diffusion.Input(g, dataset.Condition{Tokens: t.conditions}),
			Target:     kernels.Input(g, "target", t.target),
			Rewards:    kernels.Input(g, "rewards", t.rewards),
			Weights:    kernels.Input(g, "weights", weights),
		}
		if b.Predicted, err = n.Predict(b.Noisy, b.Timesteps, b.Conditions); err != nil {
			return loss, err
		}
		if !b.Predicted.Shape().Eq(b.Target.Shape()) {
			return loss, fmt.Errorf("the network makes %v of latents %v (channels last): "+
				"it is not trained on them alone",
				b.Predicted.Shape(), b.Target.Shape())
		}
		loss.Value, err = t.eq2(b)
		return loss, err
	})
	return err
}

// eq2 is the loss of a batch.
func (t *training) eq2(b *finetune.Batch) (loss *gorgonia.Node, err error) {
	var terms []finetune.Term
	if t.Model > 0 {
		terms = append(terms, finetune.RewardWeighted{})
	}
	if t.Pretrain > 0 {
		terms = append(terms, finetune.Pretraining{Beta: t.Beta})
	}
	for _, term := range terms {
		n, err := term.Loss(b)
		if err != nil {
			return nil, fmt.Errorf("term %s: %w", term.Name(), err)
		}
		if loss == nil {
			loss = n
		} else if loss, err = kernels.Add(loss, n); err != nil {
			return nil, err
		}
	}
	return loss, nil
}

// fill writes a step's batch to what the loss reads.
func (t *training) fill(i int) error {
	latents, err := t.pictures(fmt.Sprint("train.latents.", i), 4)
	if err != nil {
		return err
	}
	noise, err := t.pictures(fmt.Sprint("train.noise.", i), 4)
	if err != nil {
		return err
	}
	type input struct {
		name string
		dims int
		to   *tensor.Dense
	}
	inputs := []input{
		{"train.timesteps.", 1, t.timesteps},
		{"train.encoder_hidden_states.", 3, t.conditions},
	}
	if t.rewards != nil {
		inputs = append(inputs, input{"train.rewards.", 1, t.rewards})
	}
	for _, in := range inputs {
		d, err := t.read(fmt.Sprint(in.name, i), in.dims)
		if err != nil {
			return err
		}
		if !d.Shape().Eq(in.to.Shape()) {
			return fmt.Errorf("%s%d is %v, not %v", in.name, i, d.Shape(), in.to.Shape())
		}
		copy(in.to.Float32s(), d.Float32s())
	}
	levels := make([]diffusion.Level, len(t.timesteps.Float32s()))
	for j, v := range t.timesteps.Float32s() {
		levels[j] = t.schedule.Process.At(float64(v))
	}
	if err := diffusion.Disturb(t.noisy, latents, noise, levels); err != nil {
		return err
	}
	return t.schedule.Prediction.Target(t.target, latents, noise, levels)
}
