package finetune

import (
	"context"
	"errors"
	"fmt"
)

// A Result is what Finish has made of a run.
type Result struct {
	Steps int    // done, those of earlier processes among them
	Name  string // that it was saved under; empty if nothing was saved
}

// Finish ranges over Steps to their end and saves what was trained, whatever the end is: save is
// called with the name "tuned" or, after an error, "stopped-after-N" for N steps. Where no step was
// made it is not called. Before that a Tuner puts its moving average, if it has one, in the place of
// the parameters, and frees the memory of training. The error is that of the training, of saving, or
// both; Result says what was saved in any case.
func (r *Record) Finish(ctx context.Context, save func(name string) error) (
	result Result, err error) {
	for step, failure := range r.Steps(ctx) {
		if err = failure; err == nil {
			result.Steps = step.Index + 1
		}
	}
	if saved, ok := As[*Checkpoints](r.Trainer); ok {
		result.Steps = saved.Done()
	}
	if t, ok := As[*Tuner](r.Trainer); ok {
		if err == nil && result.Steps > t.Updates {
			err = fmt.Errorf("finetune: %d updates were asked for, and there are %d already",
				t.Updates, result.Steps)
		}
		if result.Steps > 0 && t.EMA > 0 {
			err = errors.Join(err, t.UseAverage())
		}
		err = errors.Join(err, t.Close())
	}
	if result.Steps == 0 {
		return result, err
	}
	name := "tuned"
	if err != nil {
		name = fmt.Sprintf("stopped-after-%d", result.Steps)
	}
	if failure := save(name); failure != nil {
		return result, errors.Join(err, failure)
	}
	result.Name = name
	return result, err
}

// Each ranges over a Trainer's steps to their end, and calls do, unless it is nil, with each.
func Each(ctx context.Context, t Trainer, do func(Step)) error {
	for step, err := range t.Steps(ctx) {
		if err != nil {
			return err
		}
		if do != nil {
			do(step)
		}
	}
	return nil
}
