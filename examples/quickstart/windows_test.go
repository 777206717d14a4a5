package main

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file/filetest"
)

// A whole run, and one that is resumed, do nothing with files that Windows refuses.
func TestWindows(t *testing.T) {
	dir := t.TempDir()
	filetest.Windows(t)
	for _, more := range []string{"-seed=1", "-resume"} {
		out := filepath.Join(dir, "run")
		s, err := parse([]string{"-out", out, "-samples", "64", "-steps", "2", more})
		require.NoError(t, err)
		s.eval = 8
		require.NoError(t, s.load(t.Context()))
		require.NoError(t, s.run.Do(t.Context(), func() error { return s.method(t.Context()) }))
	}
	filetest.Names(t, dir)
}
