// Package optim changes parameters by their gradients: AdamW, clipping by global norm, exponential
// moving averages and learning rate schedules. A Stepper puts these together to training steps.
//
// # Two ways to step
//
// AdamW is a gorgonia.Solver and a kernels.Optimizer. As a Solver it steps all parameters after a
// run. As an Optimizer it steps one parameter at a time: a kernels.Machine calls it during a run,
// as soon as the gradient of the parameter is there. Both give the same bits, because the state of
// a parameter is its own. AdamW finds it by the parameter's tensor. Clipping by global norm needs
// all gradients first, so it is only for the Solver's way.
//
// # Determinism
//
// Results depend neither on the number of workers nor on the order in which parameters are stepped.
package optim

import (
	"fmt"
	"strconv"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// AdamW is the optimizer of Loshchilov, Hutter: Decoupled Weight Decay Regularization, 2019, with
// the arithmetic of PyTorch's torch.optim.AdamW. For a gradient g at a parameter's t-th step it is
//
//	p ← p · (1 − LR·WeightDecay)
//	m ← β₁·m + (1−β₁)·g
//	v ← β₂·v + (1−β₂)·g²
//	p ← p − LR · (m / (1−β₁ᵗ)) / (√v / √(1−β₂ᵗ) + Eps)
//
// The exported fields may be changed between steps. It is for one goroutine at a time.
type AdamW struct {
	LR          float64 // learning rate, 0 or more
	Beta1       float64 // decay of the mean of the gradient, in [0,1)
	Beta2       float64 // decay of the mean of the squared gradient, in [0,1)
	Eps         float64 // added to the root of the mean of the squared gradient
	WeightDecay float64 // a step shrinks a parameter by LR·WeightDecay of itself

	states  []*state
	byValue map[*tensor.Dense]*state
	remote  *adamOnDevice // the state, where a device has it
}

var (
	_ gorgonia.Solver   = (*AdamW)(nil)
	_ kernels.Optimizer = (*AdamW)(nil)
)

// A state is what AdamW remembers of a parameter. Its memory is allocated at the first step.
type state struct {
	kernels.Parameter
	mean, square []float32 // m and v
	steps        int
}

func (s *state) begin() {
	if s.mean == nil {
		n := len(s.Value.Float32s())
		s.mean, s.square = cpu.Zeros(cpu.Shared, n), cpu.Zeros(cpu.Shared, n)
	}
}

// NewAdamW returns an optimizer of the parameters with the defaults of PyTorch: LR 1e-3, Beta1 0.9,
// Beta2 0.999, Eps 1e-8, WeightDecay 1e-2. It is an error if a name is empty or not unique, if a
// value is not a contiguous float32 tensor, or if two parameters are the same tensor.
func NewAdamW(parameters ...kernels.Parameter) (*AdamW, error) {
	a := &AdamW{
		LR:          1e-3,
		Beta1:       0.9,
		Beta2:       0.999,
		Eps:         1e-8,
		WeightDecay: 1e-2,
		byValue:     make(map[*tensor.Dense]*state),
	}
	names := make(map[string]bool)
	for _, p := range parameters {
		if p.Name == "" || names[p.Name] {
			return nil, fmt.Errorf("optim: parameter name %q is empty or not unique", p.Name)
		}
		names[p.Name] = true
		if _, err := a.add(p); err != nil {
			return nil, err
		}
	}
	return a, nil
}

func (a *AdamW) add(p kernels.Parameter) (*state, error) {
	if p.Value == nil || p.Value.Dtype() != tensor.Float32 || p.Value.RequiresIterator() {
		return nil, fmt.Errorf("optim: parameter %s is not a contiguous float32 tensor", p.Name)
	}
	if s, ok := a.byValue[p.Value]; ok {
		return nil, fmt.Errorf("optim: parameters %s and %s are the same tensor", s.Name, p.Name)
	}
	s := &state{Parameter: p}
	a.states = append(a.states, s)
	a.byValue[p.Value] = s
	return s, nil
}

// SetLR sets LR.
func (a *AdamW) SetLR(lr float64) { a.LR = lr }

// Update steps one parameter by its gradient. It is an error if NewAdamW was not given the
// parameter, or if the gradient does not fit it.
func (a *AdamW) Update(param, grad *tensor.Dense) error {
	s, ok := a.byValue[param]
	if !ok {
		return fmt.Errorf("optim: AdamW does not know this parameter of shape %v", param.Shape())
	}
	return a.step(s, grad)
}

func (a *AdamW) step(s *state, grad *tensor.Dense) error {
	if grad == nil || grad.Dtype() != tensor.Float32 || grad.RequiresIterator() {
		return fmt.Errorf("optim: the gradient of %s is not a contiguous float32 tensor", s.Name)
	}
	s.begin()
	p, g := s.Value.Float32s(), grad.Float32s()
	if len(g) != len(p) || len(p) != len(s.mean) {
		const wrong = "optim: parameter %s has %d values, its gradient %d, its state %d"
		return fmt.Errorf(wrong, s.Name, len(p), len(g), len(s.mean))
	}
	s.steps++
	cpu.AdamW(cpu.Shared, p, s.mean, s.square, g, a.numbers(s.steps))
	return nil
}

// numbers returns the numbers of step t.
func (a *AdamW) numbers(t int) cpu.AdamWStep {
	return cpu.NewAdamWStep(t, a.LR, a.Beta1, a.Beta2, a.Eps, a.WeightDecay)
}

// Step steps parameters after a run, in any order. As a gorgonia.Solver must, it also takes
// parameters that NewAdamW was not given. Their names are their numbers.
func (a *AdamW) Step(model []gorgonia.ValueGrad) error {
	for i, m := range model {
		value, ok := m.Value().(*tensor.Dense)
		if !ok {
			return fmt.Errorf("optim: parameter %d is a %T, not a tensor", i, m.Value())
		}
		g, err := m.Grad()
		if err != nil {
			return fmt.Errorf("optim: parameter %d: %w", i, err)
		}
		grad, ok := g.(*tensor.Dense)
		if !ok {
			return fmt.Errorf("optim: the gradient of parameter %d is a %T, not a tensor", i, g)
		}
		s, ok := a.byValue[value]
		if !ok {
			p := kernels.Parameter{Name: strconv.Itoa(len(a.states)), Value: value}
			if s, err = a.add(p); err != nil {
				return err
			}
		}
		if err := a.step(s, grad); err != nil {
			return err
		}
	}
	return nil
}

// Bytes returns how much memory the state takes from the first step on.
func (a *AdamW) Bytes() int64 {
	var n int64
	for _, s := range a.states {
		n += 2 * 4 * int64(len(s.Value.Float32s()))
	}
	return n
}

// State returns what a checkpoint needs beside the parameters. For each parameter, in order, it is
// three tensors with the suffixes that PyTorch uses: ".step" [1], and ".exp_avg" and ".exp_avg_sq"
// in the shape of the parameter. The latter two share the optimizer's memory.
func (a *AdamW) State() []kernels.Parameter {
	var out []kernels.Parameter
	for _, s := range a.states {
		s.begin()
		shape := s.Value.Shape()
		out = append(out,
			kernels.Parameter{Name: s.Name + ".step", Value: dense([]float32{float32(s.steps)}, 1)},
			kernels.Parameter{Name: s.Name + ".exp_avg", Value: dense(s.mean, shape...)},
			kernels.Parameter{Name: s.Name + ".exp_avg_sq", Value: dense(s.square, shape...)})
	}
	return out
}

func dense(data []float32, shape ...int) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}

// SetState copies what State returned, in any order. One error lists all that is missing, unknown
// or of another shape. After an error nothing has changed.
func (a *AdamW) SetState(from []kernels.Parameter) error {
	state := a.State()
	if err := transfer(state, from); err != nil {
		return err
	}
	for i, s := range a.states {
		s.steps = int(state[3*i].Value.Float32s()[0])
	}
	return nil
}

// Parameters returns the parameters in order.
func (a *AdamW) Parameters() []kernels.Parameter {
	out := make([]kernels.Parameter, len(a.states))
	for i, s := range a.states {
		out[i] = s.Parameter
	}
	return out
}
