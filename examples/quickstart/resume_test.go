//go:build unix

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

// moments is how many times a run is killed: few in go test ./..., 20 to be sure.
var moments = flag.Int("moments", 2, "moments at which a run is killed")

// files are those of a folder, but for what is there only to go on and what tells times.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := commandtest.Files(t, dir, func(name string) bool {
		return !strings.HasPrefix(name, "cache") && !strings.HasPrefix(name, "checkpoints")
	})
	all["report.json"] = stages.ReplaceAllString(all["report.json"], "")
	all["metrics.jsonl"] = seconds.ReplaceAllString(all["metrics.jsonl"], "")
	return all
}

var (
	stages  = regexp.MustCompile(`"seconds": \{[^}]*\}`)
	seconds = regexp.MustCompile(`"seconds":[0-9.e-]+`)
)

// Killed at any moment and resumed, a run leaves bit for bit what it would have left.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	args := func(out string) []string {
		return []string{"-out", filepath.Join(dir, out), "-samples", "64", "-steps", "5", "-eval", "128"}
	}
	whole := filepath.Join(dir, "whole")
	operations := commandtest.List(t, whole, args("whole")...)
	var judged []string // what evaluation has painted
	for i, name := range operations {
		if strings.HasPrefix(name, "cache/") && slices.Contains(operations[:i], "tuned/model_index.json") {
			judged = append(judged, name)
		}
	}
	want := files(t, whole)
	require.Contains(t, want, "report.html")
	require.Contains(t, want, "tuned/unet/diffusion_pytorch_model.safetensors")
	goOn := func(out string) {
		p := commandtest.Start(t, append(args(out), "-resume")...)
		code, _ := p.Wait()
		require.Zero(t, code, &p.Stderr)
	}
	for i, m := range commandtest.Moments(operations, *moments) {
		out := fmt.Sprint(i)
		commandtest.Kill(t, m, args(out)...)
		for _, name := range judged { // which takes most of a run: it is read if it is right
			to := filepath.Join(dir, out, name)
			if _, err := os.Stat(to); err == nil || !strings.HasSuffix(name, ".safetensors") {
				continue
			}
			text, err := os.ReadFile(filepath.Join(whole, name))
			require.NoError(t, err)
			require.NoError(t, os.MkdirAll(filepath.Dir(to), 0o755))
			require.NoError(t, os.WriteFile(to, text, 0o644))
		}
		goOn(out)
		require.Equal(t, want, files(t, filepath.Join(dir, out)), m.Name)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, out)))
	}

	// A run that is at its end is what it was.
	goOn("whole")
	require.Equal(t, want, files(t, whole))
}
