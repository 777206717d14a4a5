package examples_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/examples/internal/command/commandtest"
)

// mostLines is how long a program may be, with comments and blank lines: it is what a user copies
// and changes, and what more there is to it belongs in a package.
const mostLines = 250

// Programs are built of public packages alone, each in a folder that it was copied to.
func TestOutside(t *testing.T) {
	dir := commandtest.Module(t, "..")
	programs := []string{"quickstart", "generate", "label", "reward", "finetune", "evaluate"}
	for _, name := range programs {
		sources, err := filepath.Glob(filepath.Join(name, "*.go"))
		require.NoError(t, err)
		lines := commandtest.Copy(t, filepath.Join(dir, name), sources...)
		require.Positive(t, lines)
		require.LessOrEqual(t, lines, mostLines, name)
	}
	bin := filepath.Join(dir, "bin")
	require.NoError(t, os.Mkdir(bin, 0o755))
	commandtest.Build(t, dir, "-o", bin+string(filepath.Separator), "./...")
	for _, name := range programs {
		found, err := filepath.Glob(filepath.Join(bin, name+"*"))
		require.NoError(t, err)
		require.Len(t, found, 1)
		said, err := exec.CommandContext(t.Context(), found[0], "-help").CombinedOutput()
		require.NoError(t, err, "%s: %s", name, said)
		if name != "label" { // which always goes on
			require.Contains(t, string(said), "-resume", name)
		}
	}
}
