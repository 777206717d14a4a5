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
	const linear = "func Linear(x, w, b *gorgonia.Node) (*gorgonia.Node, error)"
	require.Contains(t, api["kernels"], "\n"+linear+"\n")
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
		want := strings.ReplaceAll(string(there), "\r\n", "\n")
		require.Equal(t, want, text, "the API of %s: %s", name, how)
	}
	var files int
	count := func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files++
		}
		return err
	}
	require.NoError(t, filepath.WalkDir(filepath.Dir(apiFile("x")), count))
	require.Equal(t, len(api), files, "testdata/api has a package that is gone: %s", how)
}

func TestAPIShowsWhatIsExported(t *testing.T) {
	sources := parse(t, map[string]string{
		"low/low.go": `package low

const (
	One = 1
	two = 2
)

var Three, four int

// T is.
type T struct {
	A, b int
	C    struct{ D, e string }
	empty
	Shown
}

type empty struct{ within *empty }

type unused struct{ F int }

type Shown interface {
	M(x int) error // comment
}

type Same = T

func (t *T) Do(x int) {
	println(x)
}

func (unused) Do() {}

func (t T) do() {}

func F[K any](
	k K,
) (err error) {
	return nil
}
`,
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

// What exported declarations make usable is shown, though its name is not exported.
func TestAPIShowsWhatIsReached(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{
			"promoted fields and methods",
			`type T struct{ *hidden }
type hidden struct { A int; b int; deeper[int] }
type deeper[K any] struct{ C K }
func (h *hidden) Do() {}
func (h hidden) undo() {}`,
			`func (h *hidden) Do()
type T struct { *hidden }
type deeper[K any] struct { C K }
type hidden struct { A int; deeper[int] }`,
		},
		{
			"methods alone, and of what is embedded there",
			`type T struct { first; second }
type first struct{ a int }
func (first) Do() {}
type second struct{ third }
type third struct{}
func (third) Undo() {}`,
			`func (first) Do()
func (third) Undo()
type T struct { first; second }
type first struct { }
type second struct { third }
type third struct { }`,
		},
		{
			"embedded in a circle",
			`type T struct{ *a }
type a struct{ *b }
type b struct{ *a }`,
			"type T struct { }",
		},
		{
			"aliases and definitions",
			`type T = hidden
type U list
func F(x alias) {}
type hidden struct{ A int }
type list []hidden
type alias = list`,
			`func F(x alias)
type T = hidden
type U list
type alias = list
type hidden struct { A int }
type list []hidden`,
		},
		{
			"types in fields, elements, results and constraints",
			`type T struct{ A []*a; h h }
func F(x func(b) map[string]c) (d, error) { return nil, nil }
func G[K e](k K) {}
type ( a struct{}; b struct{}; c struct{}; d interface{ M() } )
type ( e interface{ f }; f int; g int; h int )`,
			`func F(x func(b) map[string]c) (d, error)
func G[K e](k K)
type T struct { A []*a }
type a struct { }
type b struct { }
type c struct { }
type d interface { M() }
type e interface { f }
type f int`,
		},
		{
			"no names of parameters, fields and packages",
			`import ("io"; a "context")
func F(hidden int) {}
type T struct{ Hidden struct{ Other int }; C a.Context }
type I interface{ hidden(x io.Reader) }
type ( hidden int; Context int; a struct{}; io struct{} )`,
			`func F(hidden int)
type Context int
type I interface { hidden(x io.Reader) }
type T struct { Hidden struct { Other int }; C a.Context }`,
		},
		{
			"a variable's type, where its value shows it",
			`import "errors"
var (
	A = T{}
	B = &T{}
	C, D = []hidden{}, 1
	E = errors.New("e")
	F = func(x hidden) {}
	G = new(T)
	H = make(map[string]T)
	I, J, K, L = 1.5, "", 'x', 1i
	M = f()
)
type T struct{}
type hidden struct{}`,
			`type T struct { }
type hidden struct { }
var A T
var B *T
var C []hidden
var D int
var E error
var F func(x hidden)
var G *T
var H map[string]T
var I float64
var J string
var K rune
var L complex128
var M`,
		},
		{
			"a constant's type, repeated or not",
			`type T int
const (
	A T = iota
	B
	c
	D = "d"
	E
)
const F hidden = 1
type hidden int`,
			`const A T
const B T
const D
const E
const F hidden
type T int
type hidden int`,
		},
	} {
		api := API(parse(t, map[string]string{"low/low.go": "package low\n" + c.text}))
		require.Equal(t, c.want+"\n", api["low"], c.name)
	}
}
