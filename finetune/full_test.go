//go:build unix

package finetune_test

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/internal/file"
)

// fills makes writing fail as on a disk on which there is room for so many checkpoints and results
// in a run's folder, whole or not.
func fills(t *testing.T, dir string, room int) {
	t.Helper()
	file.Before = func(operation, name string) error {
		if operation != "write" {
			return nil
		}
		there, err := filepath.Glob(filepath.Join(dir, "checkpoints", "*"))
		require.NoError(t, err)
		hidden, err := filepath.Glob(filepath.Join(dir, "checkpoints", ".kudos-*"))
		require.NoError(t, err)
		results, err := filepath.Glob(filepath.Join(dir, "unfinished"))
		require.NoError(t, err)
		rel, err := filepath.Rel(dir, name)
		require.NoError(t, err)
		ours := strings.HasPrefix(rel, "checkpoints") || strings.HasPrefix(rel, "unfinished")
		all := map[string]bool{}
		for _, one := range append(append(there, hidden...), results...) {
			all[one] = true
		}
		if ours && len(all) > room {
			return syscall.ENOSPC
		}
		return nil
	}
	t.Cleanup(func() { file.Before = nil })
}

// On a disk that is nearly full earlier checkpoints make room for later ones, and for the result.
// The latest that is whole stays in any case.
func TestCheckpointsMakeRoom(t *testing.T) {
	for room, want := range map[int]string{
		2: "",                                       // the latest, and the next one beside it
		1: "the last is that of 3 steps: a run can", // no next one
	} {
		dir := t.TempDir()
		fills(t, dir, room)
		run := &finetune.Run{Folder: dir, Every: 3, Progress: io.Discard, Command: "toy -resume"}
		y := newToy(t, toySteps)
		save := func(to string) error {
			return file.WriteBytes(filepath.Join(to, "result"), []byte("result"))
		}
		left, err := run.Finish(context.Background(), y, save)
		if want == "" {
			require.NoError(t, err)
			require.Equal(t, "what 10 updates have made is in "+filepath.Join(dir, "tuned"), left)
			require.FileExists(t, filepath.Join(dir, "tuned", "result"))
			entries, err := os.ReadDir(filepath.Join(dir, "checkpoints"))
			require.NoError(t, err)
			require.Len(t, entries, 1, "the latest")
			require.Equal(t, "step-000010", entries[0].Name())
			continue
		}
		require.ErrorIs(t, err, syscall.ENOSPC)
		require.ErrorContains(t, err, want)
		require.DirExists(t, filepath.Join(dir, "checkpoints", "step-000003"))
		require.NoDirExists(t, filepath.Join(dir, "tuned"))
	}
}
