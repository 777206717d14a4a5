//go:build unix

package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
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

// Stopped, it leaves every line with its picture and nothing half-written.
func TestStopped(t *testing.T) {
	for _, s := range []struct {
		signal syscall.Signal
		code   int
	}{{syscall.SIGINT, 130}, {syscall.SIGKILL, -1}} {
		t.Run(s.signal.String(), func(t *testing.T) {
			out := filepath.Join(t.TempDir(), "out")
			p := commandtest.Start(t, "-model", sd1, "-model", sd1,
				"-clip", filepath.Join(sd1, "clip"), "-prompts", written(t, "p.txt", "a dog\n"),
				"-per-prompt", "5000", "-steps", "2", "-batch", "2", "-out", out)
			p.AwaitFile(t, filepath.Join(out, "base", "samples.jsonl"))
			code, last := p.End(t, s.signal)
			require.Equal(t, s.code, code, p.Stderr.String())
			samples := samplesOf(t, out, "base")
			require.NotEmpty(t, samples)
			require.Less(t, len(samples), 5000)
			require.NoFileExists(t, filepath.Join(out, "report.json"))
			if s.signal == syscall.SIGKILL {
				return
			}
			want := "evaluate: stopped; what was finished is in " + out + "; -resume goes on"
			require.Equal(t, want, last)
			nothingHidden := func(path string, d fs.DirEntry, err error) error {
				require.False(t, strings.HasPrefix(d.Name(), "."), path)
				return err
			}
			require.NoError(t, filepath.WalkDir(out, nothingHidden))
		})
	}
}

// Whenever it is stopped, what it says last is true.
func TestLastWords(t *testing.T) {
	asked := filepath.Join(t.TempDir(), "prompts.txt")
	require.NoError(t, os.WriteFile(asked, []byte("two green circles\nthree hearts\n"), 0o644))
	finished, nothing := commandtest.LastWords(t, 8, func(out string) []string {
		return []string{
			"-model", miniature, "-model", miniature, "-prompts", asked, "-steps", "9",
			"-per-prompt", "200", "-batch", "1", "-out", out,
		}
	})
	t.Logf("%d times there was something, %d times nothing", finished, nothing)
	require.Positive(t, finished)
}
