//go:build unix

package main

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file"
)

// Whatever cannot be written, all that was made before is there, the error says how to go on, and
// going on makes none of it again.
func TestLastWriteFails(t *testing.T) {
	dir, full := t.TempDir(), errors.New("disk full")
	asked := filepath.Join(dir, "prompts.txt")
	require.NoError(t, os.WriteFile(asked, []byte("two green circles\nthree hearts\n"), 0o644))
	try := func(out string, more ...string) error {
		o, err := parse(t.Context(), append([]string{
			"-model", miniature, "-model", miniature, "-prompts", asked, "-steps", "1",
			"-guidance", "1", "-out", filepath.Join(dir, out),
		}, more...))
		require.NoError(t, err)
		return run(t.Context(), o)
	}
	require.NoError(t, try("whole"))
	for _, fails := range []string{"report.html", "report.json", "tuned/samples/00001.png"} {
		out := strings.ReplaceAll(fails, "/", "-")
		at := filepath.Join(dir, out, filepath.FromSlash(fails))
		file.Before = func(operation, name string) error {
			if name == at && operation == "rename" {
				return full
			}
			return nil
		}
		err := try(out)
		file.Before = nil
		require.ErrorIs(t, err, full)
		require.ErrorContains(t, err, "This goes on from what is in "+filepath.Join(dir, out))
		before, err := os.Stat(filepath.Join(dir, out, "base", "samples", "00001.png"))
		require.NoError(t, err)
		require.NoError(t, try(out, "-resume"))
		after, err := os.Stat(filepath.Join(dir, out, "base", "samples", "00001.png"))
		require.NoError(t, err)
		require.Equal(t, before.ModTime(), after.ModTime(), "it was painted again")
		require.Equal(t, files(t, filepath.Join(dir, "whole")), files(t, filepath.Join(dir, out)))
	}
}
