package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A fit trains one network: it repeats fill, forward, backward and AdamW, keeps an average of the weights, and leaves
// a checkpoint from which it goes on with the same numbers.
type fit struct {
	Name       string
	Model      any     // layers with weight tags
	Steps      int     // in all
	LR         float64 // at its peak: 5 % of the steps warm up, then it falls along a cosine to zero
	Average    float64 // decay of the weights' moving average
	Checkpoint string  // file
	Curve      *file.Log

	// Loss builds the scalar that is minimized; Fill writes the batch of a step to what Loss reads.
	Loss func(g *gorgonia.ExprGraph) (*gorgonia.Node, error)
	Fill func(step int) error
}

// errStopped says that a fit was told to stop and has left its checkpoint.
var errStopped = errors.New("stopped; the same command goes on from here")

// A point of a training curve.
type point struct {
	Network string  `json:"network"`
	Step    int     `json:"step"`
	Loss    float64 `json:"loss"`    // mean since the point before
	Seconds float64 `json:"seconds"` // of training since this process started
}

// run trains until the last step, or until ctx is done. Afterwards Model holds the averaged weights.
func (f *fit) run(ctx context.Context) error {
	s, err := f.start()
	if err != nil {
		return fmt.Errorf("%s: %w", f.Name, err)
	}
	defer s.machine.Close()
	slog.Info("training", "network", f.Name, "parameters", count(s.params), "from", s.step, "to", f.Steps)
	rate := optim.Cosine(max(1, f.Steps/20), f.Steps)
	began, saved, first, sum := time.Now(), time.Now(), s.step, 0.0
	for s.step < f.Steps {
		if ctx.Err() != nil {
			return errors.Join(errStopped, s.save(f.Checkpoint))
		}
		if err := f.Fill(s.step); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		s.adam.LR = f.LR * rate(s.step)
		if err := errors.Join(s.machine.RunAll(), s.average.Update()); err != nil {
			return fmt.Errorf("%s, step %d: %w", f.Name, s.step, err)
		}
		sum += s.machine.Scalar(s.loss)
		s.step++
		if s.step%100 == 0 || s.step == f.Steps {
			n := min(100, s.step-first)
			each := time.Since(began) / time.Duration(s.step-first)
			slog.Info(f.Name, "step", s.step, "of", f.Steps, "loss", sum/float64(n), "each", each.Round(time.Millisecond/10), "left", (each * time.Duration(f.Steps-s.step)).Round(time.Second))
			if err := f.Curve.Append(point{f.Name, s.step, sum / float64(n), time.Since(began).Seconds()}); err != nil {
				return err
			}
			sum = 0
		}
		if time.Since(saved) > time.Minute || s.step == f.Steps {
			if err := s.save(f.Checkpoint); err != nil {
				return fmt.Errorf("%s: %w", f.Name, err)
			}
			saved = time.Now()
		}
	}
	s.average.Swap()
	return nil
}

// A state is a fit in action, which a checkpoint holds.
type state struct {
	step    int
	params  []optim.Parameter
	adam    *optim.AdamW
	average *optim.EMA
	machine *kernels.Machine
	loss    *gorgonia.Node
}

func (f *fit) start() (*state, error) {
	s := &state{}
	for _, p := range weights.Parameters(f.Model) {
		s.params = append(s.params, optim.Parameter{Name: p.Name, Value: p.Value})
	}
	var err error
	if s.adam, err = optim.NewAdamW(s.params...); err != nil {
		return nil, err
	}
	if s.average, err = optim.NewEMA(f.Average, s.params...); err != nil {
		return nil, err
	}
	s.average.WarmUp = true // or it is the random start for as long as it averages over
	if err := s.load(f.Checkpoint); err != nil {
		return nil, err
	}
	g := gorgonia.NewGraph()
	if s.loss, err = f.Loss(g); err != nil {
		return nil, err
	}
	nodes := make(gorgonia.Nodes, len(s.params))
	for i, p := range s.params {
		nodes[i] = kernels.Param(g, p.Value)
	}
	grads, err := gorgonia.Grad(s.loss, nodes...)
	if err != nil {
		return nil, err
	}
	c := kernels.Config{Want: gorgonia.Nodes{s.loss}}
	for i := range nodes {
		c.Updates = append(c.Updates, kernels.Update{Param: nodes[i], Grad: grads[i], By: s.adam})
	}
	s.machine, err = kernels.NewMachine(g, c)
	return s, err
}

// tensors lists all that a checkpoint holds, each part's names under a prefix of its own.
func (s *state) tensors() []weights.Parameter {
	var all []weights.Parameter
	for _, part := range []struct {
		prefix  string
		tensors []optim.Parameter
	}{{"weights.", s.params}, {"adamw.", s.adam.State()}, {"average.", s.average.State()}} {
		for _, p := range part.tensors {
			all = append(all, weights.Parameter{Name: part.prefix + p.Name, Value: p.Value})
		}
	}
	return all
}

func (s *state) save(file string) error {
	return weights.Write(file, s.tensors(), weights.Float32, map[string]string{"step": fmt.Sprint(s.step)})
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
	if _, err := fmt.Sscan(f.Metadata["step"], &s.step); err != nil {
		return fmt.Errorf("%s: step %q: %w", file, f.Metadata["step"], err)
	}
	var adam, average []optim.Parameter
	for _, t := range s.tensors() {
		d, err := f.Tensor(t.Name)
		if err != nil {
			return err
		}
		if !d.Shape().Eq(t.Value.Shape()) {
			return fmt.Errorf("%s: %s is %v, not %v; is it of another configuration?", file, t.Name, d.Shape(), t.Value.Shape())
		}
		switch name, at := t.Name, len("average."); {
		case name[:6] == "adamw.":
			adam = append(adam, optim.Parameter{Name: name[6:], Value: d})
		case name[:at] == "average.":
			average = append(average, optim.Parameter{Name: name[at:], Value: d})
		default:
			copy(t.Value.Float32s(), d.Float32s())
		}
	}
	return errors.Join(s.adam.SetState(adam), s.average.SetState(average))
}

func count(params []optim.Parameter) (n int) {
	for _, p := range params {
		n += p.Value.Shape().TotalSize()
	}
	return n
}
