//go:build unix

package main

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test binary is evaluate itself when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("BE_EVALUATE") == "" {
		os.Exit(m.Run())
	}
	main()
	os.Exit(0)
}

// Stopped, it leaves every line with its picture and nothing half-written.
func TestStopped(t *testing.T) {
	for _, s := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGKILL, -1}} {
		t.Run(s.signal.String(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			var stderr bytes.Buffer
			c := exec.CommandContext(t.Context(), os.Args[0], "-model", sd1, "-model", sd1, "-clip", filepath.Join(sd1, "clip"),
				"-prompts", written(t, "p.txt", "a dog\n"), "-per-prompt", "5000", "-steps", "2", "-batch", "2", "-out", out)
			c.Env = append(os.Environ(), "BE_EVALUATE=1")
			c.Stderr = &stderr
			require.NoError(t, c.Start())
			require.Eventually(t, func() bool {
				info, err := os.Stat(filepath.Join(out, "base", "samples.jsonl"))
				return err == nil && info.Size() > 0
			}, 5*time.Minute, 5*time.Millisecond)
			require.NoError(t, c.Process.Signal(s.signal))
			c.Wait() //nolint:errcheck // the exit code is what it would say
			require.Equal(t, s.code, c.ProcessState.ExitCode(), stderr.String())
			samples := samplesOf(t, out, "base")
			require.NotEmpty(t, samples)
			require.Less(t, len(samples), 5000)
			require.NoFileExists(t, filepath.Join(out, "report.json"))
			if s.signal == syscall.SIGKILL {
				return
			}
			require.True(t, strings.HasSuffix(strings.TrimSpace(stderr.String()), "evaluate: stopped; what was finished is in "+out), stderr.String())
			require.NoError(t, filepath.WalkDir(out, func(path string, d fs.DirEntry, err error) error {
				require.False(t, strings.HasPrefix(d.Name(), "."), path)
				return err
			}))
		})
	}
}
