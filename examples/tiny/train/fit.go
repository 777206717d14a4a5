package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"time"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A fit trains one network. It repeats filling the batch, the forward pass, the backward pass and
// AdamW, and keeps an average of the weights. It leaves checkpoints, from which it goes on with the
// same numbers.
type fit struct {
	Name       string
	Model      any     // layers with weight tags
	Steps      int     // in all
	LR         float64 // at its peak: 5 % of the steps rise to it, the others fall to 0 by a cosine
	Average    float64 // the decay of the weights' moving average
	Checkpoint string  // the file
	Curve      *file.Log

	// Loss adds the scalar that is minimized to a graph.
	Loss func(g *gorgonia.ExprGraph) (*gorgonia.Node, error)
	// Fill writes the batch of a step to what Loss reads.
	Fill func(step int) error
}

// errStopped is the error of a fit that was told to stop and has left its checkpoint.
var errStopped = errors.New("stopped; the same command goes on from here")

// A point is one of a training curve.
type point struct {
	Network string  `json:"network"`
	Step    int     `json:"step"`
	Loss    float64 `json:"loss"`    // the mean since the point before
	Seconds float64 `json:"seconds"` // of training since this process started
}

// run trains until the last step. Model then holds the averaged weights. If ctx ends before, the
// error wraps errStopped.
func (f *fit) run(ctx context.Context) error {
	s, err := f.start()
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	defer s.stepper.Close()
	slog.Info("training", "network", f.Name, "parameters", count(s.stepper.Parameters),
		"from", s.stepper.Steps(), "to", f.Steps)
	began, saved, first, sum := time.Now(), time.Now(), s.stepper.Steps(), 0.0
	for step := first; step < f.Steps; {
		if ctx.Err() != nil {
			return errors.Join(errStopped, s.save(f.Checkpoint))
		}
		if err := f.Fill(step); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		r, err := s.stepper.Step(s.loss)
		if err == nil {
			err = s.average.Update()
		}
		if err != nil {
			return fmt.Errorf("%s, step %d: %w", f.Name, step, err)
		}
		sum += r.Loss
		step++
		if step%100 == 0 || step == f.Steps {
			loss := sum / float64(min(100, step-first))
			each := time.Since(began) / time.Duration(step-first)
			left := each * time.Duration(f.Steps-step)
			slog.Info(f.Name, "step", step, "of", f.Steps, "loss", loss,
				"each", each.Round(time.Millisecond/10), "left", left.Round(time.Second))
			p := point{f.Name, step, loss, time.Since(began).Seconds()}
			if err := f.Curve.Append(p); err != nil {
				return err
			}
			sum = 0
		}
		if time.Since(saved) > time.Minute || step == f.Steps {
			if err := s.save(f.Checkpoint); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			saved = time.Now()
		}
	}
	return s.average.Swap()
}

// A state is what a fit changes while it runs, and a checkpoint holds.
type state struct {
	stepper *optim.Stepper
	average *optim.EMA
	loss    *optim.Compiled
}

func (f *fit) start() (*state, error) {
	rate := optim.Cosine(max(1, f.Steps/20), f.Steps)
	s := &state{stepper: &optim.Stepper{
		Parameters: nn.Parameters(f.Model),
		LR:         func(step int) float64 { return f.LR * rate(step) },
	}}
	var err error
	if s.average, err = optim.NewEMA(f.Average, s.stepper.Parameters...); err != nil {
		return nil, err
	}
	s.average.WarmUp = true // without it the random start would be part of the average for long
	if err := s.load(f.Checkpoint); err != nil {
		return nil, err
	}
	s.loss, err = s.stepper.Compile(func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
		loss.Value, err = f.Loss(g)
		return loss, err
	})
	return s, err
}

const averagePrefix = "average."

// tensors returns all that a checkpoint holds: the state of the stepper, and that of the average
// under a prefix.
func (s *state) tensors() ([]kernels.Parameter, error) {
	state, err := s.stepper.State()
	if err != nil {
		return nil, err
	}
	average, err := s.average.State()
	if err != nil {
		return nil, err
	}
	for _, p := range average {
		state = append(state, kernels.Parameter{Name: averagePrefix + p.Name, Value: p.Value})
	}
	return state, nil
}

func (s *state) save(file string) error {
	all, err := s.tensors()
	if err != nil {
		return err
	}
	return weights.Save(file, all, kernels.Float32, nil)
}

// load goes on from a checkpoint, if there is one.
func (s *state) load(file string) error {
	f, err := weights.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer f.Close()
	var stepper, average []kernels.Parameter
	for _, name := range f.Names() {
		d, err := f.Tensor(name)
		if err != nil {
			return err
		}
		if of, ok := strings.CutPrefix(name, averagePrefix); ok {
			average = append(average, kernels.Parameter{Name: of, Value: d})
		} else {
			stepper = append(stepper, kernels.Parameter{Name: name, Value: d})
		}
	}
	if err := errors.Join(s.stepper.SetState(stepper), s.average.SetState(average)); err != nil {
		return fmt.Errorf("%s: %w; is it of another configuration?", file, err)
	}
	return nil
}

func count(params []kernels.Parameter) (n int) {
	for _, p := range params {
		n += p.Value.Shape().TotalSize()
	}
	return n
}
