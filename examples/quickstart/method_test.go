package main

import (
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/examples/tiny/trial"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// Tuning draws by reward: one below zero, which that cannot have, is refused. What is tuned is a copy:
// the base is what the report compares it with.
func TestTunesByReward(t *testing.T) {
	o, err := parse([]string{"-out", filepath.Join(t.TempDir(), "out"), "-steps", "1", "-lr", "1e-4", "-beta", "0"})
	require.NoError(t, err)
	s, err := load(t.Context(), o)
	require.NoError(t, err)
	defer s.clip.Close()
	s.Progress = report.Plain(io.Discard)
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(1, 8))
	require.NoError(t, err)
	for i := range samples {
		samples[i].Reward = new(float64(i + 1))
	}
	samples[3].Reward = new(-1.0)
	_, err = s.tune(t.Context(), samples, trial.Tunings(0, 1, false)[0])
	require.ErrorContains(t, err, "below 0")
	require.NoError(t, os.RemoveAll(s.out))

	samples[3].Reward = new(4.0)
	before := nn.Hash(s.base.UNet)
	tuned, err := s.tune(t.Context(), samples, trial.Tunings(0, 1, false)[0])
	require.NoError(t, err)
	require.Equal(t, before, nn.Hash(s.base.UNet))
	require.NotEqual(t, before, nn.Hash(tuned.UNet))
}
