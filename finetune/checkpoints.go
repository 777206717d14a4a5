package finetune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file"
)

// Checkpoints passes on the steps of a Trainer and saves, between steps, what another process needs
// to go on: folders checkpoints/step-000123 in the run folder, of which each is whole or not there.
// It belongs inside a Record of the same folder:
//
//	saved := &finetune.Checkpoints{Trainer: tuner, Folder: "runs/1", Resume: resume}
//	run := &finetune.Record{Trainer: saved, Folder: "runs/1"}
//
// There is a last checkpoint whatever ends the loop: the last step, break, a context that is
// cancelled (its error comes after), or another error, if it leaves the Trainer a State. Where the
// disk is full, the latest one stays, and the others make room for it. Where one cannot be written
// the loop ends with an error. What was trained is then still in memory, earlier checkpoints are
// whole, and ranging again tries once more before it goes on.
type Checkpoints struct {
	Trainer Trainer // is, or wraps, a Resumable
	Folder  string  // of the run; made if it is not there

	// Every is how many steps lie between two checkpoints. 0 is as many as are made in ten minutes.
	// More often, saving gigabytes would be felt. Less often, a crash would cost much.
	Every int
	// Keep is how many checkpoints are kept, the latest ones. 0 is 2: one more than is needed, for
	// the case that a disk loses one. While one is being written there is one more. Before training
	// begins there must be room for that.
	Keep int
	// Resume says to go on from the latest checkpoint that is as it was written. Where there is
	// none, training begins. Where there are only broken ones, that is an error. Without Resume, a
	// folder that holds a run is a *RunExistsError.
	Resume bool
	// Progress is told of broken checkpoints, and of errors that cannot be returned. Nil is
	// standard error.
	Progress io.Writer

	begun     bool
	resumable Resumable
	start     int          // steps that were done by earlier processes
	done      int          // steps that are done
	saved     int          // steps that are saved
	failed    bool         // the last save
	last      time.Time    // when it was
	broken    map[int]bool // checkpoints that are not as they were written
	flush     func() error // what is to be on the disk before a checkpoint: Record's log
}

// tenMinutes is the time between two checkpoints where Every is 0.
const tenMinutes = 10 * time.Minute

// A RunExistsError says that a folder holds a run, and nobody has said to resume it.
type RunExistsError struct {
	Folder  string
	Command string // resumes it; empty if that is not known
}

// Error names the folder and what can be done.
func (e *RunExistsError) Error() string {
	text := "finetune: " + e.Folder + " holds a run already: resume it, or choose another folder"
	if e.Command != "" {
		text += ". To resume it:\n\t" + e.Command
	}
	return text
}

// claim makes a run folder, if it is not there, and keeps other processes from writing to it until
// release is called or this process ends. A folder that another one has is an error. One that holds
// metrics or checkpoints is a *RunExistsError, unless it is to be resumed. Record and Checkpoints
// claim their folders when they begin.
func claim(folder string, resume bool) (release func() error, err error) {
	if err := os.MkdirAll(folder, 0o777); err != nil {
		if to, e := os.Readlink(folder); e == nil && errors.Is(err, fs.ErrExist) {
			err = fmt.Errorf("%s is a link to %s, which is no folder: %w", folder, to, err)
		}
		return nil, fmt.Errorf("finetune: %w", err)
	}
	unlock, err := file.Lock(folder)
	if err != nil {
		return nil, fmt.Errorf("finetune: %w", err)
	}
	if !resume {
		steps, err := checkpoints(folder)
		if err == nil && (len(steps) > 0 || hasMetrics(folder)) {
			err = &RunExistsError{Folder: folder}
		}
		if err != nil {
			return nil, errors.Join(err, unlock())
		}
	}
	return unlock, nil
}

func hasMetrics(folder string) bool {
	info, err := os.Stat(filepath.Join(folder, metricsFile))
	return err == nil && info.Size() > 0
}

