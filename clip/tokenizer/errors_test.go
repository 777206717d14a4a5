package tokenizer_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/clip/tokenizer"
)

// Whatever is wrong in a file, the error says in which, and in which line of the merges.
func TestFileError(t *testing.T) {
	for _, c := range []struct {
		file, data string
		want       string // the file that the error names
		line       int
		says       string
	}{
		{
			"vocab.json", "{", "vocab.json", 0,
			"tokenizer: vocab.json: unexpected end of JSON input",
		},
		{
			"vocab.json", `{"a":0,"<|startoftext|>":1}`, "vocab.json", 0,
			`tokenizer: vocab.json has no token "<|endoftext|>"`,
		},
		{
			"vocab.json", `{"a":1,"b":1,"<|startoftext|>":2,"<|endoftext|>":3}`, "vocab.json", 0,
			`tokenizer: vocab.json: "a" and "b" share id 1`,
		},
		{
			"merges.txt", "#version: 0.2\na b\na b c\n", "merges.txt", 3,
			`tokenizer: merges.txt:3: "a b c" is not two tokens`,
		},
		{
			"merges.txt", "zz qq\n", "merges.txt", 0,
			`tokenizer: merge 1 ("zz qq"): the vocabulary lacks "zz", "qq" or "zzqq"`,
		},
		{
			"tokenizer_config.json", `{"padding_side": "left"}`, "tokenizer_config.json", 0,
			`tokenizer: tokenizer_config.json: padding_side is "left"; CLIP pads on the right`,
		},
		{
			"added_tokens.json", `{"a": 7}`, "vocab.json", 0,
			`tokenizer: added token "a" has id 7, but 64 in vocab.json`,
		},
		{
			"tokenizer.json", `{"model": {"type": "Unigram"}}`, "tokenizer.json", 0,
			`tokenizer: tokenizer.json: model is "Unigram" with end of word "", ` +
				`not CLIP's BPE with "</w>"`,
		},
		{
			"tokenizer.json", `{"model": {"type": "BPE", "end_of_word_suffix": "</w>", ` +
				`"merges": ["a b c"]}}`, "tokenizer.json", 0,
			`tokenizer: tokenizer.json: merges: 0, "a b c", is not two tokens`,
		},
	} {
		fsys := fstest.MapFS{c.file: {Data: []byte(c.data)}}
		for _, name := range []string{"vocab.json", "merges.txt"} {
			if name == c.file {
				continue
			}
			data, err := os.ReadFile(filepath.Join("testdata", "small", name))
			require.NoError(t, err)
			fsys[name] = &fstest.MapFile{Data: data}
		}
		_, err := tokenizer.LoadFS(fsys)
		var file *tokenizer.FileError
		require.ErrorAs(t, err, &file)
		require.Equal(t, c.want, file.File)
		require.Equal(t, c.line, file.Line)
		require.EqualError(t, file, c.says)
	}

	dir := t.TempDir()
	_, err := tokenizer.Load(dir)
	require.ErrorIs(t, err, fs.ErrNotExist)
	var file *tokenizer.FileError
	require.False(t, errors.As(err, &file), "a file that is missing is not broken")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.json"), []byte("{"), 0o644))
	_, err = tokenizer.Load(dir)
	require.ErrorAs(t, err, &file, "the folder is added, and the type stays")
	require.ErrorContains(t, err, dir)
}
