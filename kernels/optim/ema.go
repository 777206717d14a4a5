package optim

import (
	"errors"
	"fmt"
	"math"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/internal/cpu"
	"gorgonia.org/tensor"
)

// An EMA is an exponential moving average of parameters. After each training step it is average ←
// Decay·average + (1−Decay)·parameter. It starts at the values of the parameters.
type EMA struct {
	// Decay, in [0, 1), is how much of the average stays in a step. With 0.9999 it averages over
	// ten thousand steps.
	Decay float64
	// WarmUp makes the decay of step n at most (1+n)/(10+n), with n counted from 1. So the average
	// of a short run is not its start.
	WarmUp bool

	steps      int
	moved      bool // whether an average has ever changed
	parameters []kernels.Parameter
	average    []*tensor.Dense
	sums       []float64
	remote     *emaOnDevice
}

// stillness is after how many steps it is an error if no average has ever moved.
const stillness = 100

// NewEMA returns the average of parameters with the given decay and without warm-up. It is an error
// if decay is not in [0, 1), or if a parameter is not a contiguous float32 tensor.
func NewEMA(decay float64, parameters ...kernels.Parameter) (*EMA, error) {
	if !(decay >= 0 && decay < 1) {
		return nil, fmt.Errorf("optim: EMA decay %v is not in [0, 1)", decay)
	}
	e := &EMA{Decay: decay, parameters: parameters}
	for _, p := range parameters {
		if p.Value == nil || p.Value.Dtype() != tensor.Float32 || p.Value.RequiresIterator() {
			return nil, fmt.Errorf("optim: parameter %s is not a contiguous float32 tensor", p.Name)
		}
	}
	if err := kernels.Pull(values(parameters)...); err != nil {
		return nil, err
	}
	for _, p := range parameters {
		start := append([]float32(nil), p.Value.Float32s()...)
		e.average = append(e.average, dense(start, p.Value.Shape()...))
	}
	return e, nil
}

// Update adds the values of the parameters to the averages. It is an error if no average has moved
// in the first 100 steps. Then the parameters are not those that are trained, or Decay is so close
// to 1 that float32 does not show the steps.
func (e *EMA) Update() error {
	decay := e.Decay
	if e.WarmUp {
		decay = min(decay, float64(2+e.steps)/float64(11+e.steps))
	}
	blend := e.blend
	if e.remote != nil {
		blend = e.blendRemote
	}
	if err := blend(float32(1 - decay)); err != nil {
		return err
	}
	if e.steps++; !e.moved && e.steps >= stillness {
		const wrong = "optim: the moving average has not moved in %d steps of decay %v"
		return fmt.Errorf(wrong, e.steps, decay)
	}
	return nil
}

// blend moves the averages by a part of what they differ by.
func (e *EMA) blend(part float32) error {
	if err := kernels.Pull(values(e.parameters)...); err != nil {
		return err
	}
	for i, p := range e.parameters {
		x, average := p.Value.Float32s(), e.average[i].Float32s()
		if len(x) != len(average) {
			const wrong = "optim: parameter %s has %d values, its average %d"
			return fmt.Errorf(wrong, p.Name, len(x), len(average))
		}
		before := e.fingerprint(average)
		cpu.Blend(cpu.Shared, average, x, part)
		e.moved = e.moved || before != e.fingerprint(average)
	}
	return nil
}

// fingerprint returns a number that changes with x. It is 0 once an average has moved.
func (e *EMA) fingerprint(x []float32) float64 {
	if e.moved {
		return 0
	}
	if n := cpu.SumSquaresWorkspace(len(x)); n > len(e.sums) {
		e.sums = make([]float64, n)
	}
	return cpu.SumSquares(cpu.Shared, x, e.sums)
}

// newest makes sure that the host has the newest parameters and averages.
func (e *EMA) newest() error {
	return kernels.Pull(append(values(e.parameters), e.average...)...)
}

