package commandtest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Module makes a module outside the repository that has nothing but its public packages. root is
// the repository's folder.
func Module(t *testing.T, root string) (dir string) {
	t.Helper()
	root, err := filepath.Abs(root)
	require.NoError(t, err)
	dir = t.TempDir()
	// The repository's own requirements are there as go mod tidy would write them, so that nothing
	// needs to be looked up.
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	require.NoError(t, err)
	const kudos = "github.com/kudos-ml/kudos"
	text := strings.Replace(string(mod), "module "+kudos, "module example.org/outside", 1) +
		fmt.Sprintf("\nrequire %s v0.0.0\n\nreplace %s => %q\n", kudos, kudos, root)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.mod"), []byte(text), 0o644))
	sums, err := os.ReadFile(filepath.Join(root, "go.sum"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "go.sum"), sums, 0o644))
	return dir
}

// Build runs go build in a folder of a Module's.
func Build(t *testing.T, dir string, args ...string) {
	t.Helper()
	build := exec.CommandContext(t.Context(), "go", append([]string{"build"}, args...)...)
	build.Dir = dir
	build.Env = append(os.Environ(), "GOPROXY=off", "GOWORK=off")
	out, err := build.CombinedOutput()
	require.NoError(t, err, string(out))
}

// Copy copies a program's files, its tests aside, to a folder of a Module's, and returns how many
// lines they have.
func Copy(t *testing.T, dir string, sources ...string) (lines int) {
	t.Helper()
	require.NoError(t, os.MkdirAll(dir, 0o755))
	for _, name := range sources {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		source, err := os.ReadFile(name)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(name)), source, 0o644))
		lines += strings.Count(string(source), "\n")
	}
	return lines
}
