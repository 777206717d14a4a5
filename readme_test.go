package kudos_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// README's program prints what README says. The last digit may differ between machines, whose sums have other orders.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	require.NoError(t, err)
	program, output := fenced(t, string(readme), "go"), fenced(t, string(readme), "text")

	// An overlay puts the program into the module without a file there.
	dir := t.TempDir()
	file := filepath.Join(dir, "main.go")
	require.NoError(t, os.WriteFile(file, []byte(program), 0o644))
	here, err := filepath.Abs("examples/readme/main.go")
	require.NoError(t, err)
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{here: file}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "overlay.json"), overlay, 0o644))
	got, err := exec.CommandContext(t.Context(), "go", "run", "-overlay", filepath.Join(dir, "overlay.json"), "./examples/readme").CombinedOutput()
	require.NoError(t, err, "%s", got)

	number := regexp.MustCompile(`\d+\.\d+`)
	require.Equal(t, number.ReplaceAllString(output, "x"), number.ReplaceAllString(string(got), "x"))
	want := number.FindAllString(output, -1)
	require.NotEmpty(t, want)
	for i, s := range number.FindAllString(string(got), -1) {
		require.InDelta(t, float(t, want[i]), float(t, s), 1.5e-4, fmt.Sprintf("number %d of %s", i, got))
	}
}

// fenced is the only block of a language.
func fenced(t *testing.T, text, language string) string {
	_, after, ok := strings.Cut(text, "```"+language+"\n")
	require.True(t, ok)
	block, rest, ok := strings.Cut(after, "```\n")
	require.True(t, ok)
	require.NotContains(t, rest, "```"+language+"\n")
	return block
}

func float(t *testing.T, s string) float64 {
	x, err := strconv.ParseFloat(s, 64)
	require.NoError(t, err)
	return x
}
