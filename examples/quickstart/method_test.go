package main

import (
	"io"
	"math"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// What is tuned is a copy: the base is what the report compares it with. The weights that are saved
// lie on the way from the base's to the trained ones, at the share that -mix says. So do those of a
// control, or it would be another recipe that the tuned model is compared with.
func TestTuneMixesWithBase(t *testing.T) {
	tuned := map[string][]float32{}
	for _, mix := range []string{"1", "0.25"} {
		s, err := parse([]string{
			"-out", filepath.Join(t.TempDir(), "out"), "-steps", "1", "-beta", "0", "-mix", mix,
			"-controls",
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
		base := nn.Hash(s.trial.Base.UNet)
		tuned["0"] = weights(s.trial.Base.UNet)
		u := &s.trial.Tuned[0]
		require.NoError(t, s.tune(t.Context(), samples, u))
		require.Equal(t, base, nn.Hash(s.trial.Base.UNet))
		tuned[mix] = weights(u.Model.UNet)
		saved, err := pipeline.Load(s.Path("tuned"))
		require.NoError(t, err)
		require.Equal(t, nn.Hash(u.Model.UNet), nn.Hash(saved.UNet))

		control := &s.trial.Tuned[1]
		require.NoError(t, s.tune(t.Context(), samples, control))
		tuned[mix+" of the control"] = weights(control.Model.UNet)
	}
	for _, of := range []string{"", " of the control"} {
		moved := 0.0
		for i, b := range tuned["0"] {
			whole, quarter := float64(tuned["1"+of][i]-b), float64(tuned["0.25"+of][i]-b)
			moved += math.Abs(whole)
			require.InDelta(t, whole/4, quarter, 1e-6, i)
		}
		require.Greater(t, moved/float64(len(tuned["0"])), 1e-4) // a step of AdamW moves by lr
	}
}

// weights are all of the network's, one after another.
func weights(network any) (all []float32) {
	for _, p := range nn.Parameters(network) {
		all = append(all, p.Value.Float32s()...)
	}
	return all
}
