package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// unet compares all that the UNet is part of. Training comes last because it changes the weights.
func (c *check) unet() error {
	prefixes := []string{"unet.", "sampler.", "lora.", "train."}
	if !slices.ContainsFunc(prefixes, c.any) {
		return nil
	}
	u, err := unet.Load(c.path("unet"))
	if err != nil {
		return err
	}
	err = c.gradients("unet.", u, nn.Parameters(u), c.has("unet.cotangent"))
	if err != nil {
		c.fail("unet", err)
	}
	c.samplers(u)
	if err := c.adapters(u); err != nil {
		c.fail("lora", err)
	}
	if !c.has("train.loss") {
		return nil
	}
	c.say("training")
	if err := c.train("train.", u); err != nil {
		c.fail("train", err)
	}
	return nil
}

// A network is a UNet, with an adapter or without one.
type network interface {
	Predict(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error)
}

// predict adds the inputs of the case to a graph, and what the network says of them.
func (c *check) predict(g *gorgonia.ExprGraph, n network) (
	x *gorgonia.Node, condition diffusion.Condition, y *gorgonia.Node, err error,
) {
	sample, err := c.pictures("unet.sample", 4)
	if err != nil {
		return nil, condition, nil, err
	}
	times, err := c.read("unet.timestep", 1)
	if err != nil {
		return nil, condition, nil, err
	}
	var batch dataset.Condition
	if batch.Tokens, err = c.read("unet.encoder_hidden_states", 3); err != nil {
		return nil, condition, nil, err
	}
	if c.has("unet.text_embeds") {
		if batch.Pooled, err = c.read("unet.text_embeds", 2); err != nil {
			return nil, condition, nil, err
		}
		if batch.Sizes, err = c.read("unet.time_ids", 2); err != nil {
			return nil, condition, nil, err
		}
	}
	x, condition = kernels.Input(g, "x", sample), diffusion.Input(g, batch)
	y, err = n.Predict(x, kernels.Input(g, "t", times), condition)
	return x, condition, y, err
}

// out compares a network's output with a tensor of the file, under a row's name.
func (c *check) out(rowName, name string, n network) error {
	g := gorgonia.NewGraph()
	_, _, y, err := c.predict(g, n)
	if err != nil {
		return err
	}
	return evaluate(g, gorgonia.Nodes{y}, func(v []*tensor.Dense) { c.near(rowName, name, v[0]) })
}

// gradients compares a network's output with the tensor prefix+"out". With backward it also
// compares those gradients, by the cotangent of the case, that the case has under names that begin
// with prefix.
func (c *check) gradients(
	prefix string, n network, parameters []kernels.Parameter, backward bool,
) error {
	if !backward {
		if !c.has(prefix + "out") {
			return nil
		}
		return c.out(prefix+"out", prefix+"out", n)
	}
	g := gorgonia.NewGraph()
	x, condition, y, err := c.predict(g, n)
	if err != nil {
		return err
	}
	cotangent, err := c.pictures("unet.cotangent", 4)
	if err != nil {
		return err
	}
	if !cotangent.Shape().Eq(y.Shape()) {
		return fmt.Errorf("unet.cotangent is, channels last, %v and the output %v",
			cotangent.Shape(), y.Shape())
	}
	product, err := kernels.Mul(y, kernels.Input(g, "cotangent", cotangent))
	if err != nil {
		return err
	}
	loss, err := kernels.Sum(product)
	if err != nil {
		return err
	}
	wrt, names := gorgonia.Nodes{}, []string{}
	if name := prefix + "grad_sample"; c.has(name) {
		wrt, names = append(wrt, x), append(names, name)
	}
	if name := prefix + "grad_encoder_hidden_states"; c.has(name) {
		wrt, names = append(wrt, condition.Tokens), append(names, name)
	}
	if name := prefix + "grad_text_embeds"; c.has(name) && condition.Pooled != nil {
		wrt, names = append(wrt, condition.Pooled), append(names, name)
	}
	for _, p := range parameters {
		if name := prefix + "grad." + p.Name; c.has(name) {
			wrt, names = append(wrt, kernels.Param(g, p.Value)), append(names, name)
		}
	}
	if len(wrt) == 0 {
		return c.out(prefix+"out", prefix+"out", n)
	}
	c.say("%d gradients", len(wrt))
	grads, err := gorgonia.Grad(loss, wrt...)
	if err != nil {
		return err
	}
	largest := 0.0
	for _, name := range names {
		v, err := c.data.Floats(name)
		if err != nil {
			return err
		}
		largest = max(largest, length(v))
	}
	return evaluate(g, append(gorgonia.Nodes{y}, grads...), func(v []*tensor.Dense) {
		c.near(prefix+"out", prefix+"out", v[0])
		c.compareGradients(prefix, names, v[1:], largest)
	})
}

