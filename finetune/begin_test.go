package finetune

import (
	"context"
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
				run := &Run{Folder: dir, Resume: resume, Config: map[string]any{"lr": lr}}
				run.Command = "tune -resume"
				release, err := run.Begin()
				switch want := want.(type) {
				case nil:
					require.NoError(t, err)
					require.FileExists(t, filepath.Join(dir, ".lock"))
					require.NoError(t, release())
				case error:
					require.ErrorIs(t, err, want)
				default:
					require.ErrorAs(t, err, want)
					if want == exists {
						require.ErrorContains(t, err, "To resume it:\n\ttune -resume")
					}
				}
				require.NoFileExists(t, filepath.Join(dir, ".lock"))
				if c.removed {
					require.NoDirExists(t, dir)
				}
			}
		})
	}
	_, err := (&Run{Folder: filepath.Join(t.TempDir(), "a\x00b")}).Begin()
	require.Error(t, err)
}

// What is not known before time is taken is compared when it is, and then written down.
func TestSettle(t *testing.T) {
	dir := t.TempDir()
	settle := func(resume bool, config map[string]any, late any) error {
		run := &Run{Folder: dir, Resume: resume, Config: config, MayChange: []string{"steps"}}
		release, err := run.Begin()
		if err != nil {
			return err
		}
		defer func() { require.NoError(t, release()) }()
		config["hashes"] = late
		return run.Settle()
	}
	config := func(steps int) map[string]any { return map[string]any{"lr": 1, "steps": steps} }
	require.NoError(t, settle(false, config(1), "a"))
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"lr": 1, "steps": 1, "hashes": "a"}`, string(text))
	require.ErrorAs(t, settle(false, config(1), "a"), new(*RunExistsError))
	require.NoError(t, settle(true, config(2), "a"))
	var different *DifferentRunError
	require.ErrorAs(t, settle(true, config(3), "b"), &different)
	require.Equal(t, []string{`hashes was "a" and is "b"`}, different.Differences)
	now, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.JSONEq(t, `{"lr": 1, "steps": 1, "hashes": "a"}`, string(now), "it is what it was")

	// A run without settings has none to differ in.
	run := &Run{Folder: dir, Resume: true}
	release, err := run.Begin()
	require.NoError(t, err)
	require.NoError(t, run.Settle())
	require.NoError(t, release())
	again, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.Equal(t, now, again)
}

// Do holds the folder while something is done, and begins nothing that may not be.
func TestDo(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "run")
	run := &Run{Folder: dir, Config: map[string]any{"lr": 1}}
	run.Command = "tune -resume"
	err := run.Do(t.Context(), func() error {
		require.FileExists(t, filepath.Join(dir, ".lock"))
		require.FileExists(t, filepath.Join(dir, "config.json"))
		return fs.ErrInvalid
	})
	require.ErrorIs(t, err, fs.ErrInvalid)
	require.ErrorContains(t, err, "This goes on from what is in "+dir+":\n\ttune -resume")
	require.NoFileExists(t, filepath.Join(dir, ".lock"))
	never := func() error { t.Error("it was begun"); return nil }
	require.ErrorAs(t, run.Do(t.Context(), never), new(*RunExistsError))
	run.Resume, run.Config = true, map[string]any{"lr": 2}
	require.ErrorAs(t, run.Do(t.Context(), never), new(*DifferentRunError))

	run.Config = map[string]any{"lr": 1}
	require.NoError(t, run.Do(t.Context(), func() error { return nil }))
	ctx, cancel := context.WithCancel(t.Context())
	err = run.Do(ctx, func() error { cancel(); return ctx.Err() })
	require.EqualError(t, err, context.Canceled.Error())
}
