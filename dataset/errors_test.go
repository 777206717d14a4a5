package dataset_test

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

// Whatever reads lines says by a LineError which of them is wrong.
func TestLineError(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
		return path
	}
	collect := func(d dataset.Dataset) error {
		_, err := dataset.Collect(t.Context(), d)
		return err
	}
	prompts := func(path string) error {
		_, err := dataset.ReadPrompts(t.Context(), path)
		return err
	}
	const good, bad = `{"prompt":"a dog"}` + "\n\n", `{"prompt":""}` + "\n"
	samples := write("samples.jsonl", good+bad)
	checked := write("checked.jsonl", good+good)
	lines := write("prompts.txt", "a dog\n\nein gr\xfcner Hund\n")
	gone := write("gone.jsonl", good+`{"prompt":"a cat","file":"gone.png"}`)
	metadata := write("imagefolder/metadata.jsonl",
		`{"file_name":"a.png","text":"a dog"}`+"\n\n"+`{"file_name":"b.png"}`)
	write("imagefolder/a.png", "not looked at")
	refused := errors.New("refused")
	check := func(dataset.Sample) error { return refused }
	long := strings.NewReader(good + `{"prompt":"` + strings.Repeat("x", 1<<20) + `"}`)

	for _, c := range []struct {
		err    error
		file   string
		line   int
		reason string
	}{
		{collect(dataset.File{Path: samples}), samples, 3, "the prompt is missing"},
		{collect(dataset.File{Path: checked, Check: check}), checked, 1, "refused"},
		{collect(dataset.File{Path: gone, Images: true}), gone, 3, "picture: stat "},
		{collect(dataset.Folder{Path: filepath.Dir(metadata)}), metadata, 3, "text, the caption"},
		{prompts(samples), samples, 3, "the prompt is missing"},
		{prompts(lines), lines, 3, "the line is not UTF-8"},
		{read(long, "long.jsonl"), "long.jsonl", 3, "the line has more than 1048576 bytes"},
	} {
		var line *dataset.LineError
		require.ErrorAs(t, c.err, &line)
		require.Equal(t, c.file, line.File)
		require.Equal(t, c.line, line.Line)
		require.ErrorContains(t, line.Err, c.reason)
	}
	require.ErrorIs(t, collect(dataset.File{Path: gone, Images: true}), fs.ErrNotExist)
	require.ErrorIs(t, collect(dataset.File{Path: checked, Check: check}), refused)
}

// read returns the error that ends a JSONL text.
func read(text *strings.Reader, name string) (err error) {
	for _, err = range dataset.Read(text, name) {
	}
	return err
}

// What is no line's fault is no LineError: a file that is not there, and a context that has ended.
func TestNoLineError(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "metadata.jsonl")
	text := `{"file_name":"a.png","text":"a dog"}`
	require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for _, d := range []dataset.Dataset{
		dataset.File{Path: filepath.Join(dir, "gone.jsonl")},
		dataset.Folder{Path: dir},
	} {
		_, err := dataset.Collect(ended, d)
		require.Error(t, err)
		var line *dataset.LineError
		require.False(t, errors.As(err, &line), err)
	}
}

// A prompt that the grammar does not have is told by its words.
func TestPromptError(t *testing.T) {
	for _, want := range []dataset.PromptError{
		{Prompt: "Nine dogs", Words: "nine", Part: "number"},
		{Prompt: "two green cats", Words: "cats", Part: "object"},
		{Prompt: "a dog at home", Words: "at home", Part: "background"},
	} {
		_, err := grammar.Parse(want.Prompt)
		var got *dataset.PromptError
		require.ErrorAs(t, err, &got)
		require.Equal(t, want, *got)
		_, err = grammar.Perturb(want.Prompt, 1, rand.New(rand.NewPCG(1, 0)))
		require.ErrorAs(t, err, &got)
		require.Equal(t, want, *got)
	}
}
