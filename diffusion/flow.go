package diffusion

import (
	"context"
	"fmt"
	"math"

	"gorgonia.org/tensor"
)

// FlowEuler samples a Flow by Euler's method on its equation, dx/dσ = ε - x₀, as diffusers'
// FlowMatchEulerDiscreteScheduler does with the schedule's config. σ is spread evenly from the
// first level of training, which is shifted, to the last, and is then shifted once more. The last
// step ends at the picture. With stochastic_sampling each step adds fresh noise to x̂₀ to reach the
// next level. In all else it is like DDIM.
func FlowEuler(
	ctx context.Context, net Network, s *Schedule, x *tensor.Dense, o SampleOptions,
) Steps {
	if s == nil {
		return failed(errNoSchedule)
	}
	flow, ok := s.Process.(Flow)
	if !ok {
		return failed(fmt.Errorf("diffusion: FlowEuler follows a Flow, and the process is a %T",
			s.Process))
	}
	c := s.settled(classFlowEuler)
	sigmas, err := flow.sigmas(c, o)
	if err != nil {
		return failed(err)
	}
	moves := make([]move, o.Steps)
	for i := range moves {
		from, to := sigmas[i], sigmas[i+1]
		level := Level{1 - float64(from), float64(from), float64(from * float32(flow.Steps))}
		m := move{Level: level, scale: 1}
		if *c.Stochastic {
			m.clean, m.sigma = 1-float64(to), float64(to)
		} else {
			step := float64(to - from)
			m.clean, m.eps, m.state = -step, step, 1
		}
		moves[i] = m
	}
	return s.Prediction.follow(ctx, net, x, 1, o.Noise, moves, math.Inf(1))
}

// sigmas are the levels that FlowEuler goes down, and 0 at the end.
func (f Flow) sigmas(c Config, o SampleOptions) ([]float32, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if o.Steps < 1 || o.Eta != 0 {
		return nil, fmt.Errorf("diffusion: FlowEuler takes at least 1 step, not %d, and no eta, "+
			"not %g", o.Steps, o.Eta)
	}
	err := c.refuse(
		"use_dynamic_shifting", "invert_sigmas", "use_exponential_sigmas", "use_beta_sigmas",
	)
	if err != nil {
		return nil, err
	}
	if *c.Karras {
		return nil, fmt.Errorf("diffusion: use_karras_sigmas true is not supported by FlowEuler")
	}
	steps := float64(f.Steps)
	// The levels of training are float32s in diffusers.
	shifted := func(sigma float32) float64 {
		return float64(float32(f.Shift) * sigma / (1 + float32(f.Shift-1)*sigma))
	}
	high, low := shifted(1)*steps, shifted(1/float32(steps))*steps
	all, step := make([]float64, o.Steps), (low-high)/float64(max(o.Steps-1, 1))
	for i := range all {
		all[i] = f.shift((high + float64(i)*step) / steps)
	}
	sigmas := make([]float32, o.Steps+1)
	for i, sigma := range all {
		if end := or(c.ShiftTerminal, 0); end != 0 {
			sigma = 1 - (1-sigma)/((1-all[len(all)-1])/(1-end))
		}
		sigmas[i] = float32(sigma)
	}
	return sigmas, nil
}
