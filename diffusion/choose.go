package diffusion

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"gorgonia.org/tensor"
)

// A Sampler is a sampler as a value, for programs that let people choose one. Any function like DDIM becomes one by filling in the
// fields.
type Sampler struct {
	Name string // "ddim", …: what samples say that they were made with

	// Native says that Sample is to be called with Schedule.Native and a network that predicts what the schedule says, as ParseSampler's
	// are: nothing is lost to rounding on the way to ε and back, where there is little signal. Without it, Sample is to be called with the
	// schedule and a network that predicts ε.
	Native bool

	Sample func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error]
}

// SampleOptions are what samplers can be told. They are DDIM's; other samplers refuse an Eta that is not 0.
type SampleOptions = DDIMOptions

// kinds are the samplers, with the class of diffusers that each follows.
var kinds = []struct {
	name, class string
	sample      func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error]
}{
	{"ddpm", "DDPMScheduler", func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
		return DDPM(ctx, net, s, x, DDPMOptions{Steps: o.Steps, Noise: o.Noise})
	}},
	{"ddim", "DDIMScheduler", DDIM},
	{"pndm", "PNDMScheduler", func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
		return PNDM(ctx, net, s, x, o.Steps)
	}},
	{"euler", "EulerDiscreteScheduler", func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
		return Euler(ctx, net, s, x, o.Steps)
	}},
	{"euler_a", "EulerAncestralDiscreteScheduler", func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
		return EulerAncestral(ctx, net, s, x, o.Steps, o.Noise)
	}},
	{"dpmpp_2m", "DPMSolverMultistepScheduler", func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
		return DPMSolver(ctx, net, s, x, o.Steps)
	}},
	{"dpmpp_2m_karras", "DPMSolverMultistepScheduler with use_karras_sigmas", func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
		k := *s
		k.Config.Karras = new(true)
		return DPMSolver(ctx, net, &k, x, o.Steps)
	}},
}

// ParseSampler is the sampler of a name: ddpm, ddim, pndm, euler, euler_a, dpmpp_2m or dpmpp_2m_karras.
func ParseSampler(name string) (Sampler, error) {
	var names []string
	for i, k := range kinds {
		if k.name == name {
			return sampler(i), nil
		}
		names = append(names, k.name)
	}
	return Sampler{}, fmt.Errorf("diffusion: %q is no sampler; these are: %s", name, strings.Join(names, ", "))
}

// Sampler is the sampler that the makers of the schedule chose: that of the config's _class_name, DDIM where it has none.
func (s *Schedule) Sampler() (Sampler, error) {
	class := or(s.Config.Class, "DDIMScheduler")
	var classes []string
	for i, k := range kinds {
		if k.class == class {
			return sampler(i), nil
		}
		classes = append(classes, k.class)
	}
	return Sampler{}, fmt.Errorf("diffusion: the scheduler %s is not supported; these are: %s", class, strings.Join(classes, ", "))
}

// sampler is kinds[i] as a value.
func sampler(i int) Sampler {
	k := kinds[i]
	return Sampler{Name: k.name, Native: true, Sample: func(ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions) iter.Seq2[Step, error] {
		if o.Eta != 0 && k.name != "ddim" {
			return failed(fmt.Errorf("diffusion: eta %g is for ddim; %s has none", o.Eta, k.name))
		}
		return k.sample(ctx, net, s, x, o)
	}}
}