// Done is how many steps are done, those of earlier processes among them: 0 before the first range
// over Steps.
func (c *Checkpoints) Done() int { return c.done }

// Unwrap returns the Trainer.
func (c *Checkpoints) Unwrap() Trainer { return c.Trainer }

// Steps trains, and yields what the Trainer yields. A checkpoint is written when the loop asks for
// the step after it.
func (c *Checkpoints) Steps(ctx context.Context) iter.Seq2[Step, error] {
	return func(yield func(Step, error) bool) {
		release, err := c.begin(ctx)
		if err != nil {
			yield(Step{}, err)
			return
		}
		defer func() { c.say(release()) }()
		for step, err := range c.Trainer.Steps(ctx) {
			if err == nil {
				c.done = step.Index + 1
				if !yield(step, nil) {
					c.say(c.save(ctx))
					return
				}
				if c.due() {
					err = c.save(ctx)
				}
			} else if failure := c.save(ctx); failure != nil {
				err = errors.Join(err, failure)
			}
			if err != nil {
				yield(Step{}, err)
				return
			}
		}
		if err := c.save(ctx); err != nil {
			yield(Step{}, err)
		}
	}
}

// begin claims the folder and, the first time, restores the Trainer and looks for room. A save that
// failed is tried again.
func (c *Checkpoints) begin(ctx context.Context) (release func() error, err error) {
	if c.Trainer == nil || c.Folder == "" {
		return nil, errors.New("finetune: the Checkpoints have no Trainer or no Folder")
	}
	if c.Every < 0 || c.Keep < 0 {
		return nil, fmt.Errorf("finetune: Checkpoints: Every is %d and Keep %d: one is below zero",
			c.Every, c.Keep)
	}
	if release, err = claim(c.Folder, c.Resume || c.begun); err != nil {
		return nil, err
	}
	if err := c.prepare(ctx); err != nil {
		return nil, errors.Join(err, release())
	}
	c.begun, c.last = true, time.Now()
	return release, nil
}

// prepare does what comes before the first step.
func (c *Checkpoints) prepare(ctx context.Context) error {
	if c.begun {
		if c.failed {
			return c.save(ctx)
		}
		return nil
	}
	var ok bool
	if c.resumable, ok = As[Resumable](c.Trainer); !ok {
		return fmt.Errorf("finetune: %T has no State and Restore to make checkpoints of", c.Trainer)
	}
	if c.Resume {
		if err := c.resume(ctx); err != nil {
			return err
		}
	}
	return c.room(ctx)
}

// resume restores the latest checkpoint that is as it was written.
func (c *Checkpoints) resume(ctx context.Context) error {
	steps, err := checkpoints(c.Folder)
	if err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	c.broken = map[int]bool{}
	for _, step := range steps {
		dir := checkpoint(c.Folder, step)
		if err := verify(ctx, dir); err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return cause
			}
			c.say(fmt.Errorf("the checkpoint %s is broken and left out: %w", dir, err))
			c.broken[step] = true
			continue
		}
		if err := restore(ctx, dir, c.resumable); err != nil {
			return fmt.Errorf("finetune: checkpoint %s: %w", dir, err)
		}
		c.start, c.done, c.saved = step, step, step
		c.prune(false)
		return nil
	}
	if len(steps) > 0 {
		dir := filepath.Join(c.Folder, checkpointsFolder)
		return fmt.Errorf("finetune: all %d checkpoints in %s are broken: "+
			"remove them to begin anew", len(steps), dir)
	}
	return nil
}

func (c *Checkpoints) keep() int { return cmp.Or(c.Keep, 2) }

// free is how many bytes may be written to a folder.
var free = func(dir string) (bytes int64, known bool) { return file.Free(dir) }