// Distance returns the Euclidean distance between the parameters and their averages.
func (e *EMA) Distance() (float64, error) {
	if err := e.newest(); err != nil {
		return 0, err
	}
	var sum float64
	for i, p := range e.parameters {
		average := e.average[i].Float32s()
		for k, x := range p.Value.Float32s() {
			d := float64(x) - float64(average[k])
			sum += d * d
		}
	}
	return math.Sqrt(sum), nil
}

// Bytes returns how much memory the averages take.
func (e *EMA) Bytes() int64 {
	var n int64
	for _, a := range e.average {
		n += 4 * int64(a.Size())
	}
	return n
}

// Swap exchanges the values of the parameters with the averages. Call it once to evaluate or save
// the average, and once more to go on training.
func (e *EMA) Swap() error {
	if err := e.newest(); err != nil {
		return err
	}
	for i, p := range e.parameters {
		x, average := p.Value.Float32s(), e.average[i].Float32s()
		for k := range x {
			x[k], average[k] = average[k], x[k]
		}
	}
	return kernels.Refresh(append(values(e.parameters), e.average...)...)
}

// CopyTo writes the averages to parameters of the same names and shapes, in any order. One error
// lists all that is missing, unknown or of another shape. After an error nothing has changed.
func (e *EMA) CopyTo(to []kernels.Parameter) error {
	state, err := e.State()
	if err != nil {
		return err
	}
	if err := transfer(to, state[1:]); err != nil {
		return err
	}
	return kernels.Refresh(values(to)...)
}

// State returns what a checkpoint needs: "steps" [1], and each average under the name of its
// parameter. The averages share memory with the EMA.
func (e *EMA) State() ([]kernels.Parameter, error) {
	if err := e.newest(); err != nil {
		return nil, err
	}
	out := []kernels.Parameter{{Name: "steps", Value: dense([]float32{float32(e.steps)}, 1)}}
	for i, p := range e.parameters {
		out = append(out, kernels.Parameter{Name: p.Name, Value: e.average[i]})
	}
	return out, nil
}

// SetState copies what State returned, in any order. One error lists all that is missing, unknown
// or of another shape. After an error nothing has changed.
func (e *EMA) SetState(from []kernels.Parameter) error {
	state, err := e.State()
	if err != nil {
		return err
	}
	if err := transfer(state, from); err != nil {
		return err
	}
	e.steps = int(state[0].Value.Float32s()[0])
	return kernels.Refresh(e.average...)
}

// transfer copies tensors to those of the same names. If one is missing, unknown or of another
// shape, it copies nothing and returns an error.
func transfer(to, from []kernels.Parameter) error {
	if err := fits(to, from); err != nil {
		return err
	}
	given := make(map[string]*tensor.Dense, len(from))
	for _, f := range from {
		given[f.Name] = f.Value
	}
	for _, t := range to {
		copy(t.Value.Float32s(), given[t.Name].Float32s())
	}
	return nil
}

// fits returns one error that lists all that is missing, unknown or of another shape in from.
func fits(to, from []kernels.Parameter) error {
	given := make(map[string]*tensor.Dense, len(from))
	var errs []error
	for _, f := range from {
		if given[f.Name] != nil {
			errs = append(errs, fmt.Errorf("optim: %s is there twice", f.Name))
		}
		given[f.Name] = f.Value
	}
	known := make(map[string]bool, len(to))
	for _, t := range to {
		known[t.Name] = true
		switch g := given[t.Name]; {
		case g == nil:
			errs = append(errs, fmt.Errorf("optim: %s is missing", t.Name))
		case g.Dtype() != tensor.Float32 || !g.Shape().Eq(t.Value.Shape()) || g.RequiresIterator():
			const wrong = "optim: %s is %v %v, not contiguous float32 %v"
			e := fmt.Errorf(wrong, t.Name, g.Dtype(), g.Shape(), t.Value.Shape())
			errs = append(errs, e)
		}
	}
	for _, f := range from {
		if !known[f.Name] {
			errs = append(errs, fmt.Errorf("optim: %s is unknown", f.Name))
		}
	}
	return errors.Join(errs...)
}
