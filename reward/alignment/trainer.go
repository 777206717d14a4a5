package alignment

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Epochs trains until the held-out loss has stopped falling or all Passes are made. Breaking out of
// the loop is fine: Model has the best weights so far, and ranging again goes on from there. An
// epoch that ends with an error has changed nothing.
func (t *Training) Epochs(ctx context.Context) iter.Seq2[Epoch, error] {
	return func(yield func(Epoch, error) bool) {
		if err := t.prepare(ctx); err != nil {
			yield(Epoch{}, err)
			return
		}
		for s := t.session; !s.over(); {
			epoch, err := s.advance(ctx)
			if err != nil {
				yield(Epoch{}, fmt.Errorf("alignment: epoch %d: %w", s.next, err))
				return
			}
			if epoch.Best {
				t.head.restore(s.head.snapshot())
			}
			if !yield(epoch, nil) {
				return
			}
		}
		if err := t.Close(); err != nil {
			yield(Epoch{}, fmt.Errorf("alignment: %w", err))
		}
	}
}

// Steps are the epochs as steps of a finetune.Trainer. The terms of a step's Loss are L_MSE and
// λ·L_pc; its metrics are the loss, accuracy and AUC on the held-out prompts, where some are held
// out.
func (t *Training) Steps(ctx context.Context) iter.Seq2[finetune.Step, error] {
	return func(yield func(finetune.Step, error) bool) {
		for e, err := range t.Epochs(ctx) {
			if err != nil {
				yield(finetune.Step{}, err)
				return
			}
			s := t.session
			step := finetune.Step{
				Index: e.Index, Of: e.Of, LR: s.LR,
				Samples: len(s.train) / s.Batch * s.Batch,
				Loss:    e.MSE + s.Lambda*e.Classification,
				Terms:   map[string]float64{"MSE": e.MSE},
				Metrics: map[string]float64{},
			}
			if e.HeldOut.N > 0 {
				step.Metrics["held-out MSE"] = e.HeldOutMSE
				step.Metrics["held-out accuracy"] = e.HeldOut.Accuracy
			}
			if s.Lambda != 0 {
				step.Terms["classification"] = s.Lambda * e.Classification
			}
			if auc := e.HeldOut.AUC; !math.IsNaN(auc) {
				step.Metrics["held-out AUC"] = auc
			}
			if !yield(step, nil) {
				return
			}
		}
	}
}

// prepare embeds the samples and compiles the loss, the first time.
func (t *Training) prepare(ctx context.Context) error {
	if t.session != nil {
		return nil
	}
	s, err := t.start(ctx)
	if err != nil {
		return fmt.Errorf("alignment: %w", err)
	}
	t.session = s
	return nil
}

// over reports whether the last epoch was made, or none was better for too long.
func (s *session) over() bool {
	return s.next >= s.Passes || s.HeldOut > 0 && s.next-s.bestAt > s.Wait
}

// advance makes the next epoch. With an error nothing has changed.
func (s *session) advance(ctx context.Context) (Epoch, error) {
	before, err := s.stepper.State()
	if err != nil {
		return Epoch{}, err
	}
	before = clone(before)
	epoch, err := s.epoch(ctx, s.next)
	if err != nil {
		return epoch, errors.Join(err, s.stepper.SetState(before))
	}
	switch {
	case s.HeldOut == 0:
		epoch.Best = true
	case epoch.HeldOutMSE < s.best:
		s.best, s.bestAt, epoch.Best = epoch.HeldOutMSE, s.next, true
	}
	s.next++
	return epoch, nil
}

func clone(of []kernels.Parameter) []kernels.Parameter {
	out := slices.Clone(of)
	for i := range out {
		out[i].Value = out[i].Value.Clone().(*tensor.Dense)
	}
	return out
}

const (
	bestName = "best."
	dataName = "data"
)

// State is what a checkpoint needs: the weights, AdamW's state, and the best weights so far.
func (t *Training) State(ctx context.Context) (finetune.State, error) {
	if err := t.prepare(ctx); err != nil {
		return finetune.State{}, err
	}
	tensors, err := t.session.stepper.State()
	if err != nil {
		return finetune.State{}, fmt.Errorf("alignment: %w", err)
	}
	state := finetune.State{
		Step: t.session.next, Tensors: tensors,
		Values: map[string]float64{dataName: t.session.data},
	}
	if !math.IsInf(t.session.best, 1) { // there is a held-out loss that is a number
		state.Values["best"], state.Values["best epoch"] = t.session.best, float64(t.session.bestAt)
	}
	for _, p := range nn.Parameters(t.head) {
		best := kernels.Parameter{Name: bestName + p.Name, Value: p.Value}
		state.Tensors = append(state.Tensors, best)
	}
	return state, nil
}

// Restore sets the weights, AdamW's state and the best weights to those of a State of a Training
// with the same data and constants. The next epoch is the one after it.
func (t *Training) Restore(ctx context.Context, state finetune.State) error {
	if err := t.prepare(ctx); err != nil {
		return err
	}
	if data, ok := state.Values[dataName]; ok && data != t.session.data {
		return errors.New("alignment: the state is of a training on other samples")
	}
	var stepper []kernels.Parameter
	best := map[string]*tensor.Dense{}
	for _, p := range state.Tensors {
		if name, ok := strings.CutPrefix(p.Name, bestName); ok {
			best[name] = p.Value
		} else {
			stepper = append(stepper, p)
		}
	}
	for _, p := range nn.Parameters(t.head) {
		if b := best[p.Name]; b == nil || !b.Shape().Eq(p.Value.Shape()) {
			return fmt.Errorf("alignment: the state has no %s%s %v",
				bestName, p.Name, p.Value.Shape())
		}
	}
	if err := t.session.stepper.SetState(stepper); err != nil {
		return fmt.Errorf("alignment: %w", err)
	}
	s := t.session
	s.next, s.best, s.bestAt = state.Step, math.Inf(1), 0
	if best, ok := state.Values["best"]; ok {
		s.best, s.bestAt = best, int(state.Values["best epoch"])
	}
	for _, p := range nn.Parameters(t.head) {
		copy(p.Value.Float32s(), best[p.Name].Float32s())
	}
	return nil
}

// Close frees the memory of training, as the end of the last epoch does. Model can still be used.
func (t *Training) Close() error {
	if t.session == nil {
		return nil
	}
	return t.session.stepper.Close()
}
