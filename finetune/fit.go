package finetune

import (
	"context"
	"errors"
	"fmt"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels"
)

// A FitError says that training cannot be made to fit.
type FitError struct {
	Bytes int64        // that it was to take at most
	Least kernels.Plan // with as few activations as computing them again reaches
	// Accumulate is a value of Tuner.Accumulate with which it would fit; 0 if there is none.
	Accumulate int
}

// Error says what the least is.
func (e *FitError) Error() string {
	_, why := e.Needs()
	text := fmt.Sprintf("finetune: %s; %v were given", why, report.Size(e.Bytes))
	if e.Accumulate > 0 {
		text += fmt.Sprintf("; with Accumulate %d it would fit", e.Accumulate)
	}
	return text
}

// Needs is the least that training takes as it is, in bytes, and why it takes so much. With it,
// report.FitsWith says what would make it fit.
func (e *FitError) Needs() (bytes int64, why string) {
	return e.Least.Total(), fmt.Sprintf("training takes %v where as much as possible of the "+
		"activations is computed again, which leaves %v of them",
		report.Size(e.Least.Total()), report.Size(e.Least.Activations))
}

// Fit is Prepare, and sets Machine.ActivationBytes so that Plan.Total() is at most bytes: to 0
// where that is enough, and otherwise to a bound on activations that leaves little of the bytes
// unused. What does not fit so is a *FitError. Fit must come before the first step.
//
// On Machine.Device the bytes are of its memory, and nothing is taken there until a plan fits.
//
// Planning takes no numbers. A Tuner whose network has yet to be read, and whose samples have
// latents and conditions of any numbers (such as pipeline.Pipeline.Blanks), has the plan that
// training has.
func (t *Tuner) Fit(ctx context.Context, bytes int64) (kernels.Plan, error) {
	if t.closed {
		return kernels.Plan{}, errClosed
	}
	if t.run != nil && t.run.stepper.Steps() > 0 {
		return kernels.Plan{}, errors.New("finetune: Fit comes before training, which has begun")
	}
	f, was := &fitting{Tuner: t, bytes: bytes}, t.Machine
	if was.Device != nil {
		t.Machine.Device = kernels.Planning(was.Device)
	}
	err := f.search(ctx)
	if t.Machine.Device = was.Device; err == nil && was.Device != nil {
		err = f.again(ctx)
	}
	if err != nil {
		t.Machine.ActivationBytes = was.ActivationBytes
		err = errors.Join(err, f.drop(t.run))
		if t.run = nil; context.Cause(ctx) != nil {
			err = context.Cause(ctx)
		}
		return kernels.Plan{}, err
	}
	return t.Plan(), nil
}

// A fitting is a search for the run that fits. The best that it has found is the Tuner's run.
type fitting struct {
	*Tuner
	bytes int64
	data  *run // has the data
}

// search leaves the Tuner with a run that fits.
func (f *fitting) search(ctx context.Context) error {
	first, err := f.planned(ctx, 0)
	if err != nil {
		return err
	}
	plan := first.plan()
	if plan.Total() <= f.bytes {
		return f.take(first)
	}
	if err := f.drop(first); err != nil {
		return err
	}
	// What the arena takes beside activations depends on the plan: of the bounds, the largest known
	// to fit and the least known not to.
	fits, budget, tooMuch := int64(0), plan.Activations, plan.Activations
	over := plan.Total() - f.bytes
	data := map[*tensor.Dense]bool{}
	little := (f.bytes - f.data.own.bytes(data) - f.data.pretrain.bytes(data)) / 50
	for range 6 {
		if budget -= over; budget <= fits || budget >= tooMuch {
			budget = (fits + tooMuch) / 2
		}
		r, err := f.planned(ctx, budget)
		if short := (*kernels.ActivationError)(nil); errors.As(err, &short) {
			break
		}
		if err != nil {
			return err
		}
		if over = r.plan().Total() - f.bytes; over > 0 {
			tooMuch = budget
			if err := f.drop(r); err != nil {
				return err
			}
			continue
		}
		fits = budget
		if err := f.take(r); err != nil {
			return err
		}
		if -over < little {
			break
		}
	}
	if fits > 0 {
		f.Machine.ActivationBytes = fits
		return nil
	}
	return f.atLeast(ctx)
}

// again takes, for the run that was planned, one that is ready to run.
func (f *fitting) again(ctx context.Context) error {
	r, err := f.planned(ctx, f.Machine.ActivationBytes)
	if err != nil {
		return err
	}
	return f.take(r)
}

// atLeast takes the run of the least activations, if that fits.
func (f *fitting) atLeast(ctx context.Context) error {
	r, err := f.least(ctx)
	if err != nil {
		return err
	}
	plan := r.plan()
	if plan.Total() <= f.bytes {
		return f.take(r)
	}
	e := &FitError{Bytes: f.bytes, Least: plan}
	own, pretrain := f.sizes()
	parts := f.Accumulate
	defer func() { f.Accumulate = parts }()
	for err = f.drop(r); err == nil && e.Accumulate == 0; {
		f.Accumulate = 2 * max(1, f.Accumulate)
		if !enoughFor(f.Accumulate, own, pretrain) {
			break
		}
		if r, err = f.least(ctx); err != nil {
			break
		}
		if r.plan().Total() <= f.bytes {
			e.Accumulate = f.Accumulate
		}
		err = f.drop(r)
	}
	if err != nil {
		return err
	}
	return e
}

// least plans with the least activations that computing again reaches.
func (f *fitting) least(ctx context.Context) (*run, error) {
	for activations := int64(64); ; { // too few
		r, err := f.planned(ctx, activations)
		short := (*kernels.ActivationError)(nil)
		if !errors.As(err, &short) || short.Least <= activations {
			return r, err
		}
		activations = short.Least
	}
}

// planned compiles with a bound on activations.
func (f *fitting) planned(ctx context.Context, activations int64) (r *run, err error) {
	if err := context.Cause(ctx); err != nil {
		return nil, err
	}
	f.Machine.ActivationBytes = activations
	if f.data == nil && f.run != nil {
		f.data = f.run
	}
	if f.data == nil {
		if err := f.check(); err != nil {
			return nil, err
		}
		f.data = &run{Tuner: f.Tuner}
		if err := f.data.collect(ctx); err != nil {
			return nil, err
		}
	}
	r = &run{Tuner: f.Tuner, own: f.data.own, pretrain: f.data.pretrain}
	if err := r.compile(); err != nil {
		return nil, err
	}
	return r, nil
}

// take makes a run the Tuner's.
func (f *fitting) take(r *run) error {
	old := f.run
	f.run = r
	return f.drop(old)
}

// drop frees a run.
func (f *fitting) drop(r *run) error {
	if r == nil {
		return nil
	}
	return r.stepper.Close()
}
