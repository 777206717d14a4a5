package lint

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestForeign(t *testing.T) {
	const (
		head = `package low

import (
	"context"
	"math/rand/v2"

	"example.org/lib/v3"
	"example.org/other"
	"example.org/go-odd"
	"gopkg.in/yaml.v3"
	"gorgonia.org/tensor"

	in "` + module + `/internal/weights"
	"` + module + `/dataset"
)

`
		weights = " shows in.P of " + module + "/internal/weights"
	)
	line := strings.Count(head, "\n") + 1
	require.Equal(t, 17, line)
	const at = "low/low.go:17: "
	for text, wrong := range map[string]string{
		"func F(c context.Context, t *tensor.Dense, s dataset.Sample) {}": "",
		"func F(r *rand.Rand) {}": "",
		"func F(p in.P) {}":       at + "func F(p in.P)" + weights,
		"func f(p in.P) {}":       "",
		"func F() []map[string]*in.P { return nil }": at +
			"func F() []map[string]*in.P" + weights,
		"type T struct{ p in.P }": "",
		"type T struct{ P other.P }": at +
			"type T struct { P other.P } shows other.P of example.org/other",
		"type T struct{ in.P }":                    at + "type T struct { in.P }" + weights,
		"type T = in.P":                            at + "type T = in.P" + weights,
		"type T interface{ M() in.P }":             at + "type T interface { M() in.P }" + weights,
		"type t struct{}\n\nfunc (t) F(p in.P) {}": "",
		"func F() { var p in.P; println(p) }":      "",

		// Names that are not the last element of an import's path.
		"func F(v lib.V) {}":  at + "func F(v lib.V) shows lib.V of example.org/lib/v3",
		"func F(n yaml.N) {}": at + "func F(n yaml.N) shows yaml.N of gopkg.in/yaml.v3",
		"func F(o odd.O) {}":  at + "func F(o odd.O) shows odd.O of a package that no import names",

		// Variables without a type beside their name.
		"var V other.V":            at + "var V other.V shows other.V of example.org/other",
		"var V = other.V{}":        at + "var V other.V shows other.V of example.org/other",
		"var V = &other.V{}":       at + "var V *other.V shows other.V of example.org/other",
		"var V = []in.P{}":         at + "var V []in.P" + weights,
		"var V = func(p in.P) {}":  at + "var V func(p in.P)" + weights,
		"var V = other.New()":      at + "the source does not say the type of var V",
		"var V, W = 1, other.W":    at + "the source does not say the type of var W",
		"var v, W = other.Two()":   at + "the source does not say the type of var W",
		"var V dataset.Sample = f": "",
		"var v = other.New()":      "",

		// What is reached through names that are not exported.
		"type T struct{ hidden }; type hidden struct{ P in.P }": at +
			"type hidden struct { P in.P }" + weights,
		"type T struct{ hidden }; type hidden struct{}; func (hidden) F(p in.P) {}": at +
			"func (hidden) F(p in.P)" + weights,
		"type T struct{ hidden }; type hidden = in.P":       at + "type hidden = in.P" + weights,
		"func F(p hidden) {}; type hidden = in.P":           at + "type hidden = in.P" + weights,
		"func F(p hidden) {}; type hidden struct{ p in.P }": "",
		"func f(p hidden) {}; type hidden = in.P":           "",
	} {
		sources := parse(t, map[string]string{"low/low.go": head + text + "\n"})
		require.Equal(t, list(wrong), Foreign(sources), text)
	}

	sources := parse(t, map[string]string{
		"low/a.go":      "package low\n\nimport . \"example.org/p\"\n\nfunc F(a A) {}",
		"low/a_test.go": "package low\n\nimport . \"example.org/p\"",
	})
	require.Equal(t,
		[]string{"low/a.go:3: an import with a dot hides whose names they are"},
		Foreign(sources))

	// The file that declares a type is the one whose imports count.
	sources = parse(t, map[string]string{
		"low/a.go": "package low\n\nimport p \"context\"\n\nfunc F(x hidden, c p.Context) {}",
		"low/b.go": "package low\n\nimport p \"example.org/p\"\n\ntype hidden struct{ A p.A }",
	})
	require.Equal(t,
		[]string{"low/b.go:5: type hidden struct { A p.A } shows p.A of example.org/p"},
		Foreign(sources))
}

func TestInternalExamples(t *testing.T) {
	const head = "package low_test\n\nimport \"" + module + "/internal/weights\"\n\n"
	for text, wrong := range map[string]string{
		"func ExampleF() { weights.F() }": "low/x_test.go:5: ExampleF uses internal/weights",
		"func TestF() { weights.F() }":    "",
		"func Example() { weights.F() }":  "low/x_test.go:5: Example uses internal/weights",
	} {
		sources := parse(t, map[string]string{"low/x_test.go": head + text + "\n"})
		require.Equal(t, list(wrong), InternalExamples(sources), text)
	}
}
