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
	dir, reward := t.TempDir(), learned(t)
	asked := filepath.Join(dir, "prompts.txt")
	require.NoError(t, os.WriteFile(asked, []byte("two green circles\nthree hearts\n"), 0o644))
	filetest.Windows(t)
	for _, more := range [][]string{{"-n", "2"}, {"-n", "2", "-resume"}} {
		o, err := parse(t.Context(), append([]string{
			"-model", miniature, "-model", miniature, "-prompts", asked, "-reward", reward,
			"-steps", "1", "-guidance", "1", "-out", filepath.Join(dir, "run"),
		}, more...))
		require.NoError(t, err)
		require.NoError(t, run(t.Context(), o))
	}
	filetest.Names(t, dir)
}
