package main

import (
	"context"
	"errors"
	"fmt"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/examples/internal/cases"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
)

// miniature are a training run and a picture of the network of examples/tiny.
func miniature() (all []check) {
	for _, p := range []kernels.Precision{kernels.Float32, kernels.BFloat16} {
		exact := tolerance{each: 1e-4, together: 1e-4}
		if p == kernels.BFloat16 {
			exact = tolerance{each: 0.1, together: 0.1}
		}
		all = append(all,
			bothWays("miniature/tuned/"+p.String(), tuned, p, exact),
			bothWays("miniature/picture/"+p.String(), picture, p, exact))
	}
	return all
}

// bothWays is the check that f gives the same on a device and on the processor.
func bothWays(
	name string, f func(c kernels.Config) ([]float32, error), p kernels.Precision, t tolerance,
) check {
	return check{name: name, precision: p.String(), run: func(d kernels.Device) (r outcome) {
		got, err := f(kernels.Config{Device: d, Precision: p})
		if err != nil {
			return outcome{Wrong: "on the device: " + err.Error()}
		}
		want, err := f(kernels.Config{Precision: p})
		if err != nil {
			return outcome{Wrong: "on the processor: " + err.Error()}
		}
		r.compare("results", t, got, want)
		return r
	}}
}

// What the network reads: latents of side×side, and prompts of so many words of a width.
const (
	side  = 16
	words = 9
	width = 64
)

// said returns a condition.
func said(name string) dataset.Condition {
	x := make([]float32, words*width)
	normal(x, "condition "+name)
	return dataset.Condition{Tokens: dense(tensor.Shape{words, len(x) / words}, x)}
}

// tuned returns the losses of tuning, one picture of each stream a step.
func tuned(c kernels.Config) (losses []float32, err error) {
	n, err := cases.Miniature()
	if err != nil {
		return nil, err
	}
	schedule, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	if err != nil {
		return nil, err
	}
	var samples []dataset.Sample
	for i := range 2 {
		latent := dense(tensor.Shape{side, side, 4}, make([]float32, side*side*4))
		normal(latent.Float32s(), fmt.Sprint("latent ", i))
		samples = append(samples, dataset.Sample{
			ID: fmt.Sprint(i), Prompt: fmt.Sprint("picture ", i), Latent: latent,
			Condition: said(fmt.Sprint(i)), Reward: new(0.25 + 0.5*float64(i)),
		})
	}
	data := dataset.FromSlice(samples)
	tuner := &finetune.Tuner{
		Network: n, Schedule: schedule, Updates: 3, Seed: 3,
		Own: data, OwnBatch: 1, Pretrain: data, PretrainBatch: 1,
		Terms:   []finetune.Term{finetune.RewardWeighted{}, finetune.Pretraining{Beta: 1}},
		LR:      func(int) float64 { return 1e-4 },
		Clip:    1,
		Machine: c,
	}
	defer func() { err = errors.Join(err, tuner.Close()) }()
	for step, err := range tuner.Steps(context.Background()) {
		if err != nil {
			return nil, err
		}
		losses = append(losses, float32(step.Loss), float32(step.GradNorm))
	}
	return losses, nil
}

// picture returns the latents of pictures that are led by guidance.
func picture(c kernels.Config) (latents []float32, err error) {
	n, err := cases.Miniature()
	if err != nil {
		return nil, err
	}
	schedule, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	if err != nil {
		return nil, err
	}
	const pictures = 2
	start := diffusion.SeededNoise(1, 0).Start(pictures, side, side, 4)
	guided := diffusion.Guide(n, said("nothing"), 3)
	net, err := diffusion.CompileOn(c, guided, start.Shape(), said("0"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, net.Close()) }()
	var conditions []dataset.Condition
	for i := range pictures {
		conditions = append(conditions, said(fmt.Sprint(i)))
	}
	if err := net.Condition.Fill(conditions...); err != nil {
		return nil, err
	}
	options := diffusion.SampleOptions{Steps: 3}
	last, err := diffusion.Last(
		diffusion.DDIM(context.Background(), net.Predict, schedule, start, options))
	if err != nil {
		return nil, err
	}
	return last.Latent.Float32s(), nil
}
