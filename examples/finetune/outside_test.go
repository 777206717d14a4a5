package main

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

// The program is built of public packages alone, and works when it is copied out.
func TestOutside(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	binary, _ := commandtest.Outside(t, "../..", sources...)
	p := at(t)
	run := exec.CommandContext(t.Context(), binary, p.args("run", "-steps", "1")...)
	out, err := run.CombinedOutput()
	require.NoError(t, err, string(out))
	require.FileExists(t, p.out("run/tuned/model_index.json"))
}