// compareGradients adds a row for the gradient of each input, and one for those of the parameters.
func (c *check) compareGradients(
	prefix string, names []string, got []*tensor.Dense, largest float64,
) {
	var all group
	for i, name := range names {
		want, err := c.parameter(name, got[i].Shape())
		if err != nil {
			c.fail(name, err)
			continue
		}
		e, at := relative(got[i].Float32s(), want.Float32s(), 1e-4*largest) // see gradient
		shape, _ := c.data.Shape(name)
		if parameter, ok := strings.CutPrefix(name, prefix+"grad."); ok {
			all.add(parameter, shape, e, element(at, got[i], want), gradient)
		} else {
			c.add(name, name, e, element(at, got[i], want), gradient)
		}
	}
	c.group(prefix+"grad", all)
}

// samplers compares the trajectories of all samplers.
func (c *check) samplers(u *unet.UNet2DCondition) {
	for _, name := range c.data.Names() {
		name, ok := strings.CutPrefix(name, "sampler.")
		if name, ok2 := strings.CutSuffix(name, ".trajectory"); ok && ok2 {
			c.say("sampler %s", name)
			if err := c.sampler(name, u); err != nil {
				c.fail("sampler."+name, err)
			}
		}
	}
}

// schedule returns the folder's schedule, with the keys that the case gives for a sampler.
func (c *check) schedule(sampler string) (*diffusion.Schedule, error) {
	s, err := diffusion.LoadSchedule(c.path("scheduler"))
	if err != nil {
		return nil, err
	}
	key := "sampler." + sampler + ".config"
	over, ok := c.data.Metadata[key]
	if !ok {
		return s, nil
	}
	config := s.Config
	if err := json.Unmarshal([]byte(over), &config); err != nil {
		return nil, fmt.Errorf("%s: metadata %s: %w", c.path(casesFile), key, err)
	}
	return diffusion.NewSchedule(config)
}

func (c *check) sampler(name string, u *unet.UNet2DCondition) error {
	sampler, err := diffusion.ParseSampler(name)
	if err != nil {
		return err
	}
	s, err := c.schedule(name)
	if err != nil {
		return err
	}
	var o diffusion.SampleOptions
	if o.Steps, err = strconv.Atoi(c.data.Metadata["sampler.steps"]); err != nil {
		return fmt.Errorf("%s: metadata sampler.steps: %w", c.path(casesFile), err)
	}
	if eta, ok := c.data.Metadata["sampler.ddim.eta"]; ok && name == "ddim" {
		if o.Eta, err = strconv.ParseFloat(eta, 64); err != nil {
			return fmt.Errorf("%s: metadata sampler.ddim.eta: %w", c.path(casesFile), err)
		}
	}
	prefix := "sampler." + name
	condition, err := c.read("unet.encoder_hidden_states", 3)
	if err != nil {
		return err
	}
	draws, err := c.pictures(prefix+".noise", 5)
	if err != nil {
		return err
	}
	want, err := c.pictures(prefix+".trajectory", 5)
	if err != nil {
		return err
	}
	times, err := c.read(prefix+".timesteps", 1)
	if err != nil {
		return err
	}
	steps, shape := times.Shape()[0], want.Shape()[1:].Clone()
	if !draws.Shape().Eq(want.Shape()) || want.Shape()[0] != steps+1 {
		return fmt.Errorf("%d timesteps, noise %v and trajectory %v (channels last) do not fit",
			steps, draws.Shape(), want.Shape())
	}
	batch, one := shape.TotalSize(), shape.TotalSize()/shape[0]
	o.Noise = func(row, draw int, dst []float32) {
		if draw <= steps { // with more draws the number of steps is wrong: an error below
			copy(dst, draws.Float32s()[draw*batch+row*one:][:one])
		}
	}
	net, err := diffusion.Compile(u, shape, dataset.Condition{Tokens: condition}.Row(0))
	if err != nil {
		return err
	}
	defer net.Close()
	copy(net.Condition.Tokens.Float32s(), condition.Float32s())

	at := func(d *tensor.Dense, step int) *tensor.Dense {
		part := d.Float32s()[step*batch:][:batch]
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(part))
	}
	file, _ := c.data.Shape(prefix + ".trajectory")
	var states group
	add := func(what string, got, want *tensor.Dense) {
		e, worst := relative(got.Float32s(), want.Float32s(), 0)
		states.add(what, file, e, element(worst, got, want), forward)
	}
	// The start is a multiple of the noise. The first step shows by which number.
	add("start", multiple(at(draws, 0), at(want, 0)), at(want, 0))
	count, wrong, first := 0, 0, ""
	start := o.Noise.Start(shape...)
	for step, err := range sampler.Sample(context.Background(), net.Predict, s, start, o) {
		if err != nil {
			return err
		}
		if count++; count > steps {
			return fmt.Errorf("there are %d steps here and %d there", step.Of, steps)
		}
		if t := float64(times.Float32s()[step.Index]); step.Timestep != t {
			if wrong++; wrong == 1 {
				first = fmt.Sprintf("[%d]: %v, not %v", step.Index, step.Timestep, t)
			}
		}
		add(fmt.Sprintf("step %d", step.Index), step.Latent, at(want, step.Index+1))
	}
	if count != steps {
		return fmt.Errorf("there are %d steps here and %d there", count, steps)
	}
	c.add(prefix+".timesteps", prefix+".timesteps", float64(wrong), first, exact)
	c.group(prefix, states)
	return nil
}

