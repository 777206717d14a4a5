package lint

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// A Width says how long lines may be.
type Width struct {
	Most   int    // columns
	Except string // the packages that have longer ones
}

// tabColumns is what a tab counts for.
const tabColumns = 4

// generated is what the go command knows generated files by.
var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.\r?$`)

// sources are the names of files whose lines are held to the width.
var sources = []string{".go", ".cu", ".cuh", ".h"}

// Wide returns the lines of sources that are too long. It looks at all of them in a tree, tests
// and testdata as well, but for those that are generated and those of packages that are excepted.
func Wide(root fs.FS, width Width) (wrong []string, err error) {
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || !slices.Contains(sources, path.Ext(name)):
			return nil
		case covers(width.Except, path.Dir(name)):
			return nil
		}
		text, err := fs.ReadFile(root, name)
		if err != nil || generated.Match(text) {
			return err
		}
		number := 0
		for line := range bytes.Lines(text) {
			number++
			line = bytes.TrimRight(line, "\r\n")
			tabs := bytes.Count(line, []byte("\t"))
			columns := utf8.RuneCount(line) + tabs*(tabColumns-1)
			if columns > width.Most {
				wrong = append(wrong, fmt.Sprintf("%s:%d: the line has %d columns, %d at most",
					name, number, columns, width.Most))
			}
		}
		return nil
	})
	return wrong, err
}
