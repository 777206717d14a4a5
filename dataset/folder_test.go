package dataset

import (
	"context"
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/picture"
)

// inFolder makes a folder of files by name; names of pictures make pictures as wide as their text
// is long.
func inFolder(t *testing.T, files map[string]string) Folder {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if filepath.Ext(name) == ".png" && text != "broken" && text != "" {
			img := image.NewGray(image.Rect(0, 0, len(text), 1))
			require.NoError(t, picture.WritePNG(path, img))
			continue
		}
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return Folder{Path: dir, Images: true}
}

func TestFoldersOfEveryForm(t *testing.T) {
	type row struct {
		prompt, file string
		width        int
	}
	both := []row{{"a dog", "a.png", 3}, {"two dogs", "sub/b.png", 5}}
	for name, files := range map[string]map[string]string{
		"captions": {
			"a.png": "xxx", "a.txt": "\ufeffa dog\n",
			"sub/b.png": "xxxxx", "sub/b.txt": "  two dogs \r\n",
			"notes.txt":   "of mine",
			".hidden.png": "broken", ".thumbs/c.png": "broken",
		},
		"metadata": {
			"a.png": "xxx", "sub/b.png": "xxxxx", "stray.png": "broken",
			"metadata.jsonl": `{"file_name":"a.png","text":"a dog","width":3}

{"text":"two dogs","file_name":"sub/b.png"}`,
		},
		"samples": {
			"a.png": "xxx", "sub/b.png": "xxxxx",
			"samples.jsonl": `{"prompt":"a dog","file":"a.png","reward":0.5}
{"prompt":"two dogs","file":"sub/b.png"}`,
		},
	} {
		f := inFolder(t, files)
		for range 2 { // ranging again starts again
			got, err := Collect(t.Context(), f)
			require.NoError(t, err, name)
			var rows []row
			for _, s := range got {
				rows = append(rows, row{s.Prompt, s.File, s.Image.Bounds().Dx()})
			}
			require.Equal(t, both, rows, name)
		}
		for s, err := range (Folder{Path: f.Path}).All(t.Context()) {
			require.NoError(t, err)
			require.Nil(t, s.Image)
			break // leaves the rest unread
		}
	}
}

// Pictures are decoded one at a time: a broken one is met when its turn comes, and without Images
// not at all.
func TestFoldersAreRead(t *testing.T) {
	for _, files := range []map[string]string{
		{"a.png": "x", "a.txt": "a dog", "b.png": "broken", "b.txt": "b"},
		{"a.png": "x", "b.png": "broken", "metadata.jsonl": `{"file_name":"a.png","text":"a dog"}
{"file_name":"b.png","text":"b"}`},
		{"a.png": "x", "b.png": "broken", "samples.jsonl": `{"file":"a.png","prompt":"a dog"}
{"file":"b.png","prompt":"b"}`},
	} {
		f := inFolder(t, files)
		got, err := Collect(t.Context(), f)
		require.ErrorIs(t, err, picture.ErrFormat)
		require.ErrorContains(t, err, filepath.Join(f.Path, "b.png"))
		require.Len(t, got, 1)
		f.Images = false
		got, err = Collect(t.Context(), f)
		require.NoError(t, err)
		require.Len(t, got, 2)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, err = Collect(ctx, f)
		require.ErrorIs(t, err, context.Canceled)
	}
}

func TestFoldersWithoutCaptions(t *testing.T) {
	line := func(text string) map[string]string {
		const first = `{"file_name":"a.png","text":"a dog"}` + "\n"
		return map[string]string{"a.png": "x", "metadata.jsonl": first + text}
	}
	for _, c := range []struct {
		files map[string]string
		want  string
	}{
		{
			map[string]string{"a.png": "x"},
			"a.png has no caption; it would be in a.txt, a.caption or a.png.txt",
		},
		{
			map[string]string{"a.png": "x", "a.txt": " \n"},
			"a.txt, the caption of a.png, is empty",
		},
		{
			map[string]string{"a.txt": "a dog"},
			"holds neither samples.jsonl nor metadata.jsonl nor metadata.csv nor pictures (.png ",
		},
		{
			map[string]string{"samples.jsonl": "", "metadata.jsonl": ""},
			"has samples.jsonl and metadata.jsonl",
		},
		{
			map[string]string{"samples.jsonl": `{"prompt":"a dog"}`},
			"samples.jsonl:1: the line names no file",
		},
		{
			line(`{"text":"b"}`),
			"metadata.jsonl:2: file_name is missing",
		},
		{
			line(`{"file_name":"a.png"}`),
			"metadata.jsonl:2: text, the caption, is missing",
		},
		{
			line(`{"file_name":"../a.png","text":"b"}`),
			`metadata.jsonl:2: file "../a.png" is not a path inside`,
		},
		{
			line(`{"file_name":"gone.png","text":"b"}`),
			`metadata.jsonl:2: file "gone.png": file does not exist`,
		},
		{
			line(`{"file_name":1}`),
			"metadata.jsonl:2: file_name is no text but 1",
		},
	} {
		f := inFolder(t, c.files)
		_, err := Collect(t.Context(), f)
		require.ErrorContains(t, err, c.want)
		require.ErrorContains(t, err, f.Path)
	}
	_, err := Collect(t.Context(), Folder{Path: filepath.Join(t.TempDir(), "gone")})
	require.ErrorIs(t, err, os.ErrNotExist)
}
