package kernels

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every operation of this package is one that a device can compute, or a part of its input.
func TestEveryRuleLaunches(t *testing.T) {
	methods := map[string]map[string]bool{}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		require.NoError(t, err)
		for _, d := range file.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv == nil {
				continue
			}
			of, ok := f.Recv.List[0].Type.(*ast.Ident)
			if !ok {
				continue
			}
			if methods[of.Name] == nil {
				methods[of.Name] = map[string]bool{}
			}
			methods[of.Name][f.Name.Name] = true
		}
	}
	rules := 0
	for name, has := range methods {
		if has["Eval"] {
			rules++
			require.True(t, has["launch"] || has["Alias"], "%s has no launch", name)
		}
	}
	require.Greater(t, rules, 40)
}
