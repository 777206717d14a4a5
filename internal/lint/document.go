package lint

import (
	"fmt"
	"go/ast"
	"maps"
	"slices"
	"strings"
)

// Undocumented returns the packages that do not have one package comment, in one file, that begins
// as go doc wants it. It returns as well the exported declarations that have no comment. A
// program's declarations need none.
func Undocumented(sources []Source) []string {
	var wrong []string
	names, comments := map[string]string{}, map[string][]Source{}
	for _, s := range sources {
		if s.Test {
			continue
		}
		names[s.Package] = s.File.Name.Name
		if s.File.Doc != nil && strings.TrimSpace(s.File.Doc.Text()) != "" {
			comments[s.Package] = append(comments[s.Package], s)
		}
		if s.File.Name.Name != "main" {
			wrong = append(wrong, s.bare()...)
		}
	}
	for _, p := range slices.Sorted(maps.Keys(names)) {
		begin := "Package " + names[p] + " "
		if names[p] == "main" {
			begin = "Command " + p[strings.LastIndexByte(p, '/')+1:] + " "
		}
		place := func(s Source) string { return s.place(s.File.Doc) }
		switch c := comments[p]; {
		case len(c) == 0:
			wrong = append(wrong, fmt.Sprintf("%s: no package comment", p))
		case len(c) > 1:
			wrong = append(wrong, fmt.Sprintf("%s: a second package comment", place(c[1])))
		case !strings.HasPrefix(c[0].File.Doc.Text(), begin):
			wrong = append(wrong, fmt.Sprintf("%s: the package comment does not begin with %q",
				place(c[0]), begin))
		}
	}
	return wrong
}

// bare returns the exported declarations of a file that have no comment. The comment of a group is
// one for all that is in it.
func (s Source) bare() []string {
	var wrong []string
	exists := func(c *ast.CommentGroup) bool { return c != nil }
	report := func(n ast.Node, name *ast.Ident, comments ...*ast.CommentGroup) {
		if name.IsExported() && !slices.ContainsFunc(comments, exists) {
			wrong = append(wrong, fmt.Sprintf("%s: %s has no comment", s.place(n), name.Name))
		}
	}
	for _, d := range s.File.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil || receiver(d).IsExported() {
				report(d, d.Name, d.Doc)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				switch spec := spec.(type) {
				case *ast.TypeSpec:
					report(spec, spec.Name, d.Doc, spec.Doc)
				case *ast.ValueSpec:
					for _, name := range spec.Names {
						report(spec, name, d.Doc, spec.Doc, spec.Comment)
					}
				}
			}
		}
	}
	return wrong
}

// receiver returns the name of a method's type.
func receiver(d *ast.FuncDecl) *ast.Ident {
	t := d.Recv.List[0].Type
	for {
		switch u := t.(type) {
		case *ast.Ident:
			return u
		case *ast.StarExpr:
			t = u.X
		case *ast.IndexExpr:
			t = u.X
		case *ast.IndexListExpr:
			t = u.X
		default:
			return ast.NewIdent("_")
		}
	}
}

// Unmapped returns what is wrong with the map in the root's package comment: a public package that
// has no line there, and a package whose line stands above that of a package which it imports. A
// line of the map is indented and begins with a package's path.
func Unmapped(sources []Source) []string {
	lines := map[string]int{}
	for _, s := range sources {
		if s.Package == "." && !s.Test && s.File.Doc != nil {
			for i, line := range strings.Split(s.File.Doc.Text(), "\n") {
				f := strings.Fields(line)
				if len(f) > 1 && strings.HasPrefix(line, "\t") && lines[f[0]] == 0 {
					lines[f[0]] = i + 1
				}
			}
		}
	}
	const unlisted = private + " kernels/cuda/internal/... examples/... " + testSupport
	var wrong []string
	missing := map[string]bool{}
	for _, s := range sources {
		if s.Test || s.Package == "." || covers(unlisted, s.Package) {
			continue
		}
		if lines[s.Package] == 0 && !missing[s.Package] {
			missing[s.Package] = true
			wrong = append(wrong, fmt.Sprintf("%s: doc.go has no line for this package", s.Package))
		}
		for place, imported := range s.imports {
			to, ok := inModule(imported)
			if ok && lines[s.Package] > 0 && lines[to] > lines[s.Package] {
				wrong = append(wrong, fmt.Sprintf("%s: doc.go has %s above %s, which it imports",
					place, s.Package, to))
			}
		}
	}
	return wrong
}
