package images

import (
	"go/ast"
	"go/parser"
	"go/token"
	"go/types"
	"os"
	"path"
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
	p := names{functions: make(map[types.Object]*ast.FuncDecl), open: make(map[ast.Expr]bool)}
	set := token.NewFileSet()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(set, file, nil, parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		p.files = append(p.files, f)
	}
	// What is of other packages stays unknown, which is no matter here.
	p.info = &types.Info{
		Defs: make(map[*ast.Ident]types.Object), Uses: make(map[*ast.Ident]types.Object),
	}
	config := types.Config{Importer: nothing{}, Error: func(error) {}}
	config.Check(dir, set, p.files, p.info)
	for _, f := range p.files {
		for _, d := range f.Decls {
			if d, ok := d.(*ast.FuncDecl); ok && d.Body != nil {
				p.functions[p.info.Defs[d.Name]] = d
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
	all = slices.DeleteFunc(slices.Compact(all), func(s string) bool { return s == "" })
	return all, nil
}

// nothing imports packages without what they have.
type nothing struct{}

func (nothing) Import(name string) (*types.Package, error) {
	p := types.NewPackage(name, path.Base(name))
	p.MarkComplete()
	return p, nil
}

// names follows strings through a package.
type names struct {
	files     []*ast.File
	info      *types.Info
	functions map[types.Object]*ast.FuncDecl // functions and methods
	open      map[ast.Expr]bool              // what is being followed
}

// unknown stands for a string that is not followed.
const unknown = `\w+`

// named reports whether e is a name, and this one.
func named(e ast.Node, name string) bool {
	id, ok := e.(*ast.Ident)
	return ok && id != nil && id.Name == name
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
		return joined(p.values(e.X, in), p.values(e.Y, in))
	case *ast.Ident:
		return p.named(e, in)
	case *ast.SelectorExpr:
		return p.fields(e.Sel)
	case *ast.CallExpr:
		return p.results(e, 0, in)
	}
	return []string{unknown}
}

// results returns the strings that a call may return as its i-th result.
func (p *names) results(call *ast.CallExpr, i int, in *ast.FuncDecl) []string {
	name := callee(call)
	if named(name, "Sprintf") && len(call.Args) > 0 {
		var all []string
		for _, format := range p.values(call.Args[0], in) {
			format = strings.ReplaceAll(format, "%d", `\d+`)
			parts := strings.Split(format, "%s")
			texts := []string{parts[0]}
			arg := 1 + strings.Count(parts[0], `\d+`)
			for _, part := range parts[1:] {
				values := p.values(call.Args[min(arg, len(call.Args)-1)], in)
				texts = joined(joined(texts, values), []string{part})
				arg += 1 + strings.Count(part, `\d+`)
			}
			all = append(all, texts...)
		}
		return all
	}
	f := p.functions[p.info.Uses[name]]
	if f == nil {
		return []string{unknown}
	}
	var all []string
	ast.Inspect(f.Body, func(n ast.Node) bool {
		if _, ok := n.(*ast.FuncLit); ok {
			return false
		}
		if r, ok := n.(*ast.ReturnStmt); ok && i < len(r.Results) {
			all = append(all, p.values(r.Results[i], f)...)
		}
		return true
	})
	return all
}

// callee is the name of the function or method that is called, if it has one.
func callee(call *ast.CallExpr) *ast.Ident {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f
	case *ast.SelectorExpr:
		return f.Sel
	}
	return nil
}

// named returns the strings that a name may stand for where it is used: a parameter, a variable, or
// a constant or variable of the package.
func (p *names) named(id *ast.Ident, in *ast.FuncDecl) []string {
	var all []string
	i := 0
	for _, field := range in.Type.Params.List {
		for _, n := range field.Names {
			if n.Name == id.Name {
				all = p.arguments(in, i)
			}
			i++
		}
	}
	v := variable{names: p, id: id, in: in}
	if all, _ = v.after(in.Body, all); v.used != nil {
		all = v.used
	}
	if all != nil {
		return all
	}
	for _, f := range p.files {
		for _, d := range f.Decls {
			if g, ok := d.(*ast.GenDecl); ok {
				for _, s := range g.Specs {
					all, _ = v.after(&ast.DeclStmt{
						Decl: &ast.GenDecl{Specs: []ast.Spec{s}, TokPos: token.NoPos},
					}, all)
				}
			}
		}
	}
	if all == nil {
		return []string{unknown}
	}
	return all
}

// A variable follows what a name may stand for until it is used.
type variable struct {
	*names
	id   *ast.Ident
	in   *ast.FuncDecl
	used []string // at the use
}

// after returns what the name may stand for after a statement, and whether it goes on from there.
func (v *variable) after(s ast.Stmt, set []string) (after []string, ends bool) {
	if s == nil {
		return set, false
	}
	// The use is in a statement, and not in one that this has: it stands for what it did before.
	if s.Pos() <= v.id.Pos() && v.id.Pos() < s.End() {
		v.used = set
	}
	either := func(branches ...[]string) []string {
		all := slices.Concat(branches...)
		slices.Sort(all)
		return slices.Compact(all)
	}
	switch s := s.(type) {
	case *ast.BlockStmt:
		for _, x := range s.List {
			if set, ends = v.after(x, set); ends {
				return set, true
			}
		}
	case *ast.ReturnStmt, *ast.BranchStmt:
		return set, true
	case *ast.IfStmt:
		set, _ = v.after(s.Init, set)
		yes, endsThen := v.after(s.Body, set)
		no, endsElse := set, false
		if s.Else != nil {
			no, endsElse = v.after(s.Else, set)
		}
		switch {
		case endsThen && endsElse:
			return nil, true
		case endsThen:
			return no, false
		case endsElse:
			return yes, false
		}
		return either(yes, no), false
	case *ast.ForStmt:
		set, _ = v.after(s.Init, set)
		once, _ := v.after(s.Body, set)
		return either(set, once), false
	case *ast.RangeStmt:
		if named(s.Key, v.id.Name) {
			set = []string{unknown}
		}
		if named(s.Value, v.id.Name) {
			set = []string{unknown}
			if l, ok := s.X.(*ast.CompositeLit); ok {
				set = nil
				for _, e := range l.Elts {
					set = append(set, v.values(e, v.in)...)
				}
			}
		}
		once, _ := v.after(s.Body, set)
		return either(set, once), false
	case *ast.SwitchStmt:
		set, _ = v.after(s.Init, set)
		var all []string
		whole := false
		for _, c := range s.Body.List {
			c := c.(*ast.CaseClause)
			whole = whole || c.List == nil
			body := &ast.BlockStmt{Lbrace: c.Pos(), List: c.Body, Rbrace: c.End()}
			one, ends := v.after(body, set)
			if !ends {
				all = append(all, one...)
			}
		}
		if !whole {
			all = append(all, set...)
		}
		return either(all), false
	case *ast.DeclStmt:
		for _, spec := range s.Decl.(*ast.GenDecl).Specs {
			if spec, ok := spec.(*ast.ValueSpec); ok {
				for i, n := range spec.Names {
					if n.Name == v.id.Name && i < len(spec.Values) {
						set = v.values(spec.Values[i], v.in)
					}
				}
			}
		}
	case *ast.AssignStmt:
		for i, to := range s.Lhs {
			switch {
			case !named(to, v.id.Name):
			case s.Tok == token.ADD_ASSIGN:
				set = joined(set, v.values(s.Rhs[0], v.in))
			case len(s.Lhs) != len(s.Rhs):
				set = []string{unknown}
				if c, ok := s.Rhs[0].(*ast.CallExpr); ok {
					set = v.results(c, i, v.in)
				}
			default:
				set = v.values(s.Rhs[i], v.in)
			}
		}
	}
	return set, false
}

// joined returns each x followed by each y.
func joined(xs, ys []string) (all []string) {
	for _, x := range xs {
		for _, y := range ys {
			all = append(all, x+y)
		}
	}
	return all
}

// fields returns the strings that a field is given in the package.
func (p *names) fields(id *ast.Ident) []string {
	field := p.info.Uses[id]
	if field == nil {
		return []string{unknown}
	}
	var all []string
	grows := false // by what is appended to it
	same := func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		return ok && p.info.Uses[s.Sel] == field
	}
	given := func(d ast.Decl, in *ast.FuncDecl) {
		ast.Inspect(d, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.KeyValueExpr:
				if key, ok := n.Key.(*ast.Ident); ok && p.info.Uses[key] == field {
					all = append(all, p.values(n.Value, in)...)
				}
			case *ast.AssignStmt:
				for i, to := range n.Lhs {
					switch {
					case !same(to):
					case len(n.Lhs) != len(n.Rhs):
						all = append(all, unknown)
					case n.Tok == token.ADD_ASSIGN || has(n.Rhs[i], same):
						grows = true
					default:
						all = append(all, p.values(n.Rhs[i], in)...)
					}
				}
			}
			return true
		})
	}
	nowhere := &ast.FuncDecl{
		Type: &ast.FuncType{Params: new(ast.FieldList)}, Body: new(ast.BlockStmt),
	}
	for _, f := range p.files {
		for _, d := range f.Decls {
			if function, ok := d.(*ast.FuncDecl); ok {
				given(d, function)
			} else {
				given(d, nowhere)
			}
		}
	}
	if all == nil {
		return []string{unknown}
	}
	if grows {
		return joined(all, []string{`\w*`})
	}
	return all
}

