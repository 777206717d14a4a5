//go:build unix

package dataset

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A pipe would be waited for, and a device read for ever.
func TestPipesAndDevices(t *testing.T) {
	dir := t.TempDir()
	pipe, zero := filepath.Join(dir, "pipe.txt"), filepath.Join(dir, "zero.jsonl")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.Symlink("/dev/zero", zero))
	_, err := ReadPrompts(t.Context(), pipe)
	want := "dataset: " + pipe + " is a named pipe, not a file: write what it gives to a file"
	require.EqualError(t, err, want)
	_, err = ReadCategories(pipe)
	require.ErrorContains(t, err, "is a named pipe")
	_, err = ReadPrompts(t.Context(), zero)
	require.ErrorContains(t, err, zero+" is a device")
	for _, name := range []string{"1.png", "1.txt", "samples.jsonl", "metadata.csv"} {
		f := inFolder(t, map[string]string{"1.png": "x", "1.txt": "a"})
		name = filepath.Join(f.Path, name)
		os.Remove(name)
		require.NoError(t, syscall.Mkfifo(name, 0o600))
		_, err := Collect(t.Context(), f)
		require.ErrorContains(t, err, filepath.Base(name)+" is a named pipe, not a file")
	}
}
