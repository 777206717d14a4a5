//go:build unix

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
	asked := prompts(t, "a dog", "con: two cats?")
	filetest.Windows(t)
	for _, more := range [][]string{{"-n", "2"}, {"-n", "2", "-resume"}} {
		o, err := parse(t.Context(), append([]string{
			"-model", sd1, "-prompts", asked, "-steps", "1", "-out", filepath.Join(dir, "run"),
		}, more...))
		require.NoError(t, err)
		require.NoError(t, run(t.Context(), o))
	}
	filetest.Names(t, dir)
}
