package lint

import (
	"flag"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write testdata/api anew")

// apiFile is where the API of a package is written down.
func apiFile(name string) string {
	return filepath.Join("..", "..", "testdata", "api", filepath.FromSlash(name)+".txt")
}

// A change of what importers see is seen in a diff of testdata/api.
func TestAPI(t *testing.T) {
	sources, err := Read(os.DirFS("../.."))
	require.NoError(t, err)
	api := API(sources)
	require.Contains(t, api["kernels"], "\nfunc Linear(x, w, b *gorgonia.Node) (*gorgonia.Node, error)\n")
	if *update {
		require.NoError(t, os.RemoveAll(filepath.Dir(apiFile("x"))))
		for name, text := range api {
			require.NoError(t, os.MkdirAll(filepath.Dir(apiFile(name)), 0o755))
			require.NoError(t, os.WriteFile(apiFile(name), []byte(text), 0o644))
		}
	}
	const how = "go test ./internal/lint -run API -update writes it anew"
	for name, text := range api {
		there, err := os.ReadFile(apiFile(name))
		require.NoError(t, err, how)
		require.Equal(t, strings.ReplaceAll(string(there), "\r\n", "\n"), text, "the API of %s: %s", name, how)
	}
	var files int
	require.NoError(t, filepath.WalkDir(filepath.Dir(apiFile("x")), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
		}
		return err
	}))
	require.Equal(t, len(api), files, "testdata/api has a package that is gone: %s", how)
}

func TestAPIShowsWhatIsExported(t *testing.T) {
	sources := parse(t, map[string]string{
		"low/low.go": "package low\n\nconst (\n\tOne = 1\n\ttwo = 2\n)\n\nvar Three, four int\n\n" +
			"// T is.\ntype T struct {\n\tA, b int\n\tC struct{ D, e string }\n\thidden\n\tShown\n}\n\ntype hidden struct{}\n\n" +
			"type Shown interface {\n\tM(x int) error // comment\n}\n\ntype Same = T\n\nfunc (t *T) Do(x int) {\n\tprintln(x)\n}\n\n" +
			"func (hidden) Do() {}\n\nfunc (t T) do() {}\n\nfunc F[K any](\n\tk K,\n) (err error) {\n\treturn nil\n}\n",
		"low/low_test.go":       "package low\n\nfunc Test() {}\n",
		"internal/in/in.go":     "package in\n\nfunc F() {}\n",
		"examples/run/main.go":  "package main\n\nfunc F() {}\n",
		"kernels/internal/k.go": "package internal\n\nfunc F() {}\n",
	})
	api := API(sources)
	require.Equal(t, []string{"low"}, slices.Collect(maps.Keys(api)))
	require.Equal(t, `const One
func (t *T) Do(x int)
func F[K any](k K) (err error)
type Same = T
type Shown interface { M(x int) error }
type T struct { A int; C struct { D string }; Shown }
var Three int
`, api["low"])
}

func TestForeign(t *testing.T) {
	const head = "package low\n\nimport (\n\t\"context\"\n\n\t\"gorgonia.org/tensor\"\n\t\"example.org/other\"\n\tin \"" + module +
		"/internal/weights\"\n\t\"" + module + "/dataset\"\n)\n\nvar _ = other.X\n\n"
	for text, wrong := range map[string]string{
		"func F(ctx context.Context, t *tensor.Dense, s dataset.Sample) {}": "",
		"func F(p in.Parameter) {}":                                         "low/low.go:14: func F(p in.Parameter) shows in.Parameter of " + module + "/internal/weights",
		"func f(p in.Parameter) {}":                                         "",
		"func F() []map[string]*in.P { return nil }":                        "low/low.go:14: func F() []map[string]*in.P shows in.P of " + module + "/internal/weights",
		"type T struct{ p in.P }":                                           "",
		"type T struct{ P other.P }":                                        "low/low.go:14: type T struct { P other.P } shows other.P of example.org/other",
		"type T struct{ in.P }":                                             "low/low.go:14: type T struct { in.P } shows in.P of " + module + "/internal/weights",
		"type T = in.P":                                                     "low/low.go:14: type T = in.P shows in.P of " + module + "/internal/weights",
		"type T interface{ M() in.P }":                                      "low/low.go:14: type T interface { M() in.P } shows in.P of " + module + "/internal/weights",
		"var V other.V":                                                     "low/low.go:14: var V other.V shows other.V of example.org/other",
		"type t struct{}\n\nfunc (t) F(p in.P) {}":                          "",
		"func F() { var p in.P; println(p) }":                               "",
	} {
		require.Equal(t, list(wrong), Foreign(parse(t, map[string]string{"low/low.go": head + text + "\n"})), text)
	}
}

func TestInternalExamples(t *testing.T) {
	const head = "package low_test\n\nimport \"" + module + "/internal/weights\"\n\n"
	for text, wrong := range map[string]string{
		"func ExampleF() { weights.F() }": "low/x_test.go:5: ExampleF uses internal/weights",
		"func TestF() { weights.F() }":    "",
		"func Example() { weights.F() }":  "low/x_test.go:5: Example uses internal/weights",
	} {
		require.Equal(t, list(wrong), InternalExamples(parse(t, map[string]string{"low/x_test.go": head + text + "\n"})), text)
	}
}
