package main

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// training are steps of AdamW on a small network.
func training() (all []check) {
	for _, s := range []steps{
		{name: "step", hidden: 72}, {name: "clipped", hidden: 72, clip: 0.01},
		{name: "not clipped", hidden: 72, clip: 1e6},
		{name: "accumulated", hidden: 72, clip: 0.01, accumulate: true},
		{name: "large", hidden: 200_003, clip: 0.01},
	} {
		for _, s.precision = range []kernels.Precision{kernels.Float32, kernels.BFloat16} {
			all = append(all, check{
				name:      "adamw/" + s.name + "/" + s.precision.String(),
				precision: s.precision.String(), small: s.hidden < 1000, run: s.check,
			})
		}
	}
	return all
}

// steps are some steps of a network of two layers.
type steps struct {
	name       string
	hidden     int // width between the layers
	clip       float64
	accumulate bool
	precision  kernels.Precision
}

// A trained network is its parameters, their moving averages, and what its steps reported.
type trained struct {
	losses, norms []float32
	parameters    []float32
}

func (s steps) train(d kernels.Device) (t trained, err error) {
	const rows, in, out, updates = 6, 33, 5, 4
	var parameters []kernels.Parameter
	for i, shape := range []tensor.Shape{{s.hidden, in}, {s.hidden}, {out, s.hidden}, {out}} {
		x := make([]float32, shape.TotalSize())
		normal(x, fmt.Sprint("parameter ", i))
		for k := range x {
			x[k] /= 4
		}
		parameters = append(parameters, kernels.Parameter{
			Name: fmt.Sprint("p", i), Value: dense(shape, x),
		})
	}
	stepper := &optim.Stepper{
		Parameters: parameters, Clip: s.clip, Accumulate: s.accumulate,
		Machine: kernels.Config{Device: d, Precision: s.precision},
	}
	x, y := make([]float32, rows*in), make([]float32, rows*out)
	loss, err := stepper.Compile(func(g *gorgonia.ExprGraph) (optim.Loss, error) {
		from := kernels.Input(g, "x", dense(tensor.Shape{rows, in}, x))
		b := nn.On(from)
		var p []*gorgonia.Node
		for _, of := range parameters {
			p = append(p, b.Param(of.Value))
		}
		h := b.Do(kernels.Linear(from, p[0], p[1]))
		h = b.Do(kernels.SiLU(h))
		h = b.Do(kernels.Linear(h, p[2], p[3]))
		n := b.Do(kernels.MSE(h, kernels.Input(g, "y", dense(tensor.Shape{rows, out}, y)), nil))
		value, err := b.Result(n)
		return optim.Loss{Value: value}, err
	})
	if err != nil {
		return t, errors.Join(err, stepper.Close())
	}
	defer func() { err = errors.Join(err, stepper.Close()) }()
	average, err := optim.NewEMA(0.5, parameters...)
	if err != nil {
		return t, err
	}
	defer func() { err = errors.Join(err, average.Close()) }()
	if d != nil {
		if err := average.MoveTo(d); err != nil {
			return t, err
		}
	}
	for i := range updates {
		fill := func(part int) error {
			normal(x, fmt.Sprint("x ", i, part))
			normal(y, fmt.Sprint("y ", i, part))
			return nil
		}
		var r optim.Result
		if s.accumulate {
			r, err = stepper.StepAll(
				optim.Micro{Loss: loss, Fill: func() error { return fill(0) }},
				optim.Micro{Loss: loss, Fill: func() error { return fill(1) }})
		} else {
			fill(0)
			r, err = stepper.Step(loss)
		}
		if err == nil {
			err = average.Update()
		}
		if err != nil {
			return t, err
		}
		t.losses = append(t.losses, float32(r.Loss))
		t.norms = append(t.norms, float32(r.GradNorm))
	}
	means, err := average.State()
	if err != nil {
		return t, err
	}
	for _, p := range append(parameters, means[1:]...) {
		t.parameters = append(t.parameters, p.Value.Float32s()...)
	}
	return t, nil
}

// check compares training on a device with training on the processor.
func (s steps) check(d kernels.Device) (r outcome) {
	got, err := s.train(d)
	if err != nil {
		return outcome{Wrong: "on the device: " + err.Error()}
	}
	want, err := s.train(nil)
	if err != nil {
		return outcome{Wrong: "on the processor: " + err.Error()}
	}
	t := toleranceOf(s.precision)
	r.compare("losses", t, got.losses, want.losses)
	r.compare("norms of gradients", t, got.norms, want.norms)
	// A step is 1e-3 at most. If a gradient is all but 0, so that rounding is much of it, its step
	// is another.
	t.least = 2e-5
	r.compare("parameters", t, got.parameters, want.parameters)
	return r
}