// multiple returns the multiple of x that is nearest to y.
func multiple(x, y *tensor.Dense) *tensor.Dense {
	xy, xx := 0.0, 0.0
	for i, v := range x.Float32s() {
		xy += float64(v) * float64(y.Float32s()[i])
		xx += float64(v) * float64(v)
	}
	z := make([]float32, len(x.Float32s()))
	for i, v := range x.Float32s() {
		z[i] = float32(xy / xx * float64(v))
	}
	return tensor.New(tensor.WithShape(x.Shape().Clone()...), tensor.WithBacking(z))
}

// adapters compares what the UNet and the text encoder compute under each of the files in lora/.
func (c *check) adapters(u *unet.UNet2DCondition) error {
	files, err := filepath.Glob(c.path("lora", "*.safetensors"))
	if err != nil || len(files) == 0 {
		return err
	}
	var text *clip.TextModel
	if _, err := os.Stat(c.path("text_encoder")); err == nil {
		if text, err = clip.LoadText(c.path("text_encoder")); err != nil {
			return err
		}
	}
	for _, file := range files {
		c.say("%s", filepath.Join("lora", filepath.Base(file)))
		name := strings.TrimSuffix(filepath.Base(file), ".safetensors")
		if err := c.adapter(name, file, u, text); err != nil {
			c.fail("lora."+name, err)
		}
	}
	return nil
}

// mainAdapter is the file that diffusers writes. Its tensors are called lora.unet.out, lora.grad.*
// and lora.train.*.
const mainAdapter = "pytorch_lora_weights"

func (c *check) adapter(name, file string, u *unet.UNet2DCondition, text *clip.TextModel) error {
	a, err := lora.Load(file, u, text)
	if err != nil {
		return err
	}
	defer a.Detach()
	out, hidden := "lora."+name+".out", "lora."+name+".text.last_hidden_state"
	if name == mainAdapter {
		out, hidden = "lora.unet.out", "lora.text.last_hidden_state"
	}
	if !c.has(out) && !c.has(hidden) {
		c.say("%s has no %s: the file was read and is not compared", casesFile, out)
	}
	if c.has(out) {
		if err := c.out(out, out, a); err != nil {
			return err
		}
	}
	if c.has(hidden) {
		if text == nil {
			return fmt.Errorf("%s needs the folder's text encoder", hidden)
		}
		if err := c.hidden(hidden, text); err != nil {
			return err
		}
	}
	if name != mainAdapter {
		return nil
	}
	if c.any("lora.grad.") {
		if err := c.gradients("lora.", a, a.Trainable(), true); err != nil {
			return err
		}
	}
	if !c.has("lora.train.loss") {
		return nil
	}
	for _, p := range a.Trainable() { // training begins with B = 0
		if strings.HasSuffix(p.Name, "lora_B.weight") {
			clear(p.Value.Float32s())
		}
	}
	return c.train("lora.train.", a)
}