// room looks whether all checkpoints that there will be at once fit on the disk.
func (c *Checkpoints) room(ctx context.Context) error {
	s, err := c.resumable.State(ctx)
	if err != nil {
		return err
	}
	if s.Step != c.done {
		return fmt.Errorf("finetune: %T says that %d steps are done, not %d",
			c.resumable, s.Step, c.done)
	}
	steps, err := checkpoints(c.Folder)
	if err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	needed := s.bytes() * int64(max(1, c.keep()+1-len(steps)))
	if _, guarded := As[*Guard](c.Trainer); guarded {
		needed *= 2 // there can be a best network for each
	}
	if there, known := free(c.Folder); known && there < needed {
		return fmt.Errorf("finetune: %d checkpoints in %s need %.4g MB more, and %.4g MB are "+
			"free: make room, or take a folder on another disk", c.keep()+1, c.Folder,
			float64(needed)/1e6, float64(there)/1e6)
	}
	return nil
}

// due says whether it is time for a checkpoint. With Every that hangs on the step alone, so that a
// run that was interrupted has the same ones.
func (c *Checkpoints) due() bool {
	if c.Every > 0 {
		return c.done%c.Every == 0
	}
	return time.Since(c.last) >= tenMinutes
}

// save writes a checkpoint of the steps that are done, unless there is one. A context that is
// cancelled does not hinder it.
func (c *Checkpoints) save(ctx context.Context) error {
	if c.done == c.saved {
		return nil
	}
	err := c.write(context.WithoutCancel(ctx))
	if file.IsFull(err) && c.makeRoom() {
		err = c.write(context.WithoutCancel(ctx))
	}
	if err != nil {
		c.failed = true
		last := "there is none before it"
		if c.saved > 0 {
			last = fmt.Sprintf("the last is that of %d steps: a run can resume from it", c.saved)
		}
		return fmt.Errorf("finetune: no checkpoint of %d steps: %w (%s)", c.done, err, last)
	}
	c.saved, c.failed, c.last = c.done, false, time.Now()
	delete(c.broken, c.done)
	c.prune(true)
	return nil
}

// makeRoom removes all checkpoints but the latest that is whole, and says whether there were any.
func (c *Checkpoints) makeRoom() (made bool) {
	steps, err := checkpoints(c.Folder)
	c.say(err)
	for _, step := range steps {
		if step == c.saved {
			continue
		}
		err := file.RemoveFolder(checkpoint(c.Folder, step))
		c.say(err)
		made = made || err == nil
	}
	return made
}

func (c *Checkpoints) write(ctx context.Context) error {
	if c.flush != nil {
		if err := c.flush(); err != nil {
			return err
		}
	}
	s, err := c.resumable.State(ctx)
	if err != nil {
		return err
	}
	if s.Step != c.done {
		return fmt.Errorf("%T says that %d steps are done", c.resumable, s.Step)
	}
	if err := os.MkdirAll(filepath.Join(c.Folder, checkpointsFolder), 0o777); err != nil {
		return err
	}
	return s.write(checkpoint(c.Folder, c.done))
}

// prune removes all but the latest checkpoints, and when a new one has been written the broken
// ones.
func (c *Checkpoints) prune(written bool) {
	steps, err := checkpoints(c.Folder)
	if err != nil {
		c.say(fmt.Errorf("finetune: %w", err))
	}
	kept := 0
	for _, step := range steps {
		if !c.broken[step] {
			kept++
		}
		if c.broken[step] && !written || !c.broken[step] && kept <= c.keep() {
			continue
		}
		if err := file.RemoveFolder(checkpoint(c.Folder, step)); err != nil {
			c.say(fmt.Errorf("finetune: an old checkpoint stays: %w", err))
		}
	}
}

// say shows an error that cannot be returned.
func (c *Checkpoints) say(err error) {
	if err == nil {
		return
	}
	progress := report.Stderr()
	if c.Progress != nil {
		progress = report.Plain(c.Progress)
	}
	progress.Printf("%v", err)
}
