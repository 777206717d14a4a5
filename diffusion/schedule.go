package diffusion

import (
	"errors"
	"fmt"
	"math"
)

var errNoSchedule = errors.New("diffusion: there is no Schedule: it is nil")

// A Schedule is what a scheduler_config.json says: how latents become noise, what the network that
// was trained on them predicts, and how to sample it.
type Schedule struct {
	Process    Process
	Prediction Prediction
	// Config is what the schedule was made from, and what Save writes. Samplers read their own keys
	// in it.
	Config Config

	pipeline bool // see InPipeline
}

// NewSchedule makes the process of a config: a Flow where its class is
// FlowMatchEulerDiscreteScheduler, otherwise a Table.
//
// A config differs from what diffusers makes of it in one thing: clip_sample is false where the key
// is missing. diffusers' default for DDIM and DDPM clamps x̂₀ to ±1. That is meant for pictures and
// would spoil latents, which lie outside; diffusers' StableDiffusionPipeline undoes it too.
func NewSchedule(c Config) (*Schedule, error) {
	k := c.settle("")
	if or(c.Class, "") == classFlowEuler {
		flow := Flow{Steps: *k.TrainSteps, Shift: *k.Shift}
		if err := flow.check(); err != nil {
			return nil, err
		}
		return &Schedule{Process: flow, Prediction: FlowVelocity, Config: c}, nil
	}
	s := &Schedule{Config: c}
	for _, p := range []Prediction{Epsilon, Velocity, Clean} {
		if p.String() == *k.Prediction {
			s.Prediction = p
		}
	}
	if s.Prediction == (Prediction{}) {
		return nil, fmt.Errorf("diffusion: prediction_type %q is none of %v, %v and %v",
			*k.Prediction, Epsilon, Velocity, Clean)
	}
	bars, err := alphaBar(k)
	if err != nil {
		return nil, err
	}
	s.Process = Table{bars}
	return s, nil
}

// InPipeline is the schedule as diffusers' StableDiffusionPipeline uses it, which takes some values
// for mistakes of old folders. The sampler that the config names has steps_offset 1 and clips
// nothing (clip_sample), whatever the config says or leaves to defaults. Another sampler has these
// two values for the keys that the config has, and the default of its class for a key that is
// missing.
func (s *Schedule) InPipeline() *Schedule {
	other := *s
	other.pipeline = true
	return &other
}

// settled is the config as a class reads it.
func (s *Schedule) settled(class string) Config {
	c := s.Config.settle(class)
	if s.pipeline {
		if class == s.class() || s.Config.StepsOffset != nil {
			c.StepsOffset = new(1)
		}
		c.ClipSample = new(false)
	}
	return c
}

// class is that of the sampler that the makers of the schedule chose.
func (s *Schedule) class() string {
	if _, ok := s.Process.(Flow); ok {
		return or(s.Config.Class, classFlowEuler)
	}
	return or(s.Config.Class, classDDIM)
}

// alphaBar computes ᾱ_t of a settled config.
func alphaBar(c Config) ([]float64, error) {
	betas, err := betas(c)
	if err != nil {
		return nil, err
	}
	for t, beta := range betas {
		if !(0 < beta && beta < 1) {
			return nil, fmt.Errorf("diffusion: beta %g at timestep %d is not between 0 and 1",
				beta, t)
		}
	}
	if *c.ZeroSNR {
		if len(betas) == 1 {
			return nil, fmt.Errorf("diffusion: rescale_betas_zero_snr needs more timesteps than " +
				"num_train_timesteps 1")
		}
		rescale(betas)
	}
	var bars []float64
	for _, bar := range products(betas) {
		bars = append(bars, float64(bar))
	}
	return bars, nil
}

// products are ᾱ_t of betas, with PyTorch's float32 rounding.
func products(betas []float32) []float32 {
	out, product := make([]float32, len(betas)), 1.0
	for t, beta := range betas {
		product *= float64(1 - beta)
		out[t] = float32(product)
	}
	return out
}

// rescale changes betas so that no signal is left at the last timestep: √ᾱ is shifted and scaled
// (Lin et al. 2024, algorithm 1), with PyTorch's float32 rounding.
func rescale(betas []float32) {
	roots := products(betas)
	for t, bar := range roots {
		roots[t] = float32(math.Sqrt(float64(bar)))
	}
	first, last := roots[0], roots[len(roots)-1]
	before := float32(1)
	for t, root := range roots {
		root = (root - last) * float32(first/(first-last))
		bar := root * root
		betas[t] = 1 - bar/before
		before = bar
	}
}

// betas are the variances β_t of one noising step, with PyTorch's float32 rounding.
func betas(c Config) ([]float32, error) {
	n, start, end := *c.TrainSteps, *c.BetaStart, *c.BetaEnd
	if n < 1 || n > 1<<24 {
		return nil, fmt.Errorf("diffusion: num_train_timesteps is %d, not between 1 and %d",
			n, 1<<24)
	}
	if c.TrainedBetas != nil {
		if len(c.TrainedBetas) != n {
			return nil, fmt.Errorf("diffusion: trained_betas are %d, num_train_timesteps is %d",
				len(c.TrainedBetas), n)
		}
		out := make([]float32, n)
		for i, b := range c.TrainedBetas {
			out[i] = float32(b)
		}
		return out, nil
	}
	switch kind := *c.BetaSchedule; kind {
	case "linear":
		return linspace(start, end, n), nil
	case "scaled_linear":
		out := linspace(math.Sqrt(start), math.Sqrt(end), n)
		for i, b := range out {
			out[i] = b * b
		}
		return out, nil
	case "squaredcos_cap_v2":
		return cosine(n), nil
	default:
		return nil, fmt.Errorf("diffusion: beta_schedule %q is none of linear, scaled_linear and "+
			"squaredcos_cap_v2", kind)
	}
}

// linspace is torch.linspace in float32: from both ends towards the middle, each value rounded
// once.
func linspace(start, end float64, n int) []float32 {
	out := make([]float32, n)
	a, b := float32(start), float32(end)
	step := float64((b - a) / float32(max(n-1, 1)))
	for i := range out {
		if i < n/2 {
			out[i] = float32(float64(a) + step*float64(i))
		} else {
			out[i] = float32(float64(b) - step*float64(n-1-i))
		}
	}
	if n == 1 {
		out[0] = a
	}
	return out
}

// cosine is the schedule of Nichol and Dhariwal 2021, eq. 17.
func cosine(n int) []float32 {
	bar := func(i int) float64 {
		c := math.Cos((float64(i)/float64(n) + 0.008) / 1.008 * math.Pi / 2)
		return c * c
	}
	out := make([]float32, n)
	for i := range out {
		out[i] = float32(min(1-bar(i+1)/bar(i), 0.999))
	}
	return out
}
