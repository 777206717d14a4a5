//go:build unix

package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

func TestMain(m *testing.M) {
	commandtest.Main(m, func() {
		commandtest.Dies()
		main()
	})
}

func TestStopped(t *testing.T) {
	for _, s := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGKILL, -1}} {
		t.Run(s.signal.String(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "run")
			p := commandtest.Start(t, "-prompt", "a red star", "-n", "5000", "-steps", "2",
				"-batch", "2", "-out", out)
			p.AwaitFile(t, filepath.Join(out, "samples.jsonl"))
			code, last := p.End(t, s.signal)
			require.Equal(t, s.code, code, p.Stderr.String())

			samples := samplesOf(t, out)
			require.NotEmpty(t, samples)
			require.Less(t, len(samples), 5000)
			if s.signal == syscall.SIGKILL {
				return
			}
			want := "generate: stopped; what was finished is in " + out + "; -resume goes on"
			require.Equal(t, want, last)
			pictures, err := os.ReadDir(filepath.Join(out, "samples"))
			require.NoError(t, err)
			require.Len(t, pictures, len(samples),
				"every picture has its line, and nothing half-written was left")
		})
	}
}

// Whenever it is stopped, what it says last is true.
func TestLastWords(t *testing.T) {
	asked := prompts(t, "a dog", "two cats")
	finished, nothing := commandtest.LastWords(t, 8, func(out string) []string {
		return []string{"-prompts", asked, "-steps", "9", "-n", "200", "-batch", "1", "-out", out}
	})
	t.Logf("%d times there was something, %d times nothing", finished, nothing)
	require.Positive(t, finished)
}
