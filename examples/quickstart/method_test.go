package main

import (
	"io"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/reward"
)

// Tuning draws by reward: one below zero, which that cannot have, is refused. What is tuned is a copy:
// the base is what the report compares it with.
func TestTunesByReward(t *testing.T) {
	s := &session{
		options:  options{out: filepath.Join(t.TempDir(), "out"), samples: 8, steps: 1, lr: 1e-4},
		progress: report.Plain(io.Discard), seconds: map[string]float64{},
	}
	require.NoError(t, s.load(t.Context()))
	defer s.clip.Close()
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(1, 8))
	require.NoError(t, err)
	for i := range samples {
		samples[i].Reward = new(float64(i + 1))
	}
	samples[3].Reward = new(-1.0)
	_, err = s.tune(t.Context(), samples, tuning{"tuned", reward.Raw, 0})
	require.ErrorContains(t, err, "below 0")

	samples[3].Reward = new(4.0)
	s.folder, err = report.NewFolder(s.out)
	require.NoError(t, err)
	before := nn.Hash(s.base.UNet)
	tuned, err := s.tune(t.Context(), samples, tuning{"tuned", reward.Raw, 0})
	require.NoError(t, err)
	require.Equal(t, before, nn.Hash(s.base.UNet))
	require.NotEqual(t, before, nn.Hash(tuned.UNet))
}
