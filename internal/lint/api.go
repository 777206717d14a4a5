package lint

import (
	"bytes"
	"go/ast"
	"go/printer"
	"go/token"
	"maps"
	"slices"
	"strings"
)

// API returns what importers see of each public package: its declarations, sorted, one a line.
func API(sources []Source) map[string]string {
	api := map[string]string{}
	for _, p := range publicPackages(sources) {
		var lines []string
		for _, d := range p.visible() {
			lines = append(lines, d.text)
		}
		if lines != nil {
			slices.Sort(lines) // files of other systems declare the same
			api[p.name] = strings.Join(slices.Compact(lines), "\n") + "\n"
		}
	}
	return api
}

// A pkg is a package that is there to be imported from outside the module.
type pkg struct {
	name    string
	sources []Source                   // without tests
	types   map[string][]*ast.TypeSpec // by name; files of other systems may declare the same
	methods map[string]bool            // the names of types that have an exported method
}

// publicPackages returns the public packages, sorted by name.
func publicPackages(sources []Source) (all []*pkg) {
	byName := map[string]*pkg{}
	for _, s := range sources {
		if !s.public() {
			continue
		}
		p := byName[s.Package]
		if p == nil {
			p = &pkg{
				name:    s.Package,
				types:   map[string][]*ast.TypeSpec{},
				methods: map[string]bool{},
			}
			byName[s.Package] = p
		}
		p.add(s)
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		all = append(all, byName[name])
	}
	return all
}

// public reports whether a file is of a package that is there to be imported from outside the
// module.
func (s Source) public() bool {
	switch {
	case s.Test || s.File.Name.Name == "main":
		return false
	case strings.HasPrefix(s.Package, "examples/internal/"):
		return false
	}
	return !covers(private+" "+testSupport, s.Package)
}

func (p *pkg) add(s Source) {
	p.sources = append(p.sources, s)
	for _, d := range s.File.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv != nil && d.Name.IsExported() {
				p.methods[receiver(d).Name] = true
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if t, ok := spec.(*ast.TypeSpec); ok {
					p.types[t.Name.Name] = append(p.types[t.Name.Name], t)
				}
			}
		}
	}
}

// A declaration is one that importers see, as they see it.
type declaration struct {
	source  Source
	text    string   // without what is not exported, on one line
	types   ast.Node // what names types, of this package and of others; nil if nothing does
	unknown ast.Node // the variable's name, where the source does not say its type
}

// visible returns the exported declarations of a package. With them are those of its types that are
// not exported but that exported declarations name: their exported fields and methods can be used
// by whoever has a value of them.
func (p *pkg) visible() (all []declaration) {
	for _, s := range p.sources {
		all = append(all, p.declared(s, ast.IsExported)...)
	}
	shown := map[string]bool{}
	for i := 0; i < len(all); i++ { // all grows
		for _, name := range typeNames(all[i].types) {
			if ast.IsExported(name) || shown[name] || p.types[name] == nil {
				continue
			}
			shown[name] = true
			for _, s := range p.sources {
				all = append(all, p.declared(s, func(n string) bool { return n == name })...)
			}
		}
	}
	return all
}

// declared returns those declarations of a file that are shown by the names that shown holds for:
// functions, types with their exported methods, variables and constants.
func (p *pkg) declared(s Source, shown func(name string) bool) (all []declaration) {
	for _, d := range s.File.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && shown(d.Name.Name) ||
				d.Recv != nil && shown(receiver(d).Name) && d.Name.IsExported() {
				f := &ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type}
				all = append(all, declaration{source: s, text: oneLine(f), types: d.Type})
			}
		case *ast.GenDecl:
			var before *ast.ValueSpec
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					if shown(spec.Name.Name) {
						all = append(all, p.typed(s, spec))
					}
				case *ast.ValueSpec:
					if d.Tok == token.CONST && spec.Type == nil && spec.Values == nil {
						spec = &ast.ValueSpec{Names: spec.Names, Type: before.Type} // as before
					}
					all = append(all, s.valued(d.Tok, spec, shown)...)
					before = spec
				}
			}
		}
	}
	return all
}

// typed returns the declaration of a type.
func (p *pkg) typed(s Source, spec *ast.TypeSpec) declaration {
	t := &ast.TypeSpec{
		Name:       spec.Name,
		TypeParams: spec.TypeParams,
		Assign:     spec.Assign,
		Type:       p.outside(spec.Type),
	}
	return declaration{source: s, text: "type " + oneLine(t), types: t}
}

