package finetune

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file"
)

// What was trained is saved whatever ends the training, under a name that says what it is.
func TestFinish(t *testing.T) {
	broken, full := errors.New("broken"), errors.New("full")
	steps := func(n int, end error) Trainer {
		return Func(func(context.Context) iter.Seq2[Step, error] {
			return func(yield func(Step, error) bool) {
				for i := range n {
					if !yield(Step{Index: i, Of: n}, nil) {
						return
					}
				}
				if end != nil {
					yield(Step{}, end)
				}
			}
		})
	}
	for name, c := range map[string]struct {
		trainer    Trainer
		save       error
		result     Result
		wants      []error
		savedUnder string
	}{
		"whole": {steps(3, nil), nil, Result{3, "tuned", 3}, nil, "tuned"},
		"broken": {steps(2, broken), nil, Result{2, "stopped-after-2", 2},
			[]error{broken}, "stopped-after-2"},
		"broken at first": {steps(0, broken), nil, Result{}, []error{broken}, ""},
		"not saved":       {steps(2, nil), full, Result{2, "", 2}, []error{full}, "tuned"},
		"neither": {steps(2, broken), full, Result{2, "", 2},
			[]error{broken, full}, "stopped-after-2"},
	} {
		t.Run(name, func(t *testing.T) {
			under := ""
			run := &Record{Trainer: c.trainer, Folder: t.TempDir(), Progress: io.Discard}
			result, err := run.Finish(t.Context(), func(name string) error {
				under = name
				return c.save
			})
			require.Equal(t, c.result, result)
			require.Equal(t, c.savedUnder, under)
			for _, want := range c.wants {
				require.ErrorIs(t, err, want)
			}
			require.Equal(t, len(c.wants) == 0, err == nil)
		})
	}
}

// A Tuner's average is what is saved; a run that is at its end is saved again, and more steps than
// were asked for are said.
func TestFinishTuner(t *testing.T) {
	folder := t.TempDir()
	finish := func(updates int) (Result, []float32, error) {
		l := newLine()
		tuner := tuner(t, l)
		tuner.Updates, tuner.EMA = updates, 0.5
		saved := &Checkpoints{Trainer: tuner, Folder: folder, Resume: true, Progress: io.Discard}
		run := &Record{Trainer: saved, Folder: folder, Progress: io.Discard}
		var values []float32
		result, err := run.Finish(t.Context(), func(string) error {
			values = append(values, l.Trainable()[0].Value.Float32s()...)
			return nil
		})
		require.NotEqual(t, values, func() []float32 {
			require.NoError(t, tuner.UseAverage())
			return l.Trainable()[0].Value.Float32s()
		}(), "the average was not saved")
		return result, values, err
	}
	first, want, err := finish(3)
	require.NoError(t, err)
	require.Equal(t, Result{3, "tuned", 3}, first)
	again, got, err := finish(3)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, want, got)
	less, _, err := finish(2)
	require.EqualError(t, err, "finetune: 2 updates were asked for, and there are 3 already")
	require.Equal(t, Result{3, "stopped-after-3", 3}, less)
}

