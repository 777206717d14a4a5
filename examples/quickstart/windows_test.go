package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file/filetest"
)

// A whole run does nothing with files that Windows refuses.
func TestWindows(t *testing.T) {
	dir := t.TempDir()
	filetest.Windows(t)
	s, err := parse([]string{"-out", filepath.Join(dir, "run"), "-samples", "64", "-steps", "2"})
	require.NoError(t, err)
	s.eval = 8
	require.NoError(t, s.load(t.Context()))
	require.NoError(t, s.run.Do(t.Context(), func() error { return s.method(t.Context()) }))
	filetest.Names(t, dir)
}