// valued returns the declarations of variables or constants.
func (s Source) valued(
	tok token.Token, spec *ast.ValueSpec, shown func(name string) bool,
) (all []declaration) {
	for i, name := range spec.Names {
		if !shown(name.Name) {
			continue
		}
		d := declaration{source: s, text: tok.String() + " " + name.Name}
		t := spec.Type
		if t == nil && tok == token.VAR {
			if len(spec.Values) == len(spec.Names) {
				t = s.typeOf(spec.Values[i])
			}
			if t == nil {
				d.unknown = name
			}
		}
		if t != nil {
			d.text += " " + oneLine(t)
			d.types = t
		}
		all = append(all, d)
	}
	return all
}

// typeOf returns the type of a value that shows it, and nil for all others.
func (s Source) typeOf(value ast.Expr) ast.Expr {
	switch v := value.(type) {
	case *ast.CompositeLit:
		return v.Type
	case *ast.FuncLit:
		return v.Type
	case *ast.UnaryExpr:
		if t := s.typeOf(v.X); t != nil && v.Op == token.AND {
			return &ast.StarExpr{X: t}
		}
	case *ast.BasicLit:
		if t, ok := literals[v.Kind]; ok {
			return ast.NewIdent(t)
		}
	case *ast.CallExpr:
		if f, ok := v.Fun.(*ast.Ident); ok && f.Name == "new" {
			return &ast.StarExpr{X: v.Args[0]}
		}
		if f, ok := v.Fun.(*ast.Ident); ok && f.Name == "make" {
			return v.Args[0]
		}
		if f, ok := v.Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "New" {
			if of, ok := f.X.(*ast.Ident); ok && s.names()[of.Name] == "errors" {
				return ast.NewIdent("error")
			}
		}
	}
	return nil
}

// literals are the types of variables that a literal is assigned to.
var literals = map[token.Token]string{
	token.INT: "int", token.FLOAT: "float64", token.IMAG: "complex128",
	token.CHAR: "rune", token.STRING: "string",
}

// outside is a type without the fields that are not exported. An embedded type stays, exported or
// not, if it has something that is promoted.
func (p *pkg) outside(t ast.Expr) ast.Expr {
	switch t := t.(type) {
	case *ast.StructType:
		fields := &ast.FieldList{}
		for _, f := range t.Fields.List {
			if len(f.Names) == 0 {
				if p.promotes(f.Type, nil) {
					fields.List = append(fields.List, &ast.Field{Type: f.Type, Tag: f.Tag})
				}
				continue
			}
			unexported := func(n *ast.Ident) bool { return !n.IsExported() }
			names := slices.DeleteFunc(slices.Clone(f.Names), unexported)
			if len(names) > 0 {
				field := &ast.Field{Names: names, Type: p.outside(f.Type), Tag: f.Tag}
				fields.List = append(fields.List, field)
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

// promotes reports whether a struct that embeds a type has anything of it that importers can use:
// the embedded field itself, or exported fields and methods that are promoted. The names in within
// are of types that are being looked at already.
func (p *pkg) promotes(t ast.Expr, within []string) bool {
	name := embedded(t)
	switch {
	case name == nil || name.IsExported():
		return true
	case slices.Contains(within, name.Name):
		return false
	case p.methods[name.Name] || p.types[name.Name] == nil: // of the language: error
		return true
	}
	within = append(slices.Clone(within), name.Name)
	return slices.ContainsFunc(p.types[name.Name], func(spec *ast.TypeSpec) bool {
		s, ok := spec.Type.(*ast.StructType)
		if !ok {
			return true // an interface, an alias, or a type made of another
		}
		return slices.ContainsFunc(s.Fields.List, func(f *ast.Field) bool {
			if len(f.Names) == 0 {
				return p.promotes(f.Type, within)
			}
			return slices.ContainsFunc(f.Names, func(n *ast.Ident) bool { return n.IsExported() })
		})
	})
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
	case *ast.IndexListExpr:
		return embedded(t.X)
	}
	return nil
}

// inTypes calls visit for the nodes that name types: not for the names of parameters and fields.
func inTypes(n ast.Node, visit func(ast.Node)) {
	if n == nil {
		return
	}
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case nil:
			return false
		case *ast.TypeSpec:
			if n.TypeParams != nil {
				inTypes(n.TypeParams, visit)
			}
			inTypes(n.Type, visit)
			return false
		case *ast.Field:
			inTypes(n.Type, visit)
			return false
		case *ast.SelectorExpr:
			visit(n)
			return false
		}
		visit(n)
		return true
	})
}

// typeNames returns the names without a package that stand for types.
func typeNames(n ast.Node) (names []string) {
	inTypes(n, func(n ast.Node) {
		if id, ok := n.(*ast.Ident); ok {
			names = append(names, id.Name)
		}
	})
	return names
}

// oneLine is a node as Go source on one line.
func oneLine(n ast.Node) string {
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
	return joints.Replace(strings.Join(parts, "; "))
}

// joints takes out the semicolons and commas that only lines of their own need.
var joints = strings.NewReplacer(
	"{; ", "{ ", "(; ", "(", ",; )", ")", "; }", " }", ",; ", ", ",
)
