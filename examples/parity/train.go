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

// constants are the metadata "train".
type constants struct {
	Steps, Model, Pretrain int
	Beta, LR, Eps, Clip    float64
	Betas                  [2]float64
	Decay                  float64 `json:"weight_decay"`
}

// A training is Eq. 2 and its gradients as a graph, over batches that the case gives.
type training struct {
	constants
	*check
	parameters []optim.Parameter
	adam       *optim.AdamW
	schedule   *diffusion.Schedule

	noisy, target, timesteps, conditions, rewards *tensor.Dense // what the graph reads

	machine *kernels.Machine
	loss    *gorgonia.Node
	grads   gorgonia.Nodes // nil if updates use them up as they appear, which takes a third less memory
}

// train makes the case's updates of a network and compares the losses, the gradients' norms and the changes of parameters, in tensors
// whose names begin with prefix. The batches are those of train.*.
func (c *check) train(prefix string, n finetune.Network) error {
	t := &training{check: c, parameters: n.Trainable()}
	if err := json.Unmarshal([]byte(c.data.Metadata["train"]), &t.constants); err != nil {
		return fmt.Errorf("%s: metadata train: %w", c.path(casesFile), err)
	}
	if t.Steps < 1 || t.Model < 0 || t.Pretrain < 0 || t.Model+t.Pretrain < 1 {
		return fmt.Errorf("%s: metadata train: %d steps of %d and %d samples", c.path(casesFile), t.Steps, t.Model, t.Pretrain)
	}
	if shape, _ := c.data.Shape(prefix + "loss"); len(shape) != 1 || shape[0] != t.Steps {
		return fmt.Errorf("%s: tensor %sloss is %v, the metadata's train has %d steps", c.path(casesFile), prefix, shape, t.Steps)
	}
	if err := t.compile(n, t.Clip > 0 || c.has(prefix+"grad_norm")); err != nil {
		return err
	}
	defer t.machine.Close()
	before := make([][]float32, len(t.parameters))
	for i, p := range t.parameters {
		if c.has(prefix + "delta." + p.Name) {
			before[i] = append([]float32(nil), p.Value.Float32s()...)
		}
	}
	losses := tensor.New(tensor.WithShape(t.Steps), tensor.Of(tensor.Float32))
	norms := tensor.New(tensor.WithShape(t.Steps), tensor.Of(tensor.Float32))
	for step := range t.Steps {
		loss, norm, err := t.step(step)
		if err != nil {
			return fmt.Errorf("step %d: %w", step, err)
		}
		losses.Float32s()[step], norms.Float32s()[step] = float32(loss), float32(norm)
	}
	c.near(prefix+"loss", prefix+"loss", losses)
	c.near(prefix+"grad_norm", prefix+"grad_norm", norms)
	var deltas group
	for i, p := range t.parameters {
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
		got := tensor.New(tensor.WithShape(p.Value.Shape().Clone()...), tensor.WithBacking(before[i]))
		e, at := relative(got.Float32s(), want.Float32s(), 0)
		shape, _ := c.data.Shape(name)
		deltas.add(p.Name, shape, e, element(at, got, want), delta)
	}
	c.group(prefix+"delta", deltas)
	return nil
}

