package lint

import (
	"maps"
	"os"
	"path"
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"
)

func TestHouse(t *testing.T) {
	sources, err := Read(os.DirFS("../.."))
	require.NoError(t, err)
	require.Greater(t, len(sources), 200, "the module's sources are not here")
	for name, wrong := range map[string][]string{
		"imports":   house.Check(sources),
		"forbidden": Forbidden(sources, forbidden),
		"comments":  Undocumented(sources),
		"map":       Unmapped(sources),
		"foreign":   Foreign(sources),
		"examples":  InternalExamples(sources),
		"disk":      Disk(sources, disk),
	} {
		t.Run(name, func(t *testing.T) {
			for _, w := range wrong {
				t.Error(w)
			}
		})
	}
}

// parse makes sources of files in memory.
func parse(t *testing.T, files map[string]string) []Source {
	t.Helper()
	root := fstest.MapFS{"go.mod": {Data: []byte("module " + module)}}
	for name, text := range files {
		root[name] = &fstest.MapFile{Data: []byte(text)}
	}
	sources, err := Read(root)
	require.NoError(t, err)
	return sources
}

// with returns files with one more, or with another in its place.
func with(files map[string]string, name, text string) map[string]string {
	files = maps.Clone(files)
	files[name] = text
	return files
}

// list is what a check returns when one thing is wrong, or nothing.
func list(wrong string) []string {
	if wrong == "" {
		return nil
	}
	return []string{wrong}
}

func TestPolicy(t *testing.T) {
	policy := Policy{
		Imports: map[string]string{"low": "", "high": "low", "examples/...": anything},
		Tests:   "testkit examples/tiny",
		Exceptions: []Exception{
			{From: "high", To: "side", For: "once"},
			{From: "low", To: "side", Test: true, For: "once"},
		},
	}
	// imports is a file that imports packages of the module.
	imports := func(name string, paths ...string) string {
		text := "package " + name + "\n"
		for _, p := range paths {
			text += "import _ \"" + path.Join(module, p) + "\"\n"
		}
		return text
	}
	clean := map[string]string{
		"low/a.go":           "package low\nimport \"strings\"",
		"low/a_test.go":      imports("low_test", "low", "testkit", "side"),
		"high/a.go":          imports("high", "low", "side"),
		"examples/p/a.go":    imports("main", "high"),
		"examples/q/a.go":    imports("main", "examples/tiny"),
		"high/_asm/a.go":     imports("main", "examples/tiny"),
		"high/testdata/a.go": imports("a", "examples/tiny"),
		"high/other/go.mod":  "module other",
		"high/other/a.go":    imports("other", "examples/tiny"),
	}
	for _, c := range []struct{ name, file, text, want string }{
		{
			"as it should be", "low/b.go", imports("low"),
			"",
		},
		{
			"upward", "low/b.go", imports("low", "high"),
			"low/b.go:2: low may not import high",
		},
		{
			"the root", "low/b.go", imports("low", ""),
			"low/b.go:2: low may not import .",
		},
		{
			"behind a build constraint", "low/b.go", "//go:build cuda\n\n" + imports("low", "high"),
			"low/b.go:4: low may not import high",
		},
		{
			"a test's helper", "low/b.go", imports("low", "testkit"),
			"low/b.go:2: low may not import testkit",
		},
		{
			"a test's exception", "low/b.go", imports("low", "side"),
			"low/b.go:2: low may not import side",
		},
		{
			"upward in a test", "low/b_test.go", imports("low_test", "high"),
			"low/b_test.go:2: low may not import high",
		},
		{
			"an example", "high/b.go", imports("high", "examples/tiny"),
			"high/b.go:2: high may not import examples/tiny",
		},
		{
			"another example in a test", "high/b_test.go", imports("high", "examples/p"),
			"high/b_test.go:2: high may not import examples/p",
		},
		{
			"a new package beside a tree", "examplesof/b.go", imports("new"),
			"examplesof: the policy has no line for this package",
		},
		{
			"a new package", "low/new/b.go", imports("new"),
			"low/new: the policy has no line for this package",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, list(c.want), policy.Check(parse(t, with(clean, c.file, c.text))))
		})
	}

	t.Run("a line too many", func(t *testing.T) {
		require.Equal(t, []string{
			"low: the policy has a line for this package, which does not exist",
			"high: nothing needs the exception for side",
			"low: nothing needs the exception for side",
		}, policy.Check(parse(t, map[string]string{"high/a.go": "package high"})))
	})
}

