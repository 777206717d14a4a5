package diffusion

import (
	"context"
	"fmt"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
)

// A Sampler is a sampler as a value, for programs that let people choose one. Any function like
// DDIM becomes one by filling in the fields.
type Sampler struct {
	Name   string // "ddim", …: what samples say that they were made with
	Sample func(
		ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions,
	) Steps
}

// samplers are ours, with the class of diffusers that each follows.
var samplers = []struct {
	Sampler
	class string
}{
	{Sampler{"ddpm", DDPM}, classDDPM},
	{Sampler{"ddim", DDIM}, classDDIM},
	{Sampler{"pndm", PNDM}, classPNDM},
	{Sampler{"euler", Euler}, classEuler},
	{Sampler{"euler_a", EulerAncestral}, classEulerAncestral},
	{Sampler{"dpmpp_2m", DPMSolver}, classDPMSolver},
	{Sampler{"dpmpp_2m_karras", DPMSolverKarras}, classDPMSolver + " with use_karras_sigmas"},
	{Sampler{"flow_euler", FlowEuler}, classFlowEuler},
}

// ParseSampler returns the sampler of a name: ddpm, ddim, pndm, euler, euler_a, dpmpp_2m,
// dpmpp_2m_karras or flow_euler.
func ParseSampler(name string) (Sampler, error) {
	var names []string
	for _, k := range samplers {
		if k.Name == name {
			return k.Sampler, nil
		}
		names = append(names, k.Name)
	}
	return Sampler{}, fmt.Errorf("diffusion: %q is no sampler; these are: %s",
		name, strings.Join(names, ", "))
}

// Sampler is the sampler that the makers of the schedule chose: that of the config's _class_name.
// Where it has none, it is FlowEuler for a Flow and DDIM for any other process.
func (s *Schedule) Sampler() (Sampler, error) {
	var classes []string
	for _, k := range samplers {
		if k.class == s.class() {
			return k.Sampler, nil
		}
		classes = append(classes, k.class)
	}
	return Sampler{}, fmt.Errorf("diffusion: the scheduler %s is not supported; these are: %s",
		weights.Printable(s.class()), strings.Join(classes, ", "))
}
