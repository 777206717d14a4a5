package finetune

import (
	"context"
	"encoding/json"
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

	fresh bool // there was no run when it began
}

// unfinishedFolder is where in the run folder a result grows.
const unfinishedFolder = "unfinished"

// Unfinished is the folder in which the run's result grows until Finish gives it its name. What of
// it is known before training can be saved there between Begin and Finish. Begin and release remove
// it.
func (r *Run) Unfinished() string { return filepath.Join(r.Folder, unfinishedFolder) }

// Begin keeps other processes from writing to the folder until release is called, which removes one
// that Begin has made and that has stayed empty, or this process ends. Without Resume a folder that
// holds a run is a *RunExistsError. With it the settings must be those of that run, or it is a
// *DifferentRunError. What Config does not have yet is compared by Settle. A folder that holds
// anything else is an error that wraps fs.ErrExist in either case.
//
// A run that has made nothing but the folder cache, whose files know what they are of, and the
// config.json of the same Config["program"], is none: what was wrong with it can be put right and
// begun in the same folder. Nor do empty files and folders count, or what systems leave everywhere,
// such as .DS_Store.
func (r *Run) Begin() (release func() error, err error) {
	_, missing := os.Lstat(r.Folder)
	unlock, err := claim(r.Folder, r.Resume)
	if err != nil {
		return nil, r.named(err)
	}
	leave := func() error {
		err := unlock()
		entries, failure := os.ReadDir(r.Folder)
		if missing != nil && failure == nil && len(entries) == 0 {
			_ = file.Remove(r.Folder) // an empty folder harms nobody
		}
		return err
	}
	there, err := r.contents()
	r.fresh = !there.work && !there.others
	switch {
	case err != nil || r.fresh:
	case there.others && !there.work && !there.begun:
		err = fmt.Errorf("finetune: %s: %w", r.Folder, notEmpty{})
	case !r.Resume:
		err = &RunExistsError{Folder: r.Folder}
	case r.Config != nil:
		err = r.compare(false)
	}
	if err == nil {
		err = file.RemoveAll(r.Unfinished()) // a process that was killed has left it
	}
	if err != nil {
		return nil, errors.Join(r.named(err), leave())
	}
	return func() error { return errors.Join(file.RemoveAll(r.Unfinished()), leave()) }, nil
}

// Settle compares all settings with those of the run that is there. Where there is none it writes
// config.json. One that is there stays until a Record with a Config has something new to report.
func (r *Run) Settle() error {
	if r.Config == nil {
		return nil
	}
	folder := report.Folder(r.Folder)
	if !r.fresh {
		if err := r.compare(true); err != nil {
			return err
		}
		if _, err := os.Stat(folder.Path(configFile)); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if err := folder.JSON(configFile, r.Config); err != nil {
		return fmt.Errorf("finetune: %w", err)
	}
	return nil
}

// Do is Begin and Settle, then do, then the folder's release: for a program that knows all its
// settings. An error of do, unless ctx is cancelled, says by which Command the run goes on.
func (r *Run) Do(ctx context.Context, do func() error) (err error) {
	if do == nil {
		return errors.New("finetune: the Run has nothing to do: it is nil")
	}
	release, err := r.Begin()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, release()) }()
	if err := r.Settle(); err != nil {
		return err
	}
	return r.GoesOn(ctx, do())
}

// GoesOn adds to an error by which Command the run goes on, where the folder holds anything to go
// on from. Others stay as they are: those of a cancelled ctx, those of Begin and Settle, and those
// that say it already.
func (r *Run) GoesOn(ctx context.Context, err error) error {
	refused := errors.As(err, new(*DifferentRunError)) || errors.As(err, new(*goesOn))
	if err == nil || ctx.Err() != nil || r.Command == "" || refused {
		return err
	}
	if there, failure := r.contents(); failure != nil || there == (holds{}) {
		return err
	}
	return &goesOn{err, fmt.Sprintf("This goes on from what is in %s:\n\t%s", r.Folder, r.Command)}
}

// A goesOn is an error that says how a run goes on after it.
type goesOn struct {
	error
	how string
}

func (e *goesOn) Error() string { return e.error.Error() + "\n" + e.how }
func (e *goesOn) Unwrap() error { return e.error }

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

// holds says what is in a folder.
type holds struct {
	work   bool // what a run has made
	begun  bool // what a run has before that
	others bool // anything else
}

// contents looks into the folder. What is empty does not count, nor what killed processes and
// systems leave.
func (r *Run) contents() (h holds, err error) {
	entries, err := os.ReadDir(r.Folder)
	if err != nil {
		return h, fmt.Errorf("finetune: %w", err)
	}
	unfinished := false
	for _, e := range entries {
		switch name := e.Name(); {
		case name == unfinishedFolder:
			unfinished = true
		case name == cacheFolder || name == configFile && r.sameProgram():
			h.begun = true
		case file.IsLeft(name) || file.IsEmpty(filepath.Join(r.Folder, name)):
		case slices.Contains(marks, name):
			h.work = true
		default:
			h.others = true
		}
	}
	h.others = h.others || unfinished && !h.begun && !h.work // it is not a run's
	return h, nil
}

// marks are files and folders by which a run is known.
var marks = []string{configFile, metricsFile, checkpointsFolder, bestFolder}

// sameProgram says whether config.json is of a run of the same program.
func (r *Run) sameProgram() bool {
	const key = "program"
	var there map[string]any
	text, err := os.ReadFile(filepath.Join(r.Folder, configFile))
	if err != nil || json.Unmarshal(text, &there) != nil {
		return false
	}
	program, known := r.Config[key]
	return known && there[key] == program
}
