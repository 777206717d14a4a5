package sampling

import (
	"image"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

func TestParameters(t *testing.T) {
	reward := 0.25
	s := dataset.Sample{Prompt: "a dog", Reward: &reward, Source: dataset.Source{Model: `a, "b": c`, Sampler: "mine", Steps: 20, Guidance: 7.5, Seed: 1 << 63, Index: 5}, Image: image.NewRGBA(image.Rect(1, 0, 513, 768))}
	require.Equal(t, "a dog\nSteps: 20, Sampler: mine, CFG scale: 7.5, Seed: 9223372036854775808, Size: 512x768, Model: \"a, \\\"b\\\": c\", Index: 5, Reward: 0.2500, Version: kudos",
		parameters(s))
}

func TestReadPrompts(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o644))
		return file
	}
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"a.txt", "\ufefftwo dogs\r\n\n  a cat, \"sitting\" \n", []string{"two dogs", `a cat, "sitting"`}},
		{"a.jsonl", `{"prompt":"a, b"}` + "\n" + `{"id":"2","prompt":"c"}`, []string{"a, b", "c"}},
	} {
		got, err := ReadPrompts(t.Context(), write(c.name, c.text))
		require.NoError(t, err)
		require.Equal(t, c.want, got)
	}
	for _, c := range []struct{ name, text, want string }{
		{"blank.txt", " \n\n", " holds no prompt"},
		{"latin1.txt", "a dog\n\nein gr\xfcner Hund\n", ":3: the line is not UTF-8"},
		{"utf16.txt", "a\x00 \x00d\x00", ":1: the line holds a zero byte"},
		{"wrong.jsonl", `{"prompt":"a"}` + "\n" + `{"prompt":""}`, ":2: the prompt is missing"},
	} {
		file := write(c.name, c.text)
		_, err := ReadPrompts(t.Context(), file)
		require.ErrorContains(t, err, file+c.want)
		require.ErrorContains(t, err, "-prompts: ")
	}
}
