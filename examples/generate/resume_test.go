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

// moments is how many times each kind of run is killed: few in go test ./..., 20 to be sure.
var moments = flag.Int("moments", 4, "moments at which a run is killed")

// files are those of a run, but for what is there only to go on.
func files(t *testing.T, dir string) map[string]string {
	return commandtest.Files(t, dir, func(name string) bool { return name != "config.json" })
}

// Killed at any moment and resumed, a run leaves bit for bit what it would have left: of the best
// of 3 in batches of 4 too, where what one picture is chosen from lies in two batches.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	common := []string{
		"-model", sd1, "-prompts", prompts(t, "a dog", "two cats"), "-steps", "2", "-n", "4",
		"-batch", "4",
	}
	for name, more := range map[string][]string{
		"pictures": {"-lora", filepath.Join(sd1, "lora", "kohya.safetensors")},
		"best of":  {"-best-of", "3", "-reward", learned(t), "-clip", filepath.Join(sd1, "clip")},
	} {
		t.Run(name, func(t *testing.T) {
			args := func(out string) []string {
				return append(append([]string{"-out", filepath.Join(dir, out)}, common...), more...)
			}
			goOn := func(out string) { commandtest.Resume(t, args(out)...) }
			whole := filepath.Join(dir, name, "whole")
			operations := commandtest.List(t, whole, args(name+"/whole")...)
			want := files(t, whole)
			require.Len(t, want, 8+1)
			for i, m := range commandtest.Moments(operations, *moments) {
				out := fmt.Sprint(name, "/", i)
				commandtest.Kill(t, m, args(out)...)
				goOn(out)
				require.Equal(t, want, files(t, filepath.Join(dir, out)), m.Name)
			}
			p := commandtest.Start(t, args(name+"/stopped")...)
			p.AwaitFile(t, filepath.Join(dir, name, "stopped", "samples.jsonl"))
			_ = p.Process.Signal(os.Interrupt) // or it has ended
			p.Wait()
			goOn(name + "/stopped")
			require.Equal(t, want, files(t, filepath.Join(dir, name, "stopped")))
			goOn(name + "/whole")
			require.Equal(t, want, files(t, whole))
		})
	}
}

// What is another run is refused by what differs, a picture that is not what it was by its line.
func TestAnotherRun(t *testing.T) {
	out, list := filepath.Join(t.TempDir(), "run"), prompts(t, "a dog", "two cats")
	try := func(args ...string) error {
		common := []string{"-model", sd1, "-prompts", list, "-steps", "1", "-out", out}
		o, err := parse(t.Context(), append(common, args...))
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
		"n was 1 and is 2":            {"-n", "2"},
		"seed was 1 and is 2":         {"-seed", "2"},
		`sampler was "" and is "ddim`: {"-sampler", "ddim"},
		"guidance was 7.5 and is 2":   {"-guidance", "2"},
	} {
		err := try(append(args, "-resume")...)
		require.ErrorAs(t, err, new(*finetune.DifferentRunError))
		require.ErrorContains(t, err, want)
	}
	text, err := os.ReadFile(list)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(list, []byte("a dog\nthree cats\n"), 0o644))
	require.ErrorContains(t, try("-resume"), "sha256.prompts was ")
	require.NoError(t, os.WriteFile(list, text, 0o644))

	want := files(t, out)
	first := filepath.Join(out, "samples", "00000.png")
	require.NoError(t, os.WriteFile(first, []byte(want["samples/00001.png"]), 0o644))
	require.ErrorContains(t, try("-resume"), filepath.Join(out, "samples.jsonl")+
		":1: samples/00000.png is another picture")
	require.NoError(t, os.Remove(first))
	require.ErrorIs(t, try("-resume"), os.ErrNotExist)
	require.NoError(t, os.WriteFile(filepath.Join(out, "samples.jsonl"), nil, 0o644))
	require.NoError(t, try("-resume"))
	require.Equal(t, want, files(t, out))

	other := filepath.Join(out, "samples")
	o, err := parse(t.Context(), []string{"-prompt", "a", "-out", other, "-resume"})
	require.NoError(t, err)
	require.ErrorContains(t, run(t.Context(), o), "the folder is not empty")
}

// prompts is a file of some.
func prompts(t *testing.T, lines ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "prompts.txt")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	return file
}
