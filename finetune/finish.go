package finetune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file"
)

// A Result is what Finish has made of a run.
type Result struct {
	Steps int    // done, those of earlier processes among them
	Name  string // that it was saved under; empty if nothing was saved
	Kept  int    // steps that what was saved has seen: less than Steps if a Guard chose so
}

var errNoSave = errors.New("finetune: there is nothing to save what is trained by: save is nil")

// Finish ranges over Steps to their end and saves what was trained, whatever the end is: save is
// called with the name "tuned" or, after an error, "stopped-after-N" for N steps. Where no step was
// made it is not called. Before that a Guard, unless there was an error, puts the best network in
// the place of the last. A Tuner puts its moving average, if it has one, in the place of the
// parameters, and frees the memory of training. The error is that of the training, of saving, or
// both. Result says what was saved in any case. That nothing but the report could not be written
// (*ReportError) does not make a training one that was stopped.
func (r *Record) Finish(ctx context.Context, save func(name string) error) (
	result Result, err error,
) {
	if save == nil {
		return result, errNoSave
	}
	var unreported *ReportError
	defer func() {
		if unreported != nil {
			err = errors.Join(err, unreported)
		}
	}()
	for step, failure := range r.Steps(ctx) {
		if errors.As(failure, &unreported) {
			continue
		}
		if err = failure; err == nil {
			result.Steps = step.Index + 1
		}
	}
	if saved, ok := As[*Checkpoints](r.Trainer); ok {
		result.Steps = saved.Done()
	}
	result.Kept = result.Steps
	if guard, ok := As[*Guard](r.Trainer); ok && err == nil && result.Steps > 0 {
		var kept int
		if kept, err = guard.UseBest(ctx); err == nil {
			result.Kept = kept
		}
	}
	if t, ok := As[*Tuner](r.Trainer); ok {
		of := t.Updates
		if rounds, ok := As[*Rounds](r.Trainer); ok {
			of *= rounds.N
		}
		if err == nil && result.Steps > of {
			err = fmt.Errorf("finetune: %d updates were asked for, and there are %d already",
				of, result.Steps)
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
	if t == nil {
		return errors.New("finetune: there is no Trainer: it is nil")
	}
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

// Finish trains with Checkpoints and a Record in the run's folder, and saves what was trained as
// Record.Finish does: save completes what is in dir, the folder Unfinished, which then gets the
// name "tuned" or "stopped-after-N" in the run's folder. What had that name is removed. Without
// steps nothing is saved.
//
// left says where the work is, with or without an error: "what 3 updates have made is in
// runs/1/tuned", or "what the first 3 of 9 updates" if a Guard kept that. It is empty if there were
// no updates. An error other than ctx's says so too, and with what Command the run goes on. Trainer
// is, or wraps, a Resumable.
func (r *Run) Finish(ctx context.Context, t Trainer, save func(dir string) error) (
	left string, err error,
) {
	if save == nil {
		return "", errNoSave
	}
	folder := report.Folder(r.Folder)
	saved := &Checkpoints{
		Trainer: t, Folder: r.Folder, Every: r.Every, Resume: r.Resume, Progress: r.Progress,
	}
	record := &Record{Trainer: saved, Folder: r.Folder, Name: r.Name, Progress: r.Progress}
	if r.Config != nil {
		record.Config = r.Config
	}
	result, err := record.Finish(ctx, func(name string) error {
		keep := func() error {
			if err := os.MkdirAll(r.Unfinished(), 0o777); err != nil {
				return fmt.Errorf("finetune: %w", err)
			}
			if err := save(r.Unfinished()); err != nil {
				return err
			}
			return folder.Rename(unfinishedFolder, name)
		}
		err := keep()
		if file.IsFull(err) && saved.makeRoom() {
			err = keep()
		}
		return err
	})
	if result.Steps == 0 {
		return "", err
	}
	where := filepath.Join(r.Folder, cmp.Or(result.Name, checkpointsFolder))
	made := fmt.Sprintf("%d updates have made is in %s", result.Kept, where)
	if result.Kept < result.Steps && result.Name != "" {
		made = fmt.Sprintf("the first %d of %d updates have made is in %s", result.Kept,
			result.Steps, where)
	}
	if err != nil && ctx.Err() == nil {
		how := "What " + made
		if r.Command != "" {
			how += "; this goes on after the last checkpoint:\n\t" + r.Command
		}
		err = &goesOn{err, how}
	}
	return "what " + made, err
}
