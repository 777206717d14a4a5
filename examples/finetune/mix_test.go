package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// With -mix what is saved lies on the way from the base model to what is saved without it.
func TestMix(t *testing.T) {
	p := at(t)
	for _, out := range []string{"whole", "mixed"} {
		args := []string{"-baseline", "0.3"}
		if out == "mixed" {
			args = append(args, "-mix", "0.25")
		}
		_, printed, err := try(t, p.args(out, args...)...)
		require.NoError(t, err)
		require.Contains(t, printed, "are below 0 and push away from their pictures")
	}
	base, whole := load(t, p.model).UNet, load(t, p.out("whole/tuned")).UNet
	mixed := nn.Parameters(load(t, p.out("mixed/tuned")).UNet)
	require.NoError(t, nn.Mix(whole, base, 0.25))
	moved := 0
	for i, q := range nn.Parameters(whole) {
		require.Equal(t, q.Value.Float32s(), mixed[i].Value.Float32s(), q.Name)
		if q.Value.Float32s()[0] != nn.Parameters(base)[i].Value.Float32s()[0] {
			moved++
		}
	}
	require.Positive(t, moved)
}

// Pairs add a share of what they would.
func TestMixedPairs(t *testing.T) {
	p := at(t)
	for out, mix := range map[string]string{"whole": "1", "mixed": "0.25"} {
		_, _, err := try(t, p.args(out, "-lora-rank", "2", "-mix", mix)...)
		require.NoError(t, err)
	}
	adapted := func(out string) []float32 {
		m := load(t, p.model)
		file := filepath.Join(p.out(out), "tuned", "pytorch_lora_weights.safetensors")
		a, err := lora.Load(file, m.UNet, m.Text)
		require.NoError(t, err)
		return nn.Parameters(a.Trainable())[1].Value.Float32s() // B of the first layer
	}
	whole, mixed := adapted("whole"), adapted("mixed")
	moved := 0
	for i, v := range whole {
		require.Equal(t, float32(0.25*float64(v)), mixed[i])
		if v != 0 {
			moved++
		}
	}
	require.Positive(t, moved)
}
