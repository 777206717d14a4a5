//go:build linux

package filetest

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/internal/file"
)

// Windows lets this process treat files as on Windows until the test ends, and what it does to them
// by package file fail as it would fail there, which fails the test too. What is open in the
// process counts, whoever has opened it: files that are mapped into memory among them.
func Windows(t testing.TB) {
	restore := file.AsWindows()
	was := file.Before
	file.Before = func(operation, name string) error {
		err := Allowed(operation, name)
		if err != nil {
			t.Errorf("on Windows: %s %s: %v", operation, name, err)
		}
		return err
	}
	t.Cleanup(func() {
		file.Before = was
		restore()
	})
}

// Allowed says why an operation, as file.Before names it, fails on Windows.
func Allowed(operation, name string) error {
	name, err := filepath.Abs(name)
	if err != nil {
		return err
	}
	switch operation {
	case "move", "remove":
		return closed(name)
	case "rename":
		if info, err := os.Stat(name); err == nil && info.IsDir() {
			return errors.New("there is a folder of that name")
		}
		return errors.Join(closed(name), named(name))
	case "create", "lock":
		return named(name)
	}
	return nil
}

// closed says whether a file, or one in a folder, is open.
func closed(name string) error {
	for _, path := range opened() {
		if path == name || strings.HasPrefix(path, name+string(filepath.Separator)) {
			return fmt.Errorf("%s is open", path)
		}
	}
	return nil
}

// opened are the files and folders that this process has open or mapped.
func opened() (paths []string) {
	const files = "/proc/self/fd"
	entries, _ := os.ReadDir(files) // without them, what is mapped is left
	for _, e := range entries {
		if path, err := os.Readlink(filepath.Join(files, e.Name())); err == nil {
			paths = append(paths, path)
		}
	}
	maps, _ := os.ReadFile("/proc/self/maps")
	for line := range strings.Lines(string(maps)) {
		if i := strings.Index(line, "/"); i >= 0 {
			paths = append(paths, strings.TrimSpace(line[i:]))
		}
	}
	return paths
}

// named says whether a file can have a name in its folder.
func named(name string) error {
	base := filepath.Base(name)
	if err := file.CheckName(base); err != nil {
		return err
	}
	entries, _ := os.ReadDir(filepath.Dir(name)) // one that is not there has none
	for _, e := range entries {
		if e.Name() != base && strings.EqualFold(e.Name(), base) {
			return fmt.Errorf("that is %s, which is there", e.Name())
		}
	}
	return nil
}

// Names requires that all files and folders below a folder can have their names on Windows.
func Names(t testing.TB, dir string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || path == dir {
			return err
		}
		return named(path)
	}))
}
