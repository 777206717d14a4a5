package text

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"

	"github.com/kudos-ml/kudos/internal/file"
)

// Most is the longest file that ReadFile and ReadFS read, in bytes. The largest tokenizer.json that
// models have is a quarter of it.
const Most = 64 << 20

// Open opens a file for reading. What is not a file but a folder, a pipe or a device is an error:
// a pipe may wait for ever, and a device may never end.
func Open(name string) (*os.File, error) {
	if info, err := os.Stat(name); err == nil {
		if err := Regular(name, info); err != nil {
			return nil, err
		}
	}
	return os.Open(name)
}

// Regular returns an error that names the file if it is a folder, a pipe or a device.
func Regular(name string, info fs.FileInfo) error {
	odd := file.Odd(info)
	if odd == "" {
		return nil
	}
	err := fmt.Errorf("%s is %s, not a file", name, odd)
	if info.Mode()&fs.ModeNamedPipe != 0 {
		err = fmt.Errorf("%w: write what it gives to a file", err)
	}
	return err
}

// ReadFile returns the text of a file as NewReader gives it. Errors name the file and the line. A
// file of more than most bytes is an error before it is read.
func ReadFile(name string, most int64) ([]byte, error) {
	f, err := Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, name, most)
}

// ReadFS is ReadFile of a file of fsys with at most Most bytes.
func ReadFS(fsys fs.FS, name string) ([]byte, error) {
	if info, err := fs.Stat(fsys, name); err == nil {
		if err := Regular(name, info); err != nil {
			return nil, err
		}
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, path.Base(name), Most)
}

func readAll(f fs.File, name string, most int64) ([]byte, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	tooLong := fmt.Errorf("%s has more than %d bytes", name, most)
	if info.Size() > most {
		return nil, tooLong
	}
	b, err := io.ReadAll(io.LimitReader(NewReader(f), 2*most+1)) // UTF-16 may grow by a half
	if wrong := (*Error)(nil); errors.As(err, &wrong) {
		err = fmt.Errorf("%s:%d: %w", name, wrong.Line, wrong.Err)
	}
	if err == nil && int64(len(b)) > 2*most {
		err = tooLong // it grew while it was read
	}
	return b, err
}
