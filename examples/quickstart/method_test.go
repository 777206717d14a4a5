package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Tuning draws by reward: one below zero, which that cannot have, is refused. What is tuned is a
// copy: the base is what the report compares it with.
func TestTunesByReward(t *testing.T) {
	s, err := parse([]string{
		"-out", filepath.Join(t.TempDir(), "out"), "-steps", "1", "-lr", "1e-4", "-beta", "0",
	})
	require.NoError(t, err)
	require.NoError(t, s.load(t.Context()))
	defer s.trial.CLIP.Close()
	s.Progress = report.Plain(io.Discard)
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(1, 8))
	require.NoError(t, err)
	for i := range samples {
		samples[i].Reward = new(float64(i + 1))
	}
	samples[3].Reward = new(-1.0)
	u := &s.trial.Tuned[0]
	require.ErrorContains(t, s.tune(t.Context(), samples, u), "below 0")
	require.NoError(t, os.RemoveAll(s.Path()))

	samples[3].Reward = new(4.0)
	before := nn.Hash(s.trial.Base.UNet)
	require.NoError(t, s.tune(t.Context(), samples, u))
	require.Equal(t, before, nn.Hash(s.trial.Base.UNet))
	require.NotEqual(t, before, nn.Hash(u.Model.UNet))
}
