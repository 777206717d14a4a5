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
	average    [][]float32
	sums       []float64
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
		e.average = append(e.average, append([]float32(nil), p.Value.Float32s()...))
	}
	return e, nil
}

// Update adds the values of the parameters to the averages. It is an error if no average has moved
// in the first 100 steps. Then the parameters are not those that are trained, or Decay is so close
// to 1 that float32 does not show the steps.
func (e *EMA) Update() error {
	if err := kernels.Pull(values(e.parameters)...); err != nil {
		return err
	}
	e.steps++
	decay := e.Decay
	if e.WarmUp {
		decay = min(decay, float64(1+e.steps)/float64(10+e.steps))
	}
	for i, p := range e.parameters {
		x, average := p.Value.Float32s(), e.average[i]
		if len(x) != len(average) {
			const wrong = "optim: parameter %s has %d values, its average %d"
			return fmt.Errorf(wrong, p.Name, len(x), len(average))
		}
		before := e.fingerprint(average)
		cpu.Blend(cpu.Shared, average, x, float32(1-decay))
		e.moved = e.moved || before != e.fingerprint(average)
	}
	if !e.moved && e.steps >= stillness {
		const wrong = "optim: the moving average has not moved in %d steps of decay %v"
		return fmt.Errorf(wrong, e.steps, decay)
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

// Distance returns the Euclidean distance between the parameters and their averages.
func (e *EMA) Distance() float64 {
	var sum float64
	for i, p := range e.parameters {
		for k, x := range p.Value.Float32s() {
			d := float64(x) - float64(e.average[i][k])
			sum += d * d
		}
	}
	return math.Sqrt(sum)
}

// Bytes returns how much memory the averages take.
func (e *EMA) Bytes() int64 {
	var n int64
	for _, a := range e.average {
		n += 4 * int64(len(a))
	}
	return n
}

// Swap exchanges the values of the parameters with the averages. Call it once to evaluate or save
// the average, and once more to go on training.
func (e *EMA) Swap() {
	for i, p := range e.parameters {
		x, average := p.Value.Float32s(), e.average[i]
		for k := range x {
			x[k], average[k] = average[k], x[k]
		}
	}
}

// CopyTo writes the averages to parameters of the same names and shapes, in any order. One error
// lists all that is missing, unknown or of another shape. After an error nothing has changed.
func (e *EMA) CopyTo(to []kernels.Parameter) error { return transfer(to, e.State()[1:]) }

// State returns what a checkpoint needs: "steps" [1], and each average under the name of its
// parameter. The averages share memory with the EMA.
func (e *EMA) State() []kernels.Parameter {
	out := []kernels.Parameter{{Name: "steps", Value: dense([]float32{float32(e.steps)}, 1)}}
	for i, p := range e.parameters {
		average := dense(e.average[i], p.Value.Shape()...)
		out = append(out, kernels.Parameter{Name: p.Name, Value: average})
	}
	return out
}

// SetState copies what State returned, in any order. One error lists all that is missing, unknown
// or of another shape. After an error nothing has changed.
func (e *EMA) SetState(from []kernels.Parameter) error {
	state := e.State()
	if err := transfer(state, from); err != nil {
		return err
	}
	e.steps = int(state[0].Value.Float32s()[0])
	return nil
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
