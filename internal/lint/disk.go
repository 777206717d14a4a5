package lint

import (
	"fmt"
	"go/ast"
)

// onDisk are the functions of package os that change what is on the disk, and what is called
// instead.
var onDisk = map[string]string{
	"Rename": "file.Rename", "Remove": "file.Remove", "RemoveAll": "file.RemoveAll",
	"WriteFile": "file.WriteBytes", "Create": "file.Write",
}

// Disk returns where programs change the disk without internal/file, which writes files whole or
// not at all, and whose tests hold what it does to other systems' rules. It returns as well where a
// folder is made of another mode than the process's own. Tests, and the packages that are excepted,
// may do so.
func Disk(sources []Source, except string) (wrong []string) {
	for _, s := range sources {
		if s.Test || covers(except, s.Package) {
			continue
		}
		ast.Inspect(s.File, func(n ast.Node) bool {
			function, arguments := s.ofOS(n)
			if instead, ok := onDisk[function]; ok {
				text := fmt.Sprintf("%s: os.%s: use %s", s.place(n), function, instead)
				wrong = append(wrong, text)
			}
			if function == "MkdirAll" && len(arguments) == 2 {
				mode, _ := arguments[1].(*ast.BasicLit)
				if mode == nil || mode.Value != "0o777" {
					const text = "%s: the mode is not 0o777, of which the process takes its umask"
					wrong = append(wrong, fmt.Sprintf(text, s.place(n)))
				}
			}
			return true
		})
	}
	return wrong
}

// ofOS is the name of a function of package os that a node is or calls, with what it is called
// with.
func (s Source) ofOS(n ast.Node) (function string, arguments []ast.Expr) {
	if call, ok := n.(*ast.CallExpr); ok {
		if function, _ = s.ofOS(call.Fun); onDisk[function] != "" {
			return "", nil // it is seen as what is called
		}
		return function, call.Args
	}
	selector, ok := n.(*ast.SelectorExpr)
	if !ok {
		return "", nil
	}
	if of, ok := selector.X.(*ast.Ident); ok && of.Name == "os" {
		return selector.Sel.Name, nil
	}
	return "", nil
}
