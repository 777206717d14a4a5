//go:build unix

package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The test binary is generate itself when it is asked to.
func TestMain(m *testing.M) {
	if os.Getenv("BE_GENERATE") == "" {
		os.Exit(m.Run())
	}
	main()
	os.Exit(0)
}

func TestStopped(t *testing.T) {
	for _, s := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGKILL, -1}} {
		t.Run(s.signal.String(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			var stderr bytes.Buffer
			c := exec.CommandContext(t.Context(), os.Args[0], "-prompt", "a red star", "-n", "5000", "-steps", "2", "-batch", "2", "-out", out)
			c.Env = append(os.Environ(), "BE_GENERATE=1")
			c.Stderr = &stderr
			require.NoError(t, c.Start())
			require.Eventually(t, func() bool {
				info, err := os.Stat(filepath.Join(out, "samples.jsonl"))
				return err == nil && info.Size() > 0
			}, 5*time.Minute, 5*time.Millisecond)
			require.NoError(t, c.Process.Signal(s.signal))
			c.Wait() //nolint:errcheck // the exit code is what it would say
			require.Equal(t, s.code, c.ProcessState.ExitCode(), stderr.String())

			samples := samplesOf(t, out)
			require.NotEmpty(t, samples)
			require.Less(t, len(samples), 5000)
			if s.signal == syscall.SIGKILL {
				return
			}
			lines := strings.Split(strings.TrimSpace(stderr.String()), "\n")
			require.Equal(t, "generate: stopped; what was finished is in "+out, lines[len(lines)-1])
			pictures, err := os.ReadDir(filepath.Join(out, "samples"))
			require.NoError(t, err)
			require.Len(t, pictures, len(samples), "every picture has its line, and nothing half-written was left")
		})
	}
}
