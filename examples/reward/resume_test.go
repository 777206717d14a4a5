//go:build unix

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/finetune"
)

// moments is how many times a run is killed: few in go test ./..., 20 to be sure.
var moments = flag.Int("moments", 5, "moments at which a run is killed")

func TestMain(m *testing.M) {
	commandtest.Main(m, func() {
		commandtest.Dies()
		main()
	})
}

// files are those of a folder, times aside, but for what is there only to go on.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := commandtest.Files(t, dir, func(name string) bool {
		return !strings.HasPrefix(name, "training/checkpoints") && name != "training/config.json"
	})
	for name, text := range all {
		all[name] = commandtest.Timeless(text)
	}
	return all
}

// Killed at any moment and resumed, a run leaves bit for bit what it would have left.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	samples := labelled(t, 150)
	args := func(out string) []string {
		return []string{"-samples", samples, "-out", filepath.Join(dir, out), "-hidden", "16"}
	}
	goOn := func(out string) { commandtest.Resume(t, args(out)...) }
	whole := filepath.Join(dir, "whole")
	operations := commandtest.List(t, whole, args("whole")...)
	want := files(t, whole)
	for _, name := range []string{
		"head.safetensors", "config.json", "report.json", "report.html",
		"training/metrics.jsonl", "training/report.html",
	} {
		require.Contains(t, want, name)
	}
	for i, m := range commandtest.Moments(operations, *moments) {
		out := fmt.Sprint(i)
		commandtest.Kill(t, m, args(out)...)
		goOn(out)
		require.Equal(t, want, files(t, filepath.Join(dir, out)), m.Name)
	}
	goOn("whole")
	require.Equal(t, want, files(t, whole))
}

// What is another run is refused by what differs.
func TestAnotherRun(t *testing.T) {
	samples, out := labelled(t, 60), filepath.Join(t.TempDir(), "reward")
	try := func(args ...string) error {
		o, err := parse(append([]string{"-samples", samples, "-out", out, "-hidden", "8"}, args...))
		require.NoError(t, err)
		return run(t.Context(), o)
	}
	require.NoError(t, try("-resume"))
	var exists *finetune.RunExistsError
	require.ErrorAs(t, try(), &exists)
	require.Contains(t, exists.Command, "go run ./examples/reward -samples "+samples)
	require.Contains(t, exists.Command, "-resume")
	var different *finetune.DifferentRunError
	err := try("-resume", "-lambda", "0", "-cache", filepath.Join(out, "f"))
	require.ErrorAs(t, err, &different)
	require.Equal(t, []string{"lambda was 0.5 and is 0"}, different.Differences)
	text, err := os.ReadFile(samples)
	require.NoError(t, err)
	other := strings.Replace(string(text), `"good"`, `"bad"`, 1)
	require.NoError(t, os.WriteFile(samples, []byte(other), 0o644))
	require.ErrorContains(t, try("-resume"), "sha256.labels was ")
	require.NoError(t, os.WriteFile(samples, text, 0o644))

	// A picture that has changed meanwhile is other data.
	picture, err := os.ReadFile(filepath.Join(filepath.Dir(samples), "1.png"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(filepath.Dir(samples), "0.png"), picture, 0o644))
	require.ErrorContains(t, try("-resume"), "the state is of a training on other samples")
}

// Whenever it is stopped, what it says last is true.
func TestLastWords(t *testing.T) {
	samples := labelled(t, 150)
	finished, nothing := commandtest.LastWords(t, 6, func(out string) []string {
		return []string{"-samples", samples, "-hidden", "16", "-out", out}
	})
	t.Logf("%d times there was something, %d times nothing", finished, nothing)
	require.Positive(t, finished)
}
