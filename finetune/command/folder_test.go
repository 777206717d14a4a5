package command_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/command"
)

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
