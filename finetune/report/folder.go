package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/internal/file"
)

// A Folder is the path of the folder that a run leaves behind.
type Folder string

// NewFolder makes the folder and those above it, if they are not there.
func NewFolder(dir string) (Folder, error) {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return Folder(dir), nil
}

// EmptyFolder is NewFolder of one that must be empty: what another run left there would be taken
// for this one's, or be lost. That it is not is an error that wraps fs.ErrExist.
func EmptyFolder(dir string) (Folder, error) {
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("report: %w", err)
	}
	if len(entries) > 0 {
		return "", fmt.Errorf("report: %s: %w", dir, notEmpty{})
	}
	return NewFolder(dir)
}

type notEmpty struct{}

func (notEmpty) Error() string   { return "the folder is not empty" }
func (notEmpty) Is(e error) bool { return e == fs.ErrExist }

// Room is an error where what a run will write, so many bytes, is more than there is room for in
// the folder, or in the nearest one above it that is there. Where the system does not say how much
// room there is, that is tried out. what says what needs it: "3 checkpoints and the result".
func (f Folder) Room(bytes int64, what string) error {
	if free, known := file.Free(string(f)); known && free < bytes {
		return fmt.Errorf("report: %s need %v on the disk of %s, and %v are free there: make "+
			"room, or take a folder on another disk", what, Size(bytes), f, Size(free))
	}
	return nil
}

// Path joins names to the folder's own.
func (f Folder) Path(names ...string) string {
	return filepath.Join(append([]string{string(f)}, names...)...)
}

// Write writes what write gives to a file of the folder, name with forward slashes. The file is
// there whole or, after an error, as it was before.
func (f Folder) Write(name string, write func(io.Writer) error) error {
	if write == nil {
		return fmt.Errorf("report: there is nothing to write %s by: it is nil", f.Path(name))
	}
	if err := file.Write(f.Path(filepath.FromSlash(name)), write); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// JSON writes v, indented, to a file of the folder, as Write does.
func (f Folder) JSON(name string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("report: %s: %w", f.Path(name), err)
	}
	return f.Write(name, func(w io.Writer) error {
		_, err := w.Write(b.Bytes())
		return err
	})
}

// Rename gives a file or folder of the folder another name. What had that name is removed.
func (f Folder) Rename(from, to string) error {
	if err := file.Rename(f.Path(from), f.Path(to)); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}

// Conclude leaves what a run found: result as report.json and the page as report.html. Then it
// prints the tables to w, and where the page is.
func (f Folder) Conclude(w io.Writer, result any, page Page, tables ...Table) error {
	if err := f.JSON("report.json", result); err != nil {
		return err
	}
	path := f.Path("report.html")
	if err := page.WriteFile(path); err != nil {
		return err
	}
	for _, t := range tables {
		if err := t.Print(w); err != nil {
			return err
		}
		fmt.Fprintln(w)
	}
	if _, err := fmt.Fprintln(w, "Wrote", Escaped(path)); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
