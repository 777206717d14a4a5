package main

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
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
