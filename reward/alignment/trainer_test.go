package alignment

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels/nn"
)

var _ finetune.Resumable = (*Training)(nil)

// resumable is a training that stops early, before its last epoch.
func resumable(t *testing.T) *Training {
	training := training(labelled(2, 3, "cup", "box"))
	training.Hidden, training.Batch, training.LR, training.Wait, training.Passes = 4, 6, 0.2, 2, 30
	t.Cleanup(func() { training.Close() })
	return training
}

// late is a context that is cancelled after it was asked a few times: within an epoch.
type late struct {
	context.Context
	left int
}

func (l *late) Err() error {
	if l.left--; l.left < 0 {
		return context.Canceled
	}
	return nil
}

// stepsOf trains to the end, or for so many epochs, and returns the steps and the best weights.
func stepsOf(t *testing.T, training *Training, most int) (steps []finetune.Step, best [][]float32) {
	for step, err := range training.Steps(t.Context()) {
		require.NoError(t, err)
		steps = append(steps, step)
		if len(steps) == most {
			break
		}
	}
	return steps, training.head.snapshot()
}

// Taken up again behind any epoch, by itself or by another process's Training, it ends with the
// same bits, and as early. An epoch that was cancelled half-way has changed nothing.
func TestTrainingIsResumable(t *testing.T) {
	steps, best := stepsOf(t, resumable(t), 0)
	require.Greater(t, len(steps), 3)
	require.Less(t, len(steps), 30, "it does not stop early")
	for _, s := range steps {
		require.InDelta(t, s.Loss, s.Terms["MSE"]+s.Terms["classification"], 1e-9)
		require.Contains(t, s.Metrics, "held-out accuracy")
	}
	for at := range steps {
		first := resumable(t)
		var some []finetune.Step
		if at > 0 {
			some, _ = stepsOf(t, first, at)
		}
		state, err := first.State(t.Context())
		require.NoError(t, err)
		require.Equal(t, at, state.Step)
		for i := range state.Tensors {
			state.Tensors[i].Value = state.Tensors[i].Value.Clone().(*tensor.Dense)
		}
		second := resumable(t)
		require.NoError(t, second.Restore(t.Context(), state))
		rest, theirs := stepsOf(t, second, 0)
		require.Equal(t, steps, append(some, rest...))
		require.Equal(t, best, theirs)

		for _, err := range first.Steps(&late{Context: context.Background(), left: 2}) {
			require.ErrorIs(t, err, context.Canceled)
		}
		rest, theirs = stepsOf(t, first, 0)
		require.Equal(t, steps[at:], rest)
		require.Equal(t, best, theirs)
	}
	whole := resumable(t)
	stepsOf(t, whole, 2)
	state, err := whole.State(t.Context())
	require.NoError(t, err)
	state.Tensors = state.Tensors[:len(state.Tensors)-1]
	other := resumable(t)
	require.ErrorContains(t, other.Restore(t.Context(), state), "the state has no best.")
	require.Len(t, nn.Parameters(whole.head), 4)

	// Taken back to before the first epoch, it is as new.
	state, err = other.State(t.Context())
	require.NoError(t, err)
	require.NotNil(t, whole.Model())
	require.NoError(t, whole.Restore(t.Context(), state))
	require.Nil(t, whole.Model())
	require.Equal(t, other.head.snapshot(), whole.head.snapshot())
}
