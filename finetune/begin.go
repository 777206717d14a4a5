package finetune

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/kudos-ml/kudos/internal/file"
)

// cacheFolder is where programs keep what they have encoded and scored for a run.
const cacheFolder = "cache"

// Begin is what a program does with its run folder before anything that takes time. It claims the
// folder (see Claim) until release is called, which removes one that has stayed empty. With resume
// the settings must be those of the run that is there, if any (see SameRun). Otherwise a folder that
// holds a run, of which there may be no more than config.json or the folder cache, is a
// *RunExistsError. One that holds anything else is an error that wraps fs.ErrExist in either case.
func Begin(folder string, resume bool, config any, mayChange ...string) (
	release func() error, err error) {
	unlock, err := Claim(folder, resume)
	if err != nil {
		return nil, err
	}
	release = func() error {
		err := unlock()
		_ = os.Remove(folder) // it stays if there is anything in it
		return err
	}
	there, others, err := runIn(folder)
	switch {
	case err != nil:
	case there && !resume:
		err = &RunExistsError{folder}
	case others && !there:
		err = fmt.Errorf("finetune: %s: %w", folder, notEmpty{})
	case there:
		err = SameRun(folder, config, mayChange...)
	}
	if err != nil {
		return nil, errors.Join(err, release())
	}
	return release, nil
}

type notEmpty struct{}

func (notEmpty) Error() string   { return "the folder is not empty" }
func (notEmpty) Is(e error) bool { return e == fs.ErrExist }

// runIn says whether a folder holds a run, and whether it holds anything else. What killed processes
// leave does not count.
func runIn(folder string) (run, others bool, err error) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return false, false, fmt.Errorf("finetune: %w", err)
	}
	marks := []string{configFile, metricsFile, checkpointsFolder, cacheFolder}
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
