package finetune

import (
	"context"
	"errors"
	"io"
	"iter"
	"testing"

	"github.com/stretchr/testify/require"
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
		"whole":           {steps(3, nil), nil, Result{3, "tuned"}, nil, "tuned"},
		"broken":          {steps(2, broken), nil, Result{2, "stopped-after-2"}, []error{broken}, "stopped-after-2"},
		"broken at first": {steps(0, broken), nil, Result{0, ""}, []error{broken}, ""},
		"not saved":       {steps(2, nil), full, Result{2, ""}, []error{full}, "tuned"},
		"neither":         {steps(2, broken), full, Result{2, ""}, []error{broken, full}, "stopped-after-2"},
	} {
		t.Run(name, func(t *testing.T) {
			under := ""
			run := &Record{Trainer: c.trainer, Folder: t.TempDir(), Progress: io.Discard}
			result, err := run.Finish(t.Context(), func(name string) error { under = name; return c.save })
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
	require.Equal(t, Result{3, "tuned"}, first)
	again, got, err := finish(3)
	require.NoError(t, err)
	require.Equal(t, first, again)
	require.Equal(t, want, got)
	less, _, err := finish(2)
	require.EqualError(t, err, "finetune: 2 updates were asked for, and there are 3 already")
	require.Equal(t, Result{3, "stopped-after-3"}, less)
}
