package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file/filetest"
)

// A whole run, and one that is resumed, do nothing with files that Windows refuses.
func TestWindows(t *testing.T) {
	samples, dir := labelled(t, 60), t.TempDir()
	filetest.Windows(t)
	for _, more := range []string{"-soft=false", "-resume"} {
		require.NoError(t, attempt(t, samples, filepath.Join(dir, "run"), more))
	}
	filetest.Names(t, dir)
}

// attempt runs the program.
func attempt(t *testing.T, samples, out string, more ...string) error {
	t.Helper()
	o, err := parse(append([]string{"-samples", samples, "-out", out, "-hidden", "8"}, more...))
	require.NoError(t, err)
	return run(t.Context(), o)
}

// A command that was wrong leaves nothing in the way of the right one: a picture that is broken is
// put right, or its line goes, and the same folder is begun. What else is in the folder stays.
func TestPutRight(t *testing.T) {
	samples, out := labelled(t, 60), filepath.Join(t.TempDir(), "run")
	broken := filepath.Join(filepath.Dir(samples), "7.png")
	whole, err := os.ReadFile(broken)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(broken, whole[:len(whole)/2], 0o644))
	require.ErrorContains(t, attempt(t, samples, out), broken)
	require.ErrorContains(t, attempt(t, samples, out, "-lambda", "0"), broken)
	require.NoError(t, os.WriteFile(broken, whole, 0o644))
	require.NoError(t, attempt(t, samples, out, "-lambda", "0"))

	generated := t.TempDir()
	config := filepath.Join(generated, "config.json")
	require.NoError(t, os.WriteFile(config, []byte(`{"program": "generate"}`), 0o644))
	_, err = parse([]string{"-samples", samples, "-out", generated})
	require.ErrorContains(t, err, config+" is not that of a reward")

	model := filepath.Join("..", "tiny", "model", "unet", "diffusion_pytorch_model.safetensors")
	before, err := os.ReadFile(model)
	require.NoError(t, err)
	copied := filepath.Join(t.TempDir(), "x.safetensors")
	require.NoError(t, os.WriteFile(copied, before, 0o644))
	other := filepath.Join(t.TempDir(), "run")
	err = attempt(t, samples, other, "-cache", copied)
	require.ErrorContains(t, err, "is no cache of features")
	after, err := os.ReadFile(copied)
	require.NoError(t, err)
	require.Equal(t, before, after)
}
