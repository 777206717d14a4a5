package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/internal/file"
)

// A Folder is the path of the folder that a run leaves behind.
type Folder string

// NewFolder makes the folder and those above it, if they are not there.
func NewFolder(dir string) (Folder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("report: %w", err)
	}
	return Folder(dir), nil
}

// Path joins names to the folder's own.
func (f Folder) Path(names ...string) string {
	return filepath.Join(append([]string{string(f)}, names...)...)
}

// Write writes what write gives to a file of the folder, name with forward slashes. The file is
// there whole or, after an error, as it was before.
func (f Folder) Write(name string, write func(io.Writer) error) error {
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
