package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/internal/report"
	"github.com/kudos-ml/kudos/reward"
)

// Within a category weights are as the rewards are, and every category counts the same; one without any reward stays out.
func TestWeighted(t *testing.T) {
	rewards := []float64{
		0.5, 0.1, 0.75, 0,
		0.5, 0.3, 0.25, 0,
	}
	samples := make([]dataset.Sample, len(rewards))
	for i := range samples {
		samples[i].Reward = &rewards[i]
	}
	got, err := weighted(samples, reward.Raw)
	require.NoError(t, err)
	want := []float64{ // 2.4 over 4 categories are 0.6 each
		0.3, 0.15, 0.45, 0,
		0.3, 0.45, 0.15, 0,
	}
	for i, w := range want {
		require.InDelta(t, w, *got[i].Reward, 1e-15, "sample %d", i)
	}
	require.Equal(t, 0.75, *samples[2].Reward, "the samples' own rewards changed")

	alike, err := weighted(samples, equal)
	require.NoError(t, err)
	for i, s := range alike {
		require.InDelta(t, 0.3, *s.Reward, 1e-15, "sample %d", i)
	}
}

// Tuning draws by reward: a reward below zero, which only that cannot have, is refused.
func TestTunesByReward(t *testing.T) {
	s := &session{options: options{out: filepath.Join(t.TempDir(), "out"), samples: 8, steps: 1, lr: 1e-4}, progress: report.Plain(io.Discard), seconds: map[string]float64{}}
	require.NoError(t, s.load(t.Context()))
	defer s.clip.Close()
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(1, 8))
	require.NoError(t, err)
	for i := range samples {
		samples[i].Reward = new(float64(i + 1))
	}
	below := func(rewards []float64) ([]float64, error) { return append([]float64{-1}, rewards[1:]...), nil }
	_, err = s.tune(t.Context(), samples, tuning{"tuned", below, 0})
	require.ErrorContains(t, err, "ByReward takes none below 0")
}
