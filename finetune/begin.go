package finetune

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/internal/file"
)

// cacheFolder is where programs keep what they have encoded and scored for a run.
const cacheFolder = "cache"

// A Run is the folder of a program's run before there is a Trainer: it is claimed, and known to be
// new or this run's own, before anything takes time.
//
//	run := &finetune.Run{Folder: out, Resume: resume, Config: config, Command: command}
//	release, err := run.Begin()
//	if err != nil {
//		return err
//	}
//	defer release()
//	config["sha256"] = hashes // when the inputs are read
//	if err := run.Settle(); err != nil {
//		return err
//	}
//	left, err := run.Finish(ctx, trainer, save)
type Run struct {
	Folder string // made if it is not there
	// Resume says to go on with the run that the folder holds, or to begin where it holds none.
	Resume bool
	// Config is what determines the run: its settings by name, as config.json is to have them. A
	// setting may come between Begin and Settle. Without any, none are compared or written.
	Config map[string]any
	// MayChange names settings that may be others than before, with all that is inside them:
	// "steps", or "optimizer.lr" where only that may. The elements of lists have numbers, as in
	// "files.0".
	MayChange []string
	// Command is what resumes the run. Errors name it, unless it is empty.
	Command string

	Name     string    // the Record's that Finish makes
	Every    int       // the Checkpoints', in steps; 0 is ten minutes
	Progress io.Writer // of both
}

// unfinishedFolder is where in the run folder a result grows.
const unfinishedFolder = "unfinished"

// Unfinished is the folder in which the run's result grows until Finish gives it its name. What of
// it is known before training can be saved there between Begin and Finish. Begin and release remove
// it.
func (r *Run) Unfinished() string { return filepath.Join(r.Folder, unfinishedFolder) }

// Begin keeps other processes from writing to the folder until release is called, which removes one
// that has stayed empty, or this process ends. Without Resume a folder that holds a run, of which
// there may be no more than config.json or the folder cache, is a *RunExistsError. With it the
// settings must be those of that run, or it is a *DifferentRunError. What Config does not have yet
// is compared by Settle. A folder that holds anything else is an error that wraps fs.ErrExist in
// either case.
func (r *Run) Begin() (release func() error, err error) {
	unlock, err := claim(r.Folder, r.Resume)
	if err != nil {
		return nil, r.named(err)
	}
	leave := func() error {
		err := unlock()
		_ = os.Remove(r.Folder) // it stays if there is anything in it
		return err
	}
	there, others, err := runIn(r.Folder)
	switch {
	case err != nil:
	case there && !r.Resume:
		err = &RunExistsError{Folder: r.Folder}
	case others && !there:
		err = fmt.Errorf("finetune: %s: %w", r.Folder, notEmpty{})
	case there && r.Config != nil:
		err = r.compare(false)
	}
	if err == nil {
		err = os.RemoveAll(r.Unfinished()) // a process that was killed has left it
	}
	if err != nil {
		return nil, errors.Join(r.named(err), leave())
	}
	return func() error { return errors.Join(os.RemoveAll(r.Unfinished()), leave()) }, nil
}

// Settle compares all settings with those of the run that is there. Where there is none it writes
// config.json. One that is there stays until a Record with a Config has something new to report.
func (r *Run) Settle() error {
	if r.Config == nil {
		return nil
	}
	if err := r.compare(true); err != nil {
		return err
	}
	folder := report.Folder(r.Folder)
	if _, err := os.Stat(folder.Path(configFile)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := folder.JSON(configFile, r.Config); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	return nil
}

// Do is Begin and Settle, then do, then the folder's release: for a program that knows all its
// settings. An error of do, unless ctx is cancelled, says by which Command the run goes on.
func (r *Run) Do(ctx context.Context, do func() error) (err error) {
	release, err := r.Begin()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := r.Settle(); err != nil {
		return err
	}
	if err = do(); err != nil && ctx.Err() == nil && r.Command != "" {
		err = fmt.Errorf("%w\nThis goes on from what is in %s:\n\t%s", err, r.Folder, r.Command)
	}
	return err
}

// named adds the command to an error that wants one.
func (r *Run) named(err error) error {
	if exists := (*RunExistsError)(nil); errors.As(err, &exists) {
		exists.Command = r.Command
	}
	return err
}

type notEmpty struct{}

func (notEmpty) Error() string   { return "the folder is not empty" }
func (notEmpty) Is(e error) bool { return e == fs.ErrExist }

// runIn says whether a folder holds a run, and whether it holds anything else. What killed
// processes leave does not count.
func runIn(folder string) (run, others bool, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return false, false, fmt.Errorf("finetune: %w", err)
	}
	marks := []string{configFile, metricsFile, checkpointsFolder, bestFolder, cacheFolder}
	for _, e := range entries {
		switch {
		case slices.Contains(marks, e.Name()):
			run = true
		case !file.IsLeft(e.Name()):
			others = true
		}
	}
	return run, others, nil
}
