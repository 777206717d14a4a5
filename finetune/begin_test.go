package finetune

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is in a folder decides whether a run may begin there, or go on.
func TestBegin(t *testing.T) {
	write := func(names ...string) func(dir string) {
		return func(dir string) {
			require.NoError(t, os.Mkdir(dir, 0o755))
			for _, name := range names {
				name = filepath.Join(dir, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(name), 0o755))
				require.NoError(t, os.WriteFile(name, []byte(`{"lr":1}`), 0o644))
			}
		}
	}
	exists, different := new(*RunExistsError), new(*DifferentRunError)
	for name, c := range map[string]struct {
		make         func(dir string)
		begin, goOn  any // nil, an error to find, or a type of error
		removed, lr2 bool
	}{
		"not there":       {make: func(string) {}, removed: true},
		"empty":           {make: write(), removed: true},
		"killed at once":  {make: write(".lock", ".kudos-X.tmp")},
		"encoded":         {make: write("cache/a"), begin: exists},
		"trained":         {make: write("config.json", "metrics.jsonl"), begin: exists},
		"saved":           {make: write("checkpoints/a", "mine.txt"), begin: exists},
		"of others":       {make: write("mine.txt"), begin: fs.ErrExist, goOn: fs.ErrExist},
		"other settings":  {make: write("config.json"), begin: exists, goOn: different, lr2: true},
		"another's cache": {make: write("cached"), begin: fs.ErrExist, goOn: fs.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			for resume, want := range map[bool]any{false: c.begin, true: c.goOn} {
				dir := filepath.Join(t.TempDir(), "run")
				c.make(dir)
				lr := 1
				if c.lr2 {
					lr = 2
				}
				release, err := Begin(dir, resume, map[string]int{"lr": lr})
				switch want := want.(type) {
				case nil:
					require.NoError(t, err)
					require.FileExists(t, filepath.Join(dir, ".lock"))
					require.NoError(t, release())
				case error:
					require.ErrorIs(t, err, want)
				default:
					require.ErrorAs(t, err, want)
				}
				require.NoFileExists(t, filepath.Join(dir, ".lock"))
				if c.removed {
					require.NoDirExists(t, dir)
				}
			}
		})
	}
	_, err := Begin(filepath.Join(t.TempDir(), "a\x00b"), false, nil)
	require.Error(t, err)
}