// has reports whether something in e is what is looked for.
func has(e ast.Expr, is func(ast.Node) bool) bool {
	found := false
	ast.Inspect(e, func(n ast.Node) bool {
		found = found || is(n)
		return !found
	})
	return found
}

// arguments returns the strings that calls in the package give a function as parameter i.
func (p *names) arguments(of *ast.FuncDecl, i int) []string {
	var all []string
	for _, f := range p.functions {
		ast.Inspect(f, func(n ast.Node) bool {
			c, ok := n.(*ast.CallExpr)
			if ok && i < len(c.Args) && p.info.Uses[callee(c)] == p.info.Defs[of.Name] {
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

type Type bool

type Launch struct{ Kernel string }

type Queue struct{ all []Launch }

type cut struct {
	n          int
	tile, name string
}

var narrow = cut{tile: "narrow"}

func (c cut) add(q *Queue) { q.add(c.tile+"_cut", 1) }

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
	if depth > 99 {
		name = "none"
		return
	}
	q.add(name, 2)
	for _, s := range []string{"one", "two"} {
		q.add(s, 1)
	}
	q.add(other.Name(), 1)
	c := cut{n: 1}
	c.tile = "wide"
	c.name = "grown_"
	if depth > 3 {
		c.name += "t"
	}
	q.add(c.name+"_f32", 1)
	c.add(q)
	q.add("tile_"+c.tile, 1)
	layout := "p_"
	switch {
	case depth > 1:
		layout += "n"
	case depth > 2:
		layout += "t"
	}
	if t {
		layout += "n"
	} else {
		layout = layout + "t"
	}
	q.add(layout, 1)
	layout = "later"
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
		`\w+`, `add_bf16`, `add_f32`, `dot`, `gemm_\d+_bf16`, `gemm_\d+_f32`, `large_gemm`,
		`one`, `two`, `tile_narrow`, `tile_wide`,
		`grown_\w*_f32`, `narrow_cut`, `wide_cut`, `p_n`, `p_t`, `p_nn`, `p_nt`, `p_tn`, `p_tt`,
	}
	slices.Sort(want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("names are %q, not %q", got, want)
	}
}
