package lint

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDisk(t *testing.T) {
	in := func(name, body string) []string {
		text := "package p\nimport \"os\"\nfunc f() {\n" + body + "\n}"
		return Disk(parse(t, map[string]string{name: text}), "kernels/...")
	}
	const mode = "p/a.go:4: the mode is not 0o777, of which the process takes its umask"
	for body, want := range map[string]string{
		`os.Remove("a")`:            "p/a.go:4: os.Remove: use file.Remove",
		`g(os.RemoveAll)`:           "p/a.go:4: os.RemoveAll: use file.RemoveAll",
		`_ = os.Rename("a", "b")`:   "p/a.go:4: os.Rename: use file.Rename",
		`os.MkdirAll("a", 0o777)`:   "",
		`os.Open("a")`:              "",
		`other.Remove("a")`:         "",
		`os.MkdirAll("a", os.Mode)`: mode,
		`os.MkdirAll("a", 0o755)`:   mode,
	} {
		require.Equal(t, list(want), in("p/a.go", body), body)
		require.Empty(t, in("p/a_test.go", body))
		require.Empty(t, in("kernels/p/a.go", body))
	}
}
