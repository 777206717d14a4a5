package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

// mostLines is how long the program may be: what more there is to it belongs in a package.
const mostLines = 606

// The program is built of public packages alone, and works when it is copied out.
func TestOutside(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	binary, lines := commandtest.Outside(t, "../..", sources...)
	t.Logf("%d lines", lines)
	require.LessOrEqual(t, lines, mostLines)
	p := at(t)
	out, err := exec.CommandContext(t.Context(), binary, p.args("run", "-steps", "1")...).CombinedOutput()
	require.NoError(t, err, string(out))
	require.FileExists(t, p.out("run/tuned/model_index.json"))
}
