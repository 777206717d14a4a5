package pipeline

import (
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels/nn"
)

func TestHashes(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	configs := p.Hashes()["configs"]
	require.Len(t, configs, 64)
	require.Equal(t, map[string]string{
		"text_encoder": nn.Hash(p.Text), "unet": nn.Hash(p.UNet), "vae": nn.Hash(p.VAE),
		"configs": configs,
	}, p.Hashes())
	for _, change := range []func(){
		func() { p.VAE.Config.ScalingFactor++ },
		func() { p.Schedule.Config.BetaEnd = new(0.5) },
	} {
		change()
		require.NotEqual(t, configs, p.Hashes()["configs"])
		configs = p.Hashes()["configs"]
	}
	p.Text = nil
	require.Len(t, p.Hashes(), 3)
	frozen, err := LoadFrozen("../../testdata/golden/sd2")
	require.NoError(t, err)
	require.NotContains(t, frozen.Hashes(), "unet", "it has not been read")
}

// Pace makes one batch, whatever the request asks for, and keeps nothing.
func TestPace(t *testing.T) {
	p, err := Load("../../testdata/golden/sd2")
	require.NoError(t, err)
	r := few()
	cache := t.TempDir()
	r.PerPrompt, r.Cache, r.Skip = 2, cache, 3
	steps := 0
	r, err = p.Settle(r)
	require.NoError(t, err)
	began := time.Now()
	pace, err := p.Pace(t.Context(), r.Watched(func(n int) { steps += n }))
	require.NoError(t, err)
	require.Equal(t, r.Steps, steps, "one batch of three")
	require.Positive(t, pace)
	require.LessOrEqual(t, 3*pace, time.Since(began))
	kept, err := os.ReadDir(cache)
	require.NoError(t, err)
	require.Empty(t, kept)
	require.NoError(t, func() error { _, err := p.Pace(t.Context(), few()); return err }())
	_, err = p.Pace(t.Context(), Request{Guidance: 1})
	require.ErrorContains(t, err, "no prompts")
}
