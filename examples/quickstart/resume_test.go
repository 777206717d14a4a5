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
	// Painting for the evaluation takes most of a run. It is done once, and read where it is right.
	painted := map[string]string{}
	first := filepath.Join(dir, "first")
	operations := commandtest.List(t, first, args("first")...)
	tuned := slices.Index(operations, "tuned/model_index.json")
	for name, text := range commandtest.Files(t, first, func(name string) bool {
		return strings.HasPrefix(name, "cache/") && slices.Index(operations, name) > tuned
	}) {
		painted[name] = text
	}
	require.Len(t, painted, 2*(4+4+3*4), "batches of both kinds of prompts")
	paint := func(out string) string {
		out = filepath.Join(dir, out)
		for name, text := range painted {
			name = filepath.Join(out, name)
			require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
			require.NoError(t, os.WriteFile(name, []byte(text), 0o644))
		}
		return out
	}
	whole := paint("whole")
	operations = commandtest.List(t, whole, append(args("whole"), "-resume")...)
	want := files(t, whole)
	require.Equal(t, files(t, first), want)
	require.Contains(t, want, "report.html")
	require.Contains(t, want, "tuned/unet/diffusion_pytorch_model.safetensors")
	goOn := func(out string) {
		p := commandtest.Start(t, append(args(out), "-resume")...)
		code, _ := p.Wait()
		require.Zero(t, code, &p.Stderr)
	}
	for i, m := range commandtest.Moments(operations, *moments) {
		out := fmt.Sprint(i)
		paint(out)
		commandtest.Kill(t, m, append(args(out), "-resume")...)
		goOn(out)
		require.Equal(t, want, files(t, filepath.Join(dir, out)), m.Name)
		require.NoError(t, os.RemoveAll(filepath.Join(dir, out)))
	}
}
