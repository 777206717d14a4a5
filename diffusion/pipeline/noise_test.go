package pipeline

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// A file's noise is that of the sampler in use, or the start of what the other side made of
// prompts.
func TestReadNoise(t *testing.T) {
	for sampler, want := range map[string][]int{"ddim": {6, 2, 4, 8, 8}, "pndm": {1, 2, 4, 8, 8}} {
		n, err := ReadNoise(filepath.Join("../../testdata/golden/sd1", "cases.safetensors"),
			sampler)
		require.NoError(t, err)
		require.Equal(t, want, n.Shape)
	}
	_, err := ReadNoise("gone.safetensors", "ddim")
	require.ErrorContains(t, err, "pipeline: ")
	require.ErrorContains(t, err, "gone.safetensors")
}

// Channels come last, as samplers have them; more draws than are needed do no harm.
func TestStoredNoiseDraw(t *testing.T) {
	file := filepath.Join(t.TempDir(), "noise.safetensors")
	values := make([]float32, 3*2*2*1*3) // 3 draws of 2 pictures, 2 channels, 1×3
	for i := range values {
		values[i] = float32(i)
	}
	noise := tensor.New(tensor.WithShape(3, 2, 2, 1, 3), tensor.WithBacking(values))
	all := []kernels.Parameter{{Name: "any", Value: noise}}
	require.NoError(t, weights.Save(file, all, kernels.Float32, nil))
	n, err := ReadNoise(file, "ddim")
	require.NoError(t, err)
	got := make([]float32, 6)
	n.Draw(1, 2, got) // picture 1 of draw 2 begins at (2·2 + 1)·6 = 30
	require.Equal(t, []float32{30, 33, 31, 34, 32, 35}, got)
	require.NoError(t, n.Check(2, 2, 1, 3, 2))
	require.ErrorContains(t, n.Check(4, 2, 1, 3, 2), "is of 3 draws, where the sampler makes 4 "+
		"with the start")
	require.ErrorContains(t, n.Check(3, 1, 1, 3, 2), "is of 2 pictures, where 1 are asked for")
	require.ErrorContains(t, n.Check(3, 2, 3, 1, 2), "is of latents [2 1 3], where the "+
		"pictures' are [2 3 1]")
}
