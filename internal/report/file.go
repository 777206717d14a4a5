package report

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/internal/file"
)

// A Folder is what a run leaves behind.
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

// JSON writes v, indented, to a file of the folder that is whole or as it was before.
func (f Folder) JSON(name string, v any) error {
	if err := file.WriteJSON(f.Path(name), v); err != nil {
		return fmt.Errorf("report: %w", err)
	}
	return nil
}
