//go:build nvidia && cgo

package main

import (
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/kernels/cuda"
)

// ran is the report of the command on GPU 0, in processes of its own.
func ran(t *testing.T, status int, args ...string) report {
	t.Helper()
	file := filepath.Join(t.TempDir(), "right.json")
	var progress strings.Builder
	got := run(append([]string{"right", "-out", file}, args...), io.Discard, &progress)
	require.Equal(t, status, got, progress.String())
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var r report
	require.NoError(t, json.Unmarshal(text, &r))
	require.Equal(t, status == 0, r.Right)
	require.Contains(t, progress.String(), cuda.NotRun())
	return r
}

func TestCommand(t *testing.T) {
	record := filepath.Join(t.TempDir(), "recorded.json")
	r := ran(t, 0, "-run", some, "-record", record, "-sanitize=false")
	require.Len(t, r.Checks, len(chosen(t, some)))
	require.NotEmpty(t, r.Device.Name)
	require.NotEmpty(t, r.Device.Images)
	require.GreaterOrEqual(t, r.Device.Capability, 80)
	require.Empty(t, r.Never, "only of all checks")
	require.Greater(t, len(r.Launched), 80)
	text, err := os.ReadFile(record)
	require.NoError(t, err)
	require.Contains(t, string(text), r.Device.Name)
	require.Contains(t, string(text), `"mma"`)
}

// onlyEmulated skips a test on a GPU.
func onlyEmulated(t *testing.T) {
	t.Helper()
	all, err := cuda.Devices()
	require.NoError(t, err)
	if !strings.HasPrefix(all[0].Name, "Emulated GPU") {
		t.Skip("it is for emulated devices: go run ./kernels/cuda/internal/fakedriver")
	}
}

// A kernel that fails costs one check.
func TestCommandGoesOn(t *testing.T) {
	onlyEmulated(t)
	t.Setenv("EMU_FAULT", "gelu_f32")
	r := ran(t, 1, "-run", "^activation/(silu|gelu|relu)/float32$", "-sanitize=false")
	require.Len(t, r.Checks, 3)
	require.True(t, r.Checks[0].Right)
	require.Contains(t, r.Checks[1].Wrong, "gelu_f32")
	require.True(t, r.Checks[2].Right)
}

// A sanitizer's errors are wrong.
func TestCommandSanitizes(t *testing.T) {
	onlyEmulated(t)
	dir := t.TempDir()
	script := `#!/bin/sh
# compute-sanitizer --tool TOOL --log-file FILE PROGRAM...
[ "$KUDOS_CUDA_SYNC" = 1 ] || exit 5
tool=$2 log=$4
shift 4
"$@" || exit 6
case $tool in
memcheck) echo "========= ERROR SUMMARY: $FOUND errors" ;;
racecheck) echo "========= RACECHECK SUMMARY: 0 hazards displayed (0 errors, 0 warnings)" ;;
esac >"$log"
`
	file := filepath.Join(dir, "compute-sanitizer")
	require.NoError(t, os.WriteFile(file, []byte(script), 0o755))
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
	const only = "^(primitives|linear/5x7 to 9/float32)$"
	t.Setenv("FOUND", "0")
	r := ran(t, 0, "-run", only)
	require.Equal(t, file, r.Sanitizer.Program)
	require.Len(t, r.Sanitizer.Tools, 2)
	for _, x := range r.Sanitizer.Tools {
		require.Equal(t, 2, x.Checks, x.Name)
		require.True(t, x.Right, x.Wrong)
	}
	t.Setenv("FOUND", "2")
	r = ran(t, 1, "-run", only)
	require.Equal(t, 2, r.Sanitizer.Tools[0].Errors)
	require.True(t, r.Sanitizer.Tools[1].Right)
}

// The program is small enough to be sent.
func TestSize(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ondevice")
	build := exec.CommandContext(t.Context(), "go", "build", "-tags", "nvidia", "-trimpath",
		"-ldflags", "-s -w", "-o", file, ".")
	said, err := build.CombinedOutput()
	require.NoError(t, err, "%s", said)
	info, err := os.Stat(file)
	require.NoError(t, err)
	t.Logf("%.1f MB", float64(info.Size())/1e6)
	require.Less(t, info.Size(), int64(30e6))
}