// compile builds the graph for batches of the first one's shape, with the gradients' norm or without it.
func (t *training) compile(n finetune.Network, norm bool) (err error) {
	if t.schedule, err = diffusion.LoadSchedule(t.path("scheduler")); err != nil {
		return err
	}
	if t.adam, err = optim.NewAdamW(t.parameters...); err != nil {
		return err
	}
	t.adam.LR, t.adam.Beta1, t.adam.Beta2, t.adam.Eps, t.adam.WeightDecay = t.LR, t.Betas[0], t.Betas[1], t.Eps, t.Decay
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
		return fmt.Errorf("train.latents.0 %v (channels last) and train.encoder_hidden_states.0 %v are not of %d samples", latents.Shape(), states.Shape(), size)
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
	g := gorgonia.NewGraph()
	b := &finetune.Batch{
		Graph: g, Model: t.Model, Pretrain: t.Pretrain, Network: n,
		Noisy: kernels.Input(g, "noisy", t.noisy), Timesteps: kernels.Input(g, "timesteps", t.timesteps),
		Conditions: diffusion.Input(g, dataset.Condition{Tokens: t.conditions}), Target: kernels.Input(g, "target", t.target),
		Rewards: kernels.Input(g, "rewards", t.rewards), Weights: kernels.Input(g, "weights", weights),
	}
	if b.Predicted, err = n.Predict(b.Noisy, b.Timesteps, b.Conditions); err != nil {
		return err
	}
	if !b.Predicted.Shape().Eq(b.Target.Shape()) {
		return fmt.Errorf("the network makes %v of latents %v (channels last): it is not trained on them alone", b.Predicted.Shape(), b.Target.Shape())
	}
	if err := t.eq2(b); err != nil {
		return err
	}
	nodes := make(gorgonia.Nodes, len(t.parameters))
	for i, p := range t.parameters {
		nodes[i] = kernels.Param(g, p.Value)
	}
	grads, err := gorgonia.Grad(t.loss, nodes...)
	if err != nil {
		return err
	}
	config := kernels.Config{Want: gorgonia.Nodes{t.loss}}
	if norm {
		t.grads = grads
		config.Want = append(config.Want, grads...)
	} else {
		for i := range nodes {
			config.Updates = append(config.Updates, kernels.Update{Param: nodes[i], Grad: grads[i], By: t.adam})
		}
	}
	t.machine, err = kernels.NewMachine(g, config)
	return err
}

// eq2 is the loss of a batch.
func (t *training) eq2(b *finetune.Batch) (err error) {
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
			return fmt.Errorf("term %s: %w", term.Name(), err)
		}
		if t.loss == nil {
			t.loss = n
		} else if t.loss, err = kernels.Add(t.loss, n); err != nil {
			return err
		}
	}
	return nil
}

// step makes an update. It returns the loss before it and, if the gradients are there, their norm before they are clipped.
func (t *training) step(i int) (loss, norm float64, err error) {
	latents, err := t.pictures(fmt.Sprint("train.latents.", i), 4)
	if err != nil {
		return 0, 0, err
	}
	noise, err := t.pictures(fmt.Sprint("train.noise.", i), 4)
	if err != nil {
		return 0, 0, err
	}
	type input struct {
		name string
		dims int
		to   *tensor.Dense
	}
	inputs := []input{{"train.timesteps.", 1, t.timesteps}, {"train.encoder_hidden_states.", 3, t.conditions}}
	if t.rewards != nil {
		inputs = append(inputs, input{"train.rewards.", 1, t.rewards})
	}
	for _, in := range inputs {
		d, err := t.read(fmt.Sprint(in.name, i), in.dims)
		if err != nil {
			return 0, 0, err
		}
		if !d.Shape().Eq(in.to.Shape()) {
			return 0, 0, fmt.Errorf("%s%d is %v, not %v", in.name, i, d.Shape(), in.to.Shape())
		}
		copy(in.to.Float32s(), d.Float32s())
	}
	levels := make([]diffusion.Level, len(t.timesteps.Float32s()))
	for j, v := range t.timesteps.Float32s() {
		levels[j] = t.schedule.Process.At(float64(v))
	}
	if err := diffusion.Disturb(t.noisy, latents, noise, levels); err != nil {
		return 0, 0, err
	}
	if err := t.schedule.Prediction.Target(t.target, latents, noise, levels); err != nil {
		return 0, 0, err
	}
	if err := t.machine.RunAll(); err != nil {
		return 0, 0, err
	}
	if t.grads == nil {
		return t.machine.Scalar(t.loss), 0, nil
	}
	grads := make([]*tensor.Dense, len(t.grads))
	for j, g := range t.grads {
		grads[j] = t.machine.Value(g)
	}
	var clipper optim.Clipper
	if t.Clip > 0 {
		norm, err = clipper.Clip(t.Clip, grads...)
	} else {
		norm, err = clipper.Norm(grads...)
	}
	if err != nil {
		return 0, 0, err
	}
	for j, p := range t.parameters {
		if err := t.adam.Update(p.Value, grads[j]); err != nil {
			return 0, 0, fmt.Errorf("parameter %s: %w", p.Name, err)
		}
	}
	return t.machine.Scalar(t.loss), norm, nil
}
