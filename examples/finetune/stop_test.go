//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/weights"
)

// The test binary is finetune itself when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("BE_FINETUNE") == "" {
		os.Exit(m.Run())
	}
	main()
	os.Exit(0)
}

// Stopped while it trains, the program saves what was trained under a name that says so; before, it leaves nothing.
func TestStopped(t *testing.T) {
	p := at(t)
	stop := func(out string, when func() bool, args ...string) (last string) {
		var stderr bytes.Buffer
		c := exec.CommandContext(t.Context(), os.Args[0], p.args(out, args...)...)
		c.Env = append(os.Environ(), "BE_FINETUNE=1")
		c.Stderr = &stderr
		require.NoError(t, c.Start())
		require.Eventually(t, when, 5*time.Minute, time.Millisecond)
		require.NoError(t, c.Process.Signal(syscall.SIGINT))
		c.Wait() //nolint:errcheck // the exit code is what it would say
		require.Equal(t, 130, c.ProcessState.ExitCode(), stderr.String())
		lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
		return lines[len(lines)-1]
	}
	begun := func(name string) func() bool {
		return func() bool {
			info, err := os.Stat(p.out(name))
			return err == nil && (info.IsDir() || info.Size() > 0)
		}
	}
	last := stop("full", begun("full/metrics.jsonl"), "-steps", "100000")
	var summary struct {
		Steps   int
		Stopped string
	}
	require.NoError(t, json.Unmarshal([]byte(files(t, p.out("full"))["report.json"]), &summary))
	require.NotEmpty(t, summary.Stopped)
	dir := p.out("full/stopped-after-" + strconv.Itoa(summary.Steps))
	require.Equal(t, "finetune: stopped; what "+strconv.Itoa(summary.Steps)+" updates have made is in "+dir, last)
	require.NotEqual(t, weights.Hash(load(t, p.model).UNet), weights.Hash(load(t, dir).UNet))
	require.NoDirExists(t, p.out("full/unfinished"))
	require.Len(t, strings.Split(strings.TrimSpace(files(t, p.out("full"))["metrics.jsonl"]), "\n"), summary.Steps)

	last = stop("lora", begun("lora/metrics.jsonl"), "-steps", "100000", "-lora-rank", "2")
	found, err := filepath.Glob(p.out("lora/stopped-after-*/pytorch_lora_weights.safetensors"))
	require.NoError(t, err)
	require.Len(t, found, 1)
	require.Contains(t, last, filepath.Dir(found[0]))

	require.Equal(t, "finetune: stopped; nothing was trained", stop("early", begun("early"), "-steps", "100000"))
	require.NoDirExists(t, p.out("early"))
}
