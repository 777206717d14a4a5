package pipeline

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Configs that an editor has put a byte order mark before, or into UTF-16, are read; what is no
// text is named.
func TestConfigsAsEditorsLeaveThem(t *testing.T) {
	whole, err := Load("../../testdata/golden/sd1")
	require.NoError(t, err)
	want := whole.Hashes()
	changed := func(change func(text string) string) string {
		dir := t.TempDir()
		require.NoError(t, os.CopyFS(dir, os.DirFS("../../testdata/golden/sd1")))
		n := 0
		require.NoError(t, filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
			base := filepath.Base(name)
			config := strings.HasSuffix(base, "config.json") || base == "model_index.json"
			if err != nil || d.IsDir() || !config || strings.Contains(base, "tokenizer") {
				return err
			}
			n++
			text, err := os.ReadFile(name)
			require.NoError(t, err)
			return os.WriteFile(name, []byte(change(string(text))), 0o644)
		}))
		require.Greater(t, n, 4)
		return dir
	}
	for _, change := range []func(text string) string{
		func(text string) string { return "\ufeff" + strings.ReplaceAll(text, "\n", "\r\n") },
		func(text string) string {
			b := []byte("\xff\xfe")
			for _, c := range []byte(text) {
				b = append(b, c, 0)
			}
			return string(b)
		},
	} {
		p, err := Load(changed(change))
		require.NoError(t, err)
		require.Equal(t, want, p.Hashes())
		require.Equal(t, whole.Schedule, p.Schedule)
	}
	_, err = Load(changed(func(text string) string { return text + "\xe9" }))
	require.ErrorContains(t, err, ".json:")
	require.ErrorContains(t, err, "the line is not UTF-8")
}
