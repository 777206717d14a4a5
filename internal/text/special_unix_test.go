//go:build unix

package text

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Pipes would be waited for, and devices read for ever.
func TestPipesAndDevices(t *testing.T) {
	dir := t.TempDir()
	pipe, zero := filepath.Join(dir, "pipe"), filepath.Join(dir, "zero")
	require.NoError(t, syscall.Mkfifo(pipe, 0o600))
	require.NoError(t, os.Symlink("/dev/zero", zero))
	_, err := Open(pipe)
	require.EqualError(t, err, pipe+" is a named pipe, not a file: write what it gives to a file")
	_, err = ReadFile(zero, 100)
	require.EqualError(t, err, zero+" is a device, not a file")
	_, err = ReadFS(os.DirFS(dir), "pipe")
	require.ErrorContains(t, err, "is a named pipe")
}
