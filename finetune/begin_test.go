package finetune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is in a folder decides whether a run may begin there, or go on.
func TestBegin(t *testing.T) {
	// write makes a folder with files, and with empty folders, which have a / at their end.
	write := func(names ...string) func(dir string) {
		return func(dir string) {
			require.NoError(t, os.Mkdir(dir, 0o755))
			for _, name := range names {
				path := filepath.Join(dir, name)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				if strings.HasSuffix(name, "/") {
					require.NoError(t, os.MkdirAll(path, 0o755))
					continue
				}
				text := []byte(`{"lr":1,"program":"tune"}`)
				require.NoError(t, os.WriteFile(path, text, 0o644))
			}
		}
	}
	exists, different := new(*RunExistsError), new(*DifferentRunError)
	for name, c := range map[string]struct {
		make        func(dir string)
		begin, goOn any // nil, an error to find, or a type of error
		lr          int
		program     string
	}{
		"not there":      {make: func(string) {}},
		"empty":          {make: write()},
		"of empty ones":  {make: write("samples/", "a/b/")},
		"of a system":    {make: write(".DS_Store", "._a", "Thumbs.db", "lost+found/")},
		"killed at once": {make: write(".lock", ".kudos-X.tmp")},
		"encoded":        {make: write("cache/a", "unfinished/vae/a")},
		"put right":      {make: write("config.json", "cache/a", "samples/"), lr: 2},
		"trained":        {make: write("config.json", "metrics.jsonl"), begin: exists},
		"saved":          {make: write("checkpoints/a", "mine.txt"), begin: exists},
		"generated":      {make: write("config.json", "samples/a"), begin: exists},
		"of others":      {make: write("mine.txt"), begin: fs.ErrExist, goOn: fs.ErrExist},
		"unfinished":     {make: write("unfinished/a"), begin: fs.ErrExist, goOn: fs.ErrExist},
		"other settings": {
			make: write("config.json", "metrics.jsonl"), begin: exists, goOn: different, lr: 2,
		},
		"another program's": {
			make: write("config.json"), begin: exists, goOn: different, program: "draw",
		},
		"another's cache": {make: write("cached"), begin: fs.ErrExist, goOn: fs.ErrExist},
	} {
		t.Run(name, func(t *testing.T) {
			for resume, want := range map[bool]any{false: c.begin, true: c.goOn} {
				dir := filepath.Join(t.TempDir(), "run")
				c.make(dir)
				before := namesIn(t, dir)
				run := &Run{Folder: dir, Resume: resume, Command: "tune -resume"}
				run.Config = map[string]any{
					"lr": max(1, c.lr), "program": cmp.Or(c.program, "tune"),
				}
				release, err := run.Begin()
				switch want := want.(type) {
				case nil:
					require.NoError(t, err)
					require.FileExists(t, filepath.Join(dir, ".lock"))
					require.NoError(t, run.Settle())
					require.NoError(t, release())
					require.NotContains(t, namesIn(t, dir), "unfinished/vae/a")
					text, err := os.ReadFile(filepath.Join(dir, "config.json"))
					require.NoError(t, err)
					require.Regexp(t, fmt.Sprint(`"lr": ?`, max(1, c.lr)), string(text))
				case error:
					require.ErrorIs(t, err, want)
				default:
					require.ErrorAs(t, err, want)
					if want == exists {
						require.ErrorContains(t, err, "To resume it:\n\ttune -resume")
					}
				}
				require.NoFileExists(t, filepath.Join(dir, ".lock"))
				if want != nil {
					require.Equal(t, before, namesIn(t, dir))
				}
			}
		})
	}
	_, err := (&Run{Folder: filepath.Join(t.TempDir(), "a\x00b")}).Begin()
	require.Error(t, err)
}

// namesIn are the files in a folder, without what a lock leaves.
func namesIn(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all := map[string]bool{}
	if _, err := os.Stat(dir); err != nil {
		return all
	}
	visit := func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all[name] = true
		}
		return err
	}
	require.NoError(t, fs.WalkDir(os.DirFS(dir), ".", visit))
	return all
}

// What was there before a run stays, where the run leaves nothing: an empty folder, or a link to
// one. What the run has made itself goes.
func TestReleaseRemovesWhatBeginHasMade(t *testing.T) {
	dir := t.TempDir()
	empty, link := filepath.Join(dir, "empty"), filepath.Join(dir, "link")
	fresh := filepath.Join(dir, "fresh")
	require.NoError(t, os.Mkdir(empty, 0o755))
	if err := os.Symlink(empty, link); err != nil {
		t.Skip("there are no links here")
	}
	for _, folder := range []string{empty, link, fresh} {
		release, err := (&Run{Folder: folder}).Begin()
		require.NoError(t, err)
		require.FileExists(t, filepath.Join(folder, ".lock"))
		require.NoError(t, release())
	}
	require.DirExists(t, empty)
	to, err := os.Readlink(link)
	require.NoError(t, err)
	require.Equal(t, empty, to)
	require.NoDirExists(t, fresh)

	require.NoError(t, os.Remove(empty))
	_, err = (&Run{Folder: link}).Begin()
	require.ErrorContains(t, err, link+" is a link to "+empty+", which is no folder")
}

// How a run goes on is said once, and where there is something to go on from.
func TestGoesOn(t *testing.T) {
	dir := t.TempDir()
	run := &Run{Folder: dir, Command: "tune -resume"}
	broken := errors.New("broken")
	require.Equal(t, broken, run.GoesOn(t.Context(), broken), "nothing is there")
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "cache"), 0o777))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "cache", "a"), []byte("a"), 0o666))
	err := run.GoesOn(t.Context(), broken)
	require.ErrorIs(t, err, broken)
	require.EqualError(t, err, "broken\nThis goes on from what is in "+dir+":\n\ttune -resume")
	require.Equal(t, err, run.GoesOn(t.Context(), err))
	require.NoError(t, run.GoesOn(t.Context(), nil))
	different := &DifferentRunError{Folder: dir}
	require.Equal(t, different, run.GoesOn(t.Context(), different))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.Equal(t, broken, run.GoesOn(ctx, broken))
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
