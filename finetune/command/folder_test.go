package command_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/command"
)

// A counting context counts how often it is asked, as it is for every folder that is read.
type counting struct {
	context.Context
	asked *int
}

func (c counting) Err() error {
	*c.asked++
	return c.Context.Err()
}

// A folder whose leavings are said is read as often as another: once.
func TestFolderIsReadOnce(t *testing.T) {
	dir := t.TempDir()
	for i := range 5 {
		name := filepath.Join(dir, fmt.Sprint(i))
		require.NoError(t, os.Mkdir(name, 0o755))
		require.NoError(t, os.WriteFile(name+"/1.png", []byte("x"), 0o644))
		require.NoError(t, os.WriteFile(name+"/1.txt", []byte("a dog"), 0o644))
	}
	read := func(d dataset.Dataset) (asked int) {
		samples, err := dataset.Collect(counting{t.Context(), &asked}, d)
		require.NoError(t, err)
		require.Len(t, samples, 5)
		return asked
	}
	once := read(dataset.Folder{Path: dir})
	require.GreaterOrEqual(t, once, 6)
	require.Equal(t, once, read(command.Folder(dir, t.Logf)))
}

// What of a folder is not read is said, once.
func TestFolder(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"1.png", "1.txt", "2.bmp", "2.gif", "2.txt"} {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte("a dog"), 0o644))
	}
	said := ""
	printf := func(format string, args ...any) { said += fmt.Sprintf(format, args...) + "\n" }
	folder := command.Folder(dir, printf)
	require.Empty(t, said)
	for range 2 {
		samples, err := dataset.Collect(t.Context(), folder)
		require.NoError(t, err)
		require.Equal(t, []dataset.Sample{{ID: "1.png", Prompt: "a dog", File: "1.png"}}, samples)
	}
	require.Equal(t, dir+": 2 files with captions were not read: 2.bmp, 2.gif.\n", said)
	_, err := dataset.Collect(t.Context(), command.Folder(filepath.Join(dir, "gone"), printf))
	require.ErrorIs(t, err, os.ErrNotExist)
}