// Every ban of the house is broken by code and by a test, in a package that may not, and by code in
// one that may.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		imported, may string
		tests         bool
	}{
		{"C", "kernels/cuda", true},
		{"math/rand", "", true},
		{"gonum.org/v1/gonum/blas", "", true},
		{"gonum.org/v1/gonum/blas/blas32", "", true},
		{"unsafe", "kernels/internal/cpu", false},
		{"unsafe", "internal/weights", false},
		{"testing", "kernels/kerneltest", false},
		{"testing/fstest", "internal/golden", false},
		{"github.com/stretchr/testify/require", "diffusion/diffusiontest", false},
		{"pgregory.net/rapid", "kernels/kerneltest", false},
		{"flag", "examples/quickstart", false},
		{"github.com/alecthomas/kong", "examples/quickstart", false},
	} {
		t.Run(c.imported, func(t *testing.T) {
			text := "package p\nimport _ \"" + c.imported + "\""
			wrong := Forbidden(parse(t, map[string]string{"clip/p.go": text}), forbidden)
			require.Len(t, wrong, 1)
			require.Contains(t, wrong[0], "clip/p.go:2: clip may not import "+c.imported+": ")
			inTest := parse(t, map[string]string{"clip/p_test.go": text})
			require.Len(t, Forbidden(inTest, forbidden), map[bool]int{true: 1}[c.tests])
			if c.may != "" {
				allowed := parse(t, map[string]string{c.may + "/p.go": text})
				require.Empty(t, Forbidden(allowed, forbidden))
			}
		})
	}
	others := parse(t, map[string]string{
		"clip/p.go": `package p; import ("math/rand/v2"; "gonum.org/v1/gonum/stat")`,
	})
	require.Empty(t, Forbidden(others, forbidden))
}

func TestUndocumented(t *testing.T) {
	clean := map[string]string{
		"p/doc.go": "// Package p is documented.\npackage p",
		"p/a.go": `//go:build cuda

package p

// F does.
func F() {}

type t struct{}

func (t) Do() {}
`,
		"p/a_test.go": "package p\n\nfunc G() {}",
		"cmd/main.go": "// Command cmd is documented.\npackage main\n\nfunc G() {}",
	}
	for _, c := range []struct{ name, file, text, want string }{
		{
			"as it should be", "p/b.go", "package p",
			"",
		},
		{
			"no package comment", "q/b.go", "package q",
			"q: no package comment",
		},
		{
			"two package comments", "p/b.go", "// Package p is documented twice.\npackage p",
			"p/doc.go:1: a second package comment",
		},
		{
			"another beginning", "p/doc.go", "// This package is documented.\npackage p",
			`p/doc.go:1: the package comment does not begin with "Package p "`,
		},
		{
			"another's name", "p/doc.go", "// Package pq is documented.\npackage p",
			`p/doc.go:1: the package comment does not begin with "Package p "`,
		},
		{
			"a program's beginning", "cmd/main.go", "// Package main is documented.\npackage main",
			`cmd/main.go:1: the package comment does not begin with "Command cmd "`,
		},
		{
			"a function", "p/b.go", "package p\nfunc F() {}",
			"p/b.go:2: F has no comment",
		},
		{
			"a method", "p/b.go",
			"package p\n// T is.\ntype T[K any] struct{}\nfunc (*T[K]) Do() {}",
			"p/b.go:4: Do has no comment",
		},
		{
			"a type", "p/b.go", "package p\ntype T int",
			"p/b.go:2: T has no comment",
		},
		{
			"a constant", "p/b.go", "package p\nconst (\n\tA = 1 // one\n\tB = 2\n)",
			"p/b.go:4: B has no comment",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, list(c.want), Undocumented(parse(t, with(clean, c.file, c.text))))
		})
	}
}

func TestUnmapped(t *testing.T) {
	const low, x = `"` + module + `/low"`, `"` + module + `/internal/x"`
	clean := map[string]string{
		"doc.go": `// Package kudos is a map:
//
// what is what.
//
//	low   what all stands on
//	high  what stands on it
package kudos
`,
		"low/a.go":           "package low",
		"high/a.go":          "package high; import (" + low + "; " + x + ")",
		"internal/x/a.go":    "package x",
		"examples/p/a.go":    "package main",
		"high/other_test.go": "package high",
	}
	for _, c := range []struct{ name, file, text, want string }{
		{
			"as it should be", "high/b.go", "package high",
			"",
		},
		{
			"no line", "new/b.go", "package new",
			"new: doc.go has no line for this package",
		},
		{
			"not a line", "what/b.go", "package what",
			"what: doc.go has no line for this package",
		},
		{
			"the wrong order", "low/b.go", "package low\nimport _ \"" + module + "/high\"",
			"low/b.go:2: doc.go has low above high, which it imports",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Equal(t, list(c.want), Unmapped(parse(t, with(clean, c.file, c.text))))
		})
	}
}
