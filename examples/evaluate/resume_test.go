//go:build unix

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
	"github.com/kudos-ml/kudos/finetune"
)

// moments is how many times each kind of run is killed: few in go test ./..., 20 to be sure.
var moments = flag.Int("moments", 5, "moments at which a run is killed")

// files are those of a run, but for what is there only to go on. The page's command names the
// folder.
func files(t *testing.T, dir string) map[string]string {
	all := commandtest.Files(t, dir, func(name string) bool {
		return name != "config.json" && !strings.HasPrefix(name, "cache/")
	})
	all["report.html"] = strings.ReplaceAll(all["report.html"], dir, "OUT")
	return all
}

// Killed at any moment and resumed, a run leaves bit for bit what it would have left.
func TestKilled(t *testing.T) {
	dir, reward := t.TempDir(), learned(t)
	args := func(out string) []string {
		return []string{
			"-model", miniature, "-model", miniature, "-prompts",
			filepath.Join(dir, "prompts.txt"), "-reward", reward, "-steps", "1", "-guidance", "1",
			"-n", "3", "-batch", "3", "-out", filepath.Join(dir, out),
		}
	}
	text := []byte("two green circles\nthree hearts\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "prompts.txt"), text, 0o644))
	goOn := func(out string) { commandtest.Resume(t, args(out)...) }
	whole := filepath.Join(dir, "whole")
	operations := commandtest.List(t, whole, args("whole")...)
	want := files(t, whole)
	require.Len(t, want, 5+9+5+5+2)
	require.Contains(t, want["report.html"], "-out OUT")
	require.NotContains(t, want["report.html"], "-resume")
	for i, m := range commandtest.Moments(operations, *moments) {
		out := fmt.Sprint(i)
		commandtest.Kill(t, m, args(out)...)
		if i%4 == 3 { // and once more, while it goes on
			again := commandtest.Moment{Operation: 4, Name: "again"}
			commandtest.Kill(t, again, append(args(out), "-resume")...)
		}
		goOn(out)
		require.Equal(t, want, files(t, filepath.Join(dir, out)), m.Name)
	}
	p := commandtest.Start(t, args("stopped")...)
	p.AwaitFile(t, filepath.Join(dir, "stopped", "base", "samples.jsonl"))
	_ = p.Process.Signal(os.Interrupt) // or it has ended
	p.Wait()
	goOn("stopped")
	require.Equal(t, want, files(t, filepath.Join(dir, "stopped")))
	before := commandtest.Files(t, whole, func(string) bool { return true })
	goOn("whole")
	after := commandtest.Files(t, whole, func(string) bool { return true })
	require.Equal(t, before, after, "what is scored and encoded is not again")
}

// What is another run is refused by what differs, a picture that is not what it was by its line.
func TestAnotherRun(t *testing.T) {
	dir := t.TempDir()
	out, prompts := filepath.Join(dir, "out"), filepath.Join(dir, "prompts.txt")
	require.NoError(t, os.WriteFile(prompts, []byte("a dog\ntwo cats\n"), 0o644))
	adapter := filepath.Join(dir, "adapter.safetensors")
	copied := func(from string) {
		text, err := os.ReadFile(filepath.Join(sd1, "lora", from))
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(adapter, text, 0o644))
	}
	copied("kohya.safetensors")
	common := []string{
		"-model", sd1, "-lora", adapter, "-clip", filepath.Join(sd1, "clip"), "-prompts", prompts,
		"-steps", "1", "-out", out,
	}
	try := func(args ...string) error {
		o, err := parse(t.Context(), append(slices.Clone(common), args...))
		require.NoError(t, err)
		return run(t.Context(), o)
	}
	require.NoError(t, try("-resume"), "where there is nothing to go on from it begins")
	var exists *finetune.RunExistsError
	require.ErrorAs(t, try(), &exists)
	require.Contains(t, exists.Command, "-out "+out+" -resume")
	for want, args := range map[string][]string{
		"steps was 1 and is 2":        {"-steps", "2"},
		"batch was 0 and is 1":        {"-batch", "1"},
		"per-prompt was 2 and is 3":   {"-per-prompt", "3"},
		"model.2 was not there":       {"-model", sd1},
		"lora-scale was 1 and is 2":   {"-lora-scale", "2"},
		"negative was \"\" and is \"": {"-negative", "x"},
	} {
		err := try(append(args, "-resume")...)
		require.ErrorAs(t, err, new(*finetune.DifferentRunError))
		require.ErrorContains(t, err, want)
	}
	copied("pytorch_lora_weights.safetensors")
	require.ErrorContains(t, try("-resume"), "sha256.models.tuned.lora was ")
	copied("kohya.safetensors")

	want := files(t, out)
	gone := filepath.Join(out, "tuned", "samples", "00002.png")
	require.NoError(t, os.Remove(gone))
	err := try("-resume")
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, filepath.Join(out, "tuned", "samples.jsonl")+":3: ")
	lines := strings.SplitAfter(want["tuned/samples.jsonl"], "\n")
	require.NoError(t, os.WriteFile(filepath.Join(out, "tuned", "samples.jsonl"),
		[]byte(strings.Join(lines[:2], "")), 0o644))
	require.NoError(t, try("-resume"))
	require.Equal(t, want, files(t, out))
	there, err := dataset.Verify(t.Context(), filepath.Join(out, "tuned"))
	require.NoError(t, err)
	require.Len(t, there, 4)
}
