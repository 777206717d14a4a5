package lint

import (
	"fmt"
	"go/ast"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// mayAppear are the modules of others whose types importers have anyway.
const mayAppear = "gorgonia.org/gorgonia/... gorgonia.org/tensor/..."

// Foreign returns the types in what importers see that they cannot name, or would need another
// module for: internal ones, and those of modules other than gorgonia's. It returns as well what it
// cannot tell: a type of a package whose name does not follow from its path, names that an import
// with a dot brings in, and a variable whose type the source does not say.
func Foreign(sources []Source) (wrong []string) {
	for _, p := range publicPackages(sources) {
		for _, s := range p.sources {
			wrong = append(wrong, s.dotted()...)
		}
		for _, d := range p.visible() {
			wrong = append(wrong, d.foreign()...)
		}
	}
	return wrong
}

// dotted returns the imports whose names a file uses without the package's.
func (s Source) dotted() (wrong []string) {
	const hides = ": an import with a dot hides whose names they are"
	for _, spec := range s.File.Imports {
		if spec.Name != nil && spec.Name.Name == "." {
			wrong = append(wrong, s.place(spec)+hides)
		}
	}
	return wrong
}

// foreign is Foreign of one declaration.
func (d declaration) foreign() (wrong []string) {
	if d.unknown != nil {
		wrong = append(wrong, fmt.Sprintf("%s: the source does not say the type of %s",
			d.source.place(d.unknown), d.text))
	}
	imported := d.source.names()
	inTypes(d.types, func(n ast.Node) {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return
		}
		of, ok := sel.X.(*ast.Ident)
		if !ok {
			return
		}
		shows := fmt.Sprintf("%s: %s shows %s.%s",
			d.source.place(sel), d.text, of.Name, sel.Sel.Name)
		p, known := imported[of.Name]
		to, ours := inModule(p)
		switch {
		case !known:
			wrong = append(wrong, shows+" of a package that no import names")
		case ours && isInternal(to), !ours && strings.Contains(p, ".") && !covers(mayAppear, p):
			wrong = append(wrong, shows+" of "+p)
		}
	})
	return wrong
}

// isInternal reports whether a path relative to the module's root leads through a folder named
// internal.
func isInternal(to string) bool { return strings.Contains("/"+to+"/", "/internal/") }

// names are the paths that a file imports, by the names that it calls them.
func (s Source) names() map[string]string {
	all := map[string]string{}
	for _, spec := range s.File.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			continue
		}
		name := nameOf(p)
		if spec.Name != nil {
			name = spec.Name.Name
		}
		all[name] = p
	}
	return all
}

// nameOf is the name that a package usually has by its path: the last element, or the one before
// it if the last is a major version (math/rand/v2), without a version of its own (yaml.v3).
func nameOf(p string) string {
	if majorVersion.MatchString(path.Base(p)) {
		p = path.Dir(p)
	}
	return ownVersion.ReplaceAllString(path.Base(p), "")
}

var (
	majorVersion = regexp.MustCompile(`^v[0-9]+$`)
	ownVersion   = regexp.MustCompile(`\.v[0-9]+$`)
)

// InternalExamples returns what examples for go doc use that a reader may not import.
func InternalExamples(sources []Source) (wrong []string) {
	for _, s := range sources {
		if !s.Test || covers(private, s.Package) {
			continue
		}
		imported := s.names()
		for _, d := range s.File.Decls {
			f, ok := d.(*ast.FuncDecl)
			if !ok || f.Recv != nil || !strings.HasPrefix(f.Name.Name, "Example") {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				id, ok := n.(*ast.Ident)
				if !ok {
					return true
				}
				if to, ours := inModule(imported[id.Name]); ours && isInternal(to) {
					wrong = append(wrong, fmt.Sprintf("%s: %s uses %s",
						s.place(id), f.Name.Name, to))
				}
				return true
			})
		}
	}
	return wrong
}
