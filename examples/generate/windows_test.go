//go:build unix

package main

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/file/filetest"
)

// A whole run, and one that is resumed, do nothing with files that Windows refuses.
func TestWindows(t *testing.T) {
	dir := t.TempDir()
	asked := prompts(t, "a dog", "con: two cats?")
	filetest.Windows(t)
	for _, more := range [][]string{{"-n", "2"}, {"-n", "2", "-resume"}} {
		o, err := parse(t.Context(), append([]string{
			"-model", sd1, "-prompts", asked, "-steps", "1", "-out", filepath.Join(dir, "run"),
		}, more...))
		require.NoError(t, err)
		require.NoError(t, run(t.Context(), o))
	}
	filetest.Names(t, dir)
}

// A disk without the room for all pictures is said before the first is made, and what is there
// needs none any more.
func TestPicturesNeedRoom(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	defer func(was func(string) (int64, bool)) { file.Free = was }(file.Free)
	for _, c := range []struct {
		pictures string
		free     int64
		enough   bool
	}{{"3", 3*32*32*3/2 - 1, false}, {"2", 2 * 32 * 32 * 3 / 2, true}} {
		file.Free = func(string) (int64, bool) { return c.free, true }
		o, err := parse(t.Context(), []string{
			"-model", sd1, "-prompt", "a dog", "-steps", "1", "-n", c.pictures, "-out", out,
			"-width", "32", "-height", "32",
		})
		require.NoError(t, err)
		err = run(t.Context(), o)
		if c.enough {
			require.NoError(t, err)
		} else {
			require.ErrorContains(t, err, "the pictures need 4.50KiB on the disk of "+out)
			require.NoFileExists(t, filepath.Join(out, "samples.jsonl"))
		}
	}
}

// A picture that cannot be written costs none of those before it, and the error says how to go on.
func TestLastWriteFails(t *testing.T) {
	dir, full := t.TempDir(), errors.New("disk full")
	try := func(out string, more ...string) error {
		o, err := parse(t.Context(), append([]string{
			"-model", sd1, "-prompt", "a dog", "-steps", "1", "-n", "4", "-batch", "2", "-out",
			filepath.Join(dir, out),
		}, more...))
		require.NoError(t, err)
		return run(t.Context(), o)
	}
	require.NoError(t, try("whole"))
	for _, fails := range []string{"samples/00002.png", "samples.jsonl", "config.json"} {
		out := strings.ReplaceAll(fails, "/", "-")
		at, n := filepath.Join(dir, out, filepath.FromSlash(fails)), 0
		file.Before = func(operation, name string) error {
			if name != at || operation != "rename" && operation != "append" {
				return nil
			}
			if n++; operation == "append" && n < 3 {
				return nil
			}
			return full
		}
		err := try(out)
		file.Before = nil
		require.ErrorIs(t, err, full)
		if fails == "config.json" { // nothing was made, and nothing is in the way
			require.NotContains(t, err.Error(), "goes on")
			require.NoError(t, try(out))
		} else {
			require.ErrorContains(t, err, "This goes on from what is in "+filepath.Join(dir, out))
			there := files(t, filepath.Join(dir, out))
			require.Contains(t, there, "samples/00001.png")
			require.NoError(t, try(out, "-resume"))
		}
		require.Equal(t, files(t, filepath.Join(dir, "whole")), files(t, filepath.Join(dir, out)))
	}
}
