package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// module is the path of the module.
const module = "github.com/kudos-ml/kudos"

// A Source is a Go file of the module.
type Source struct {
	Package string // folder, relative to the module's root
	Test    bool
	File    *ast.File
	set     *token.FileSet
}

// Read parses all Go files of a module, whatever their build constraints. It leaves out what the
// go command leaves out: testdata, names that begin with a dot or an underscore, and modules in the
// module.
func Read(root fs.FS) ([]Source, error) {
	var sources []Source
	set := token.NewFileSet()
	err := fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := name != "." && strings.ContainsAny(d.Name()[:1], "._")
		if d.IsDir() {
			_, err := fs.Stat(root, path.Join(name, "go.mod"))
			module := name != "." && err == nil
			if hidden || d.Name() == "testdata" || module {
				return fs.SkipDir
			}
			return nil
		}
		if hidden || path.Ext(name) != ".go" {
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(set, name, text, parser.ParseComments)
		if err != nil {
			return err
		}
		test := strings.HasSuffix(name, "_test.go")
		sources = append(sources, Source{path.Dir(name), test, file, set})
		return nil
	})
	return sources, err
}

// imports yields what a file imports, and where.
func (s Source) imports(yield func(place, path string) bool) {
	for _, spec := range s.File.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err == nil && !yield(s.place(spec), p) {
			return
		}
	}
}

func (s Source) place(n ast.Node) string {
	p := s.set.Position(n.Pos())
	return fmt.Sprintf("%s:%d", p.Filename, p.Line)
}

// A Policy says which packages of the module may import which. The packages of a list are separated
// by spaces.
type Policy struct {
	Imports    map[string]string // of each package, what it may import
	Tests      string            // what tests may import beside that and their own package
	Exceptions []Exception
}

// An Exception is one more import that is allowed.
type Exception struct {
	From, To string
	Test     bool   // in tests only
	For      string // the reason
}

// Check returns what breaks the policy: an import that it does not allow, a package that it has no
// line for, and a line or an exception of the policy that nothing needs.
func (p Policy) Check(sources []Source) []string {
	var wrong []string
	packages, used := map[string]bool{}, map[Exception]bool{}
	for _, s := range sources {
		packages[s.Package] = true
		line, ok := p.line(s.Package)
		if !ok {
			continue
		}
		for place, imported := range s.imports {
			to, ok := inModule(imported)
			if !ok || covers(line, to) || s.Test && (to == s.Package || covers(p.Tests, to)) {
				continue
			}
			i := slices.IndexFunc(p.Exceptions, func(e Exception) bool {
				return e.From == s.Package && e.To == to && (s.Test || !e.Test)
			})
			if i < 0 {
				wrong = append(wrong, fmt.Sprintf("%s: %s may not import %s", place, s.Package, to))
				continue
			}
			used[p.Exceptions[i]] = true
		}
	}
	for _, name := range slices.Sorted(maps.Keys(packages)) {
		if _, ok := p.line(name); !ok {
			wrong = append(wrong, fmt.Sprintf("%s: the policy has no line for this package", name))
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.Imports)) {
		if !strings.HasSuffix(name, "/...") && !packages[name] {
			wrong = append(wrong, fmt.Sprintf(
				"%s: the policy has a line for this package, which does not exist", name))
		}
	}
	for _, e := range p.Exceptions {
		if !used[e] {
			wrong = append(wrong, fmt.Sprintf("%s: nothing needs the exception for %s",
				e.From, e.To))
		}
	}
	return wrong
}

// line returns what a package may import, by its own line or that of a tree which it is in.
func (p Policy) line(name string) (string, bool) {
	if line, ok := p.Imports[name]; ok {
		return line, true
	}
	for tree, line := range p.Imports {
		if strings.HasSuffix(tree, "/...") && covers(tree, name) {
			return line, true
		}
	}
	return "", false
}

// inModule returns the path of a package of the module relative to its root.
func inModule(imported string) (string, bool) {
	if imported == module {
		return ".", true
	}
	return strings.CutPrefix(imported, module+"/")
}

// A Ban is an import that only some packages may have.
type Ban struct {
	Import string // path/... stands for what is under it as well
	In     string // the packages that may
	Tests  bool   // tests may not either
	Why    string
}

// Forbidden returns the imports that are banned.
func Forbidden(sources []Source, bans []Ban) []string {
	var wrong []string
	for _, s := range sources {
		for place, imported := range s.imports {
			for _, b := range bans {
				if !covers(b.Import, imported) || s.Test && !b.Tests || covers(b.In, s.Package) {
					continue
				}
				wrong = append(wrong, fmt.Sprintf("%s: %s may not import %s: %s",
					place, s.Package, imported, b.Why))
			}
		}
	}
	return wrong
}
