package images

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// kernelNames returns which kernels a package starts, as regular expressions: those of the strings
// that field Kernel of a Launch is given. Strings are followed through variables, parameters and
// results. What cannot be followed is \w+.
func kernelNames(dir string) ([]string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return nil, err
	}
	p := names{functions: make(map[string]*ast.FuncDecl), open: make(map[ast.Expr]bool)}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, f)
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok {
				p.functions[d.Name.Name] = d
			}
		}
	}
	var all []string
	for _, d := range p.functions {
		ast.Inspect(d, func(n ast.Node) bool {
			if l, ok := n.(*ast.CompositeLit); ok && named(l.Type, "Launch") {
				for _, e := range l.Elts {
					if kv, ok := e.(*ast.KeyValueExpr); ok && named(kv.Key, "Kernel") {
						all = append(all, p.values(kv.Value, d)...)
					}
				}
			}
			return true
		})
	}
	slices.Sort(all)
	return slices.Compact(all), nil
}

// names follows strings through a package.
type names struct {
	files     []*ast.File
	functions map[string]*ast.FuncDecl // functions and methods, by name
	open      map[ast.Expr]bool        // what is being followed
}

// unknown stands for a string that is not followed.
const unknown = `\w+`

func named(e ast.Node, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id.Name == name
}

// values returns the strings that e may be, in function in.
func (p *names) values(e ast.Expr, in *ast.FuncDecl) []string {
	if p.open[e] {
		return nil
	}
	p.open[e] = true
	defer delete(p.open, e)
	switch e := e.(type) {
	case *ast.ParenExpr:
		return p.values(e.X, in)
	case *ast.BasicLit:
		if s, err := strconv.Unquote(e.Value); err == nil {
			return []string{regexp.QuoteMeta(s)}
		}
	case *ast.BinaryExpr:
		var all []string
		for _, x := range p.values(e.X, in) {
			for _, y := range p.values(e.Y, in) {
				all = append(all, x+y)
			}
		}
		return all
	case *ast.Ident:
		return p.named(e.Name, in)
	case *ast.CallExpr:
		return p.results(e, in)
	}
	return []string{unknown}
}

// results returns the strings that a call may return.
func (p *names) results(call *ast.CallExpr, in *ast.FuncDecl) []string {
	name := callee(call)
	if name == "Sprintf" && len(call.Args) > 0 {
		var all []string
		for _, format := range p.values(call.Args[0], in) {
			format = strings.ReplaceAll(format, "%d", `\d+`)
			parts := strings.Split(format, "%s")
			texts := []string{parts[0]}
			arg := 1 + strings.Count(parts[0], `\d+`)
			for _, part := range parts[1:] {
				var longer []string
				for _, v := range p.values(call.Args[min(arg, len(call.Args)-1)], in) {
					for _, text := range texts {
						longer = append(longer, text+v+part)
					}
				}
				texts = longer
				arg += 1 + strings.Count(part, `\d+`)
			}
			all = append(all, texts...)
		}
		return all
	}
	f := p.functions[name]
	if f == nil {
		return []string{unknown}
	}
	var all []string
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		if r, ok := n.(*ast.ReturnStmt); ok && len(r.Results) > 0 {
			all = append(all, p.values(r.Results[0], f)...)
		}
		return true
	})
	return all
}

// callee is the name of the function or method that is called.
func callee(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// named returns the strings that a name may stand for in a function: a parameter, a variable, or a
// constant or variable of the package.
func (p *names) named(name string, in *ast.FuncDecl) []string {
	i := 0
	for _, field := range in.Type.Params.List {
		for _, n := range field.Names {
			if n.Name == name {
				return p.arguments(in, i)
			}
			i++
		}
	}
	var all []string
	assigned := func(to, from []ast.Expr, add bool) {
		for i, l := range to {
			if named(l, name) {
				switch {
				case add || len(to) != len(from):
					all = append(all, unknown)
				default:
					all = append(all, p.values(from[i], in)...)
				}
			}
		}
	}
	visit := func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.ADD_ASSIGN {
				assigned(n.Lhs, n.Rhs, false)
				break
			}
			if named(n.Lhs[0], name) { // what it was before, and what is added
				var longer []string
				for _, x := range all {
					for _, y := range p.values(n.Rhs[0], in) {
						longer = append(longer, x+y)
					}
				}
				all = append(all, longer...)
			}
		case *ast.RangeStmt:
			if named(n.Key, name) || named(n.Value, name) {
				if l, ok := n.X.(*ast.CompositeLit); ok && named(n.Value, name) {
					for _, e := range l.Elts {
						all = append(all, p.values(e, in)...)
					}
				} else {
					all = append(all, unknown)
				}
			}
		case *ast.ValueSpec:
			for i, id := range n.Names {
				if id.Name == name && i < len(n.Values) {
					all = append(all, p.values(n.Values[i], in)...)
				}
			}
		}
		return true
	}
	ast.Inspect(in.Body, visit)
	if all == nil {
		for _, f := range p.files {
			for _, d := range f.Decls {
				if g, ok := d.(*ast.GenDecl); ok {
					ast.Inspect(g, visit)
				}
			}
		}
	}
	if all == nil {
		return []string{unknown}
	}
	return all
}

// arguments returns the strings that calls in the package give a function as parameter i.
func (p *names) arguments(of *ast.FuncDecl, i int) []string {
	var all []string
	for _, f := range p.functions {
		ast.Inspect(f, func(n ast.Node) bool {
			if c, ok := n.(*ast.CallExpr); ok && callee(c) == of.Name.Name && i < len(c.Args) {
				all = append(all, p.values(c.Args[i], f)...)
			}
			return true
		})
	}
	return all
}

func TestKernelNames(t *testing.T) {
	dir := t.TempDir()
	const text = `package p

const dot = "dot"

func (q *Queue) add(kernel string, n int) { q.all = append(q.all, Launch{Kernel: kernel}) }

func (q *Queue) elements(kernel string, t Type) { q.add(kernel+t.suffix(), 1) }

func Add(q *Queue, t Type) { q.elements("add", t) }

func Dot(q *Queue) { q.add(dot, 1) }

func (t Type) suffix() string {
	if t {
		return "_bf16"
	}
	return "_f32"
}

func Gemm(q *Queue, depth int, t Type) {
	name := fmt.Sprintf("gemm_%d%s", depth, t.suffix())
	if depth > 9 {
		name = "large"
		name += "_gemm"
	}
	q.add(name, 2)
	for _, s := range []string{"one", "two"} {
		q.add(s, 1)
	}
	q.add(other.Name(), 1)
}
`
	if err := os.WriteFile(filepath.Join(dir, "p.go"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	got, err := kernelNames(dir)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		`\w+`, `add_bf16`, `add_f32`, `dot`, `gemm_\d+_bf16`, `gemm_\d+_f32`,
		`gemm_\d+_bf16_gemm`, `gemm_\d+_f32_gemm`, `large`, `large_gemm`, `one`, `two`,
	}
	slices.Sort(want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("names are %q, not %q", got, want)
	}
}
