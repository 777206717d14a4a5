package lint

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/printer"
	"go/token"
	"path"
	"slices"
	"strconv"
	"strings"
)

// public reports whether a package is there to be imported from outside the module.
func (s Source) public() bool {
	return !s.Test && s.File.Name.Name != "main" && !covers("internal/... kernels/internal/... "+testSupport, s.Package) &&
		!strings.HasPrefix(s.Package, "examples/internal/")
}

// A declaration is an exported one, as its package's importers see it.
type declaration struct {
	text  string   // without what is not exported, on one line
	types ast.Node // what names types of other packages
}

// exported returns the exported declarations of a file.
func (s Source) exported() (all []declaration) {
	for _, d := range s.File.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if !d.Name.IsExported() || d.Recv != nil && !receiver(d).IsExported() {
				continue
			}
			f := &ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type}
			all = append(all, declaration{s.print(f), d.Type})
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				all = append(all, s.specified(d.Tok, spec)...)
			}
		}
	}
	return all
}

// specified returns the exported declarations of a type, variables or constants.
func (s Source) specified(tok token.Token, spec ast.Spec) (all []declaration) {
	switch spec := spec.(type) {
	case *ast.TypeSpec:
		if spec.Name.IsExported() {
			t := &ast.TypeSpec{Name: spec.Name, TypeParams: spec.TypeParams, Assign: spec.Assign, Type: outside(spec.Type)}
			all = append(all, declaration{"type " + s.print(t), t})
		}
	case *ast.ValueSpec:
		for _, name := range spec.Names {
			if !name.IsExported() {
				continue
			}
			text, types := tok.String()+" "+name.Name, ast.Node(name)
			if spec.Type != nil {
				text, types = text+" "+s.print(spec.Type), spec.Type
			}
			all = append(all, declaration{text, types})
		}
	}
	return all
}

// outside is a type without the fields and methods that are not exported.
func outside(t ast.Expr) ast.Expr {
	switch t := t.(type) {
	case *ast.StructType:
		fields := &ast.FieldList{}
		for _, f := range t.Fields.List {
			if len(f.Names) == 0 {
				if name := embedded(f.Type); name == nil || name.IsExported() {
					fields.List = append(fields.List, &ast.Field{Type: f.Type, Tag: f.Tag})
				}
				continue
			}
			names := slices.DeleteFunc(slices.Clone(f.Names), func(n *ast.Ident) bool { return !n.IsExported() })
			if len(names) > 0 {
				fields.List = append(fields.List, &ast.Field{Names: names, Type: outside(f.Type), Tag: f.Tag})
			}
		}
		return &ast.StructType{Fields: fields}
	case *ast.InterfaceType:
		methods := &ast.FieldList{}
		for _, m := range t.Methods.List {
			methods.List = append(methods.List, &ast.Field{Names: m.Names, Type: m.Type})
		}
		return &ast.InterfaceType{Methods: methods}
	}
	return t
}

// embedded is the name of an embedded field.
func embedded(t ast.Expr) *ast.Ident {
	switch t := t.(type) {
	case *ast.Ident:
		return t
	case *ast.StarExpr:
		return embedded(t.X)
	case *ast.SelectorExpr:
		return t.Sel
	case *ast.IndexExpr:
		return embedded(t.X)
	}
	return nil
}

// print is a node as Go source on one line.
func (s Source) print(n ast.Node) string {
	var b bytes.Buffer
	if err := printer.Fprint(&b, token.NewFileSet(), n); err != nil {
		return err.Error()
	}
	var parts []string
	for line := range strings.Lines(b.String()) {
		if line = strings.Join(strings.Fields(line), " "); line != "" {
			parts = append(parts, line)
		}
	}
	text := strings.Join(parts, "; ")
	return strings.NewReplacer("{; ", "{ ", "(; ", "(", ",; )", ")", "; }", " }", ",; ", ", ").Replace(text)
}

// API returns the exported declarations of each public package, sorted, one a line.
func API(sources []Source) map[string]string {
	lines := map[string][]string{}
	for _, s := range sources {
		if !s.public() {
			continue
		}
		for _, d := range s.exported() {
			lines[s.Package] = append(lines[s.Package], d.text)
		}
	}
	api := map[string]string{}
	for name, all := range lines {
		slices.Sort(all) // files of other systems declare the same
		api[name] = strings.Join(slices.Compact(all), "\n") + "\n"
	}
	return api
}

// mayAppear are the modules of others whose types importers have anyway.
const mayAppear = "gorgonia.org/gorgonia/... gorgonia.org/tensor/..."

// Foreign returns the types in exported signatures, fields and definitions that an importer cannot
// name, or would need another module for: internal ones, and those of modules other than gorgonia's.
func Foreign(sources []Source) (wrong []string) {
	for _, s := range sources {
		if !s.public() {
			continue
		}
		imported := s.names()
		for _, d := range s.exported() {
			ast.Inspect(d.types, func(n ast.Node) bool {
				sel, ok := n.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				of, ok := sel.X.(*ast.Ident)
				if !ok {
					return true
				}
				p := imported[of.Name]
				to, ours := inModule(p)
				if ours && strings.Contains("/"+to+"/", "/internal/") || !ours && strings.Contains(p, ".") && !covers(mayAppear, p) {
					wrong = append(wrong, fmt.Sprintf("%s: %s shows %s.%s of %s", s.place(sel), d.text, of.Name, sel.Sel.Name, p))
				}
				return true
			})
		}
	}
	return wrong
}

// names are the paths that a file imports, by the names that it calls them.
func (s Source) names() map[string]string {
	all := map[string]string{}
	for _, spec := range s.File.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := path.Base(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		all[name] = p
	}
	return all
}

// InternalExamples returns what examples for go doc use that a reader may not import.
func InternalExamples(sources []Source) (wrong []string) {
	for _, s := range sources {
		if !s.Test || covers("internal/... kernels/internal/...", s.Package) {
			continue
		}
		imported := s.names()
		for _, d := range s.File.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Example") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				if id, ok := n.(*ast.Ident); ok {
					if to, ours := inModule(imported[id.Name]); ours && strings.Contains("/"+to+"/", "/internal/") {
						wrong = append(wrong, fmt.Sprintf("%s: %s uses %s", s.place(id), f.Name.Name, to))
					}
				}
				return true
			})
		}
	}
	return wrong
}
