//go:build unix

package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/finetune/report"
)

// moments is how many times a run is killed: few in go test ./..., 20 to be sure.
var moments = flag.Int("moments", 2, "moments at which a run is killed")

// files are those of a folder, but for what is there only to go on and what tells times.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := commandtest.Files(t, dir, func(name string) bool {
		return !strings.HasPrefix(name, "cache") && !strings.HasPrefix(name, "checkpoints")
	})
	for _, name := range []string{"report.json", "metrics.jsonl"} {
		all[name] = commandtest.Timeless(all[name])
	}
	return all
}

// few is the environment variable with the number of pictures to evaluate on, fewer than the flag
// takes, and asks for what else makes a run short: see hurry.
const few = "KUDOS_EVALUATE"

// inLittleTime is main, on few pictures if the environment says so.
func inLittleTime() {
	n, err := strconv.Atoi(os.Getenv(few))
	if err != nil {
		main()
		return
	}
	s, wrong := parse(os.Args[1:])
	report.Main("quickstart", func(ctx context.Context) error {
		if wrong != nil {
			return wrong
		}
		if err := s.hurry(ctx, n); err != nil {
			return err
		}
		return s.run.Do(ctx, func() error { return s.method(ctx) })
	}, func() string { return report.Finished(s.Path()) })
}

// Killed at any moment and resumed, a run leaves bit for bit what it would have left.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	args := func(out string) []string {
		return []string{"-out", filepath.Join(dir, out), "-samples", "64", "-steps", "3"}
	}
	goOn := func(out string) { commandtest.Resume(t, args(out)...) }
	whole := filepath.Join(dir, "whole")
	operations := commandtest.List(t, whole, args("whole")...)
	want := files(t, whole)
	require.Contains(t, want, "report.html")
	require.Contains(t, want, "tuned/unet/diffusion_pytorch_model.safetensors")
	for i, m := range commandtest.Moments(operations, *moments) {
		out := fmt.Sprint(i)
		commandtest.Kill(t, m, args(out)...)
		goOn(out)
		require.Equal(t, want, files(t, filepath.Join(dir, out)), m.Name)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, out)))
	}

	// A run that is at its end is what it was.
	goOn("whole")
	require.Equal(t, want, files(t, whole))
}
