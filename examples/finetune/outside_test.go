package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

// mostLines is how long the program may be, comments and blank lines included: what more there is
// to it belongs in a package.
const mostLines = 250

// The program is built of public packages alone, and works when it is copied out.
func TestOutside(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	lines := 0
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		text, err := os.ReadFile(name)
		require.NoError(t, err)
		lines += strings.Count(string(text), "\n")
	}
	require.Positive(t, lines)
	require.LessOrEqual(t, lines, mostLines)
	binary, _ := commandtest.Outside(t, "../..", sources...)
	p := at(t)
	run := exec.CommandContext(t.Context(), binary, p.args("run", "-steps", "1")...)
	out, err := run.CombinedOutput()
	require.NoError(t, err, string(out))
	require.FileExists(t, p.out("run/tuned/model_index.json"))
}
