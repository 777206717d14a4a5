package cuda

import (
	"go/build"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Without the build tag nothing needs a C compiler or a driver. With it, one file does.
func TestOneFileNeedsC(t *testing.T) {
	context := build.Default
	context.CgoEnabled = true
	needs := func() []string {
		p, err := context.ImportDir(".", 0)
		require.NoError(t, err)
		require.Contains(t, p.GoFiles, "cuda.go")
		var files []string
		for _, path := range []string{"C", "gorgonia.org/cu"} {
			for _, at := range p.ImportPos[path] {
				files = append(files, at.Filename)
			}
		}
		slices.Sort(files)
		return slices.Compact(files)
	}
	context.BuildTags = nil
	require.Empty(t, needs())
	context.BuildTags = []string{"nvidia"}
	require.Equal(t, []string{"driver_cu.go"}, needs())
	context.CgoEnabled = false
	require.Empty(t, needs())
}

// The package comment's table is the one that programs print.
func TestNotRun(t *testing.T) {
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	require.NotEmpty(t, NotRun())
	var table strings.Builder
	for line := range strings.Lines(NotRun()) {
		table.WriteString("//\t" + line)
	}
	unix := func(s string) string { return strings.ReplaceAll(s, "\r\n", "\n") }
	require.Contains(t, unix(string(doc)), "\n"+unix(table.String())+"package cuda\n")
}