// A run's result has its name when it is whole. What there is then is said, and an error says how
// to go on from it.
func TestRunFinish(t *testing.T) {
	full := errors.New("full")
	finish := func(
		t *testing.T, ctx context.Context, updates int, save error,
	) (dir, left string, err error) {
		dir = filepath.Join(t.TempDir(), "run")
		run := &Run{
			Folder: dir, Config: map[string]any{"a": 1},
			Command: "tune -resume", Progress: io.Discard,
		}
		release, err := run.Begin()
		require.NoError(t, err)
		defer func() {
			require.NoError(t, release())
			require.NoDirExists(t, run.Unfinished())
		}()
		require.NoError(t, run.Settle())
		require.NoError(t, os.Mkdir(run.Unfinished(), 0o755))
		require.NoError(t, os.WriteFile(filepath.Join(run.Unfinished(), "early"), nil, 0o644))
		tuner := tuner(t, newLine())
		tuner.Updates = updates
		left, err = run.Finish(ctx, tuner, func(dir string) error {
			require.Equal(t, run.Unfinished(), dir)
			require.NoError(t, os.WriteFile(filepath.Join(dir, "late"), nil, 0o644))
			return save
		})
		return dir, left, err
	}
	t.Run("whole", func(t *testing.T) {
		dir, left, err := finish(t, t.Context(), 3, nil)
		require.NoError(t, err)
		require.Equal(t, "what 3 updates have made is in "+filepath.Join(dir, "tuned"), left)
		for _, name := range []string{"tuned/early", "tuned/late", "config.json", "metrics.jsonl"} {
			require.FileExists(t, filepath.Join(dir, name))
		}
	})
	t.Run("not saved", func(t *testing.T) {
		dir, left, err := finish(t, t.Context(), 3, full)
		require.Equal(t, "what 3 updates have made is in "+filepath.Join(dir, "checkpoints"), left)
		require.ErrorIs(t, err, full)
		require.EqualError(t, err, "full\nW"+left[1:]+
			"; this goes on after the last checkpoint:\n\ttune -resume")
		require.NoDirExists(t, filepath.Join(dir, "tuned"))
	})
	t.Run("stopped at once", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, left, err := finish(t, ctx, 3, nil)
		require.Empty(t, left)
		require.ErrorIs(t, err, context.Canceled)
		require.EqualError(t, err, "context canceled")
	})
	t.Run("taken up", func(t *testing.T) {
		dir, _, err := finish(t, t.Context(), 2, nil)
		require.NoError(t, err)
		run := &Run{Folder: dir, Resume: true, Progress: io.Discard}
		release, err := run.Begin()
		require.NoError(t, err)
		ctx, cancel := context.WithCancel(t.Context())
		l := tuner(t, newLine())
		l.LR = func(step int) float64 {
			if step == 3 {
				cancel()
			}
			return 0.01
		}
		left, err := run.Finish(ctx, l, func(string) error { return nil })
		require.ErrorIs(t, err, context.Canceled)
		require.EqualError(t, err, "context canceled")
		require.Equal(t, "what 4 updates have made is in "+filepath.Join(dir, "stopped-after-4"),
			left)
		require.NoError(t, release())
		require.DirExists(t, filepath.Join(dir, "stopped-after-4"))
	})
}

// The folder of somebody else is left as it is.
func TestUnfinishedOfOthers(t *testing.T) {
	run := &Run{Folder: t.TempDir(), Resume: true}
	require.NoError(t, os.Mkdir(run.Unfinished(), 0o755))
	_, err := run.Begin()
	require.ErrorIs(t, err, fs.ErrExist)
	require.DirExists(t, run.Unfinished())
	require.NoError(t, os.Mkdir(filepath.Join(run.Folder, "cache"), 0o755))
	release, err := run.Begin()
	require.NoError(t, err)
	require.NoDirExists(t, run.Unfinished(), "a killed process has left it")
	require.NoError(t, release())
}

// A report that cannot be written ends no training: what was trained is saved under its name, and
// the error comes last.
func TestReportFails(t *testing.T) {
	for name, c := range map[string]struct {
		fails string // a file of the run's folder
		until int    // steps after which it can be written again; 0 is never
		said  int    // how often it is said meanwhile
	}{
		"page": {fails: pageFile, said: 1}, "summary": {fails: summaryFile, said: 1},
		"for a while": {fails: pageFile, until: 3, said: 1},
	} {
		t.Run(name, func(t *testing.T) {
			full, done := errors.New("full"), 0
			folder := t.TempDir()
			trainer := Func(func(context.Context) iter.Seq2[Step, error] {
				return func(yield func(Step, error) bool) {
					for done = range 5 {
						if !yield(Step{Index: done, Of: 5}, nil) {
							return
						}
					}
				}
			})
			file.Before = func(operation, name string) error {
				failing := c.until == 0 || done < c.until
				if operation == "rename" && filepath.Base(name) == c.fails && failing {
					return full
				}
				return nil
			}
			defer func() { file.Before = nil }()
			var said strings.Builder
			run := &Record{Trainer: trainer, Folder: folder, Progress: &said}
			result, err := run.Finish(t.Context(), func(string) error { return nil })
			require.Equal(t, Result{5, "tuned", 5}, result)
			if c.until > 0 {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, full)
				require.ErrorAs(t, err, new(*ReportError))
				require.ErrorContains(t, err, "the report is not whole: ")
				require.ErrorContains(t, err, filepath.Join(folder, c.fails))
			}
			require.Equal(t, c.said, strings.Count(said.String(), "; training goes on"))
			steps, err := ReadSteps(folder)
			require.NoError(t, err)
			require.Len(t, steps, 5)
		})
	}
}
