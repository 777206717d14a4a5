// Package file writes files that are whole or as they were before, and logs that survive a kill.
package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
)

// Write writes what write gives to a file. The file is there whole or, after an error, as it was
// before.
func Write(path string, write func(io.Writer) error) (err error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("file: %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			f.Close()
			os.Remove(f.Name())
			err = fmt.Errorf("file: %s: %w", path, err)
		}
	}()
	if err = write(f); err != nil {
		return err
	}
	if err = f.Chmod(fs.FileMode(0o644)); err != nil {
		return err
	}
	if err = f.Sync(); err != nil {
		return err
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// A Log is a JSONL file that grows by one line at a time. Whatever happens to the process, at most
// the line that was being written is lost.
type Log struct {
	f   *os.File
	end int64 // behind the last whole line
}

// OpenLog opens a log to append to, and makes it if it is not there. A last line without its end,
// left by a process that was killed, is cut off.
func OpenLog(path string) (*Log, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	l := &Log{f: f}
	if err := l.seekEnd(); err != nil {
		f.Close()
		return nil, fmt.Errorf("file: %s: %w", path, err)
	}
	return l, nil
}

// seekEnd finds the end of the last whole line and cuts off what follows.
func (l *Log) seekEnd() error {
	end, err := l.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	for end > 0 {
		n := min(int64(len(block)), end)
		if _, err := l.f.ReadAt(block[:n], end-n); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			end += int64(i) + 1 - n
			break
		}
		end -= n
	}
	l.end = end
	return l.f.Truncate(end)
}

// Append writes v as one line: all of it or, after an error, none of it.
func (l *Log) Append(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("file: %s: %w", l.f.Name(), err)
	}
	n, err := l.f.WriteAt(append(line, '\n'), l.end)
	if err != nil {
		return fmt.Errorf("file: %w", errors.Join(err, l.f.Truncate(l.end)))
	}
	l.end += int64(n)
	return nil
}

// Close makes sure that all lines are on the disk.
func (l *Log) Close() error {
	if err := errors.Join(l.f.Sync(), l.f.Close()); err != nil {
		return fmt.Errorf("file: %w", err)
	}
	return nil
}

// WriteLog writes a log of the lines given, in place of what the file was before.
func WriteLog[T any](path string, lines []T) error {
	return Write(path, func(w io.Writer) error {
		e := json.NewEncoder(w)
		for _, line := range lines {
			if err := e.Encode(line); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadLog yields the lines of a log, decoded. A last line without its end is left out. After an
// error, which names the line, it ends.
func ReadLog[T any](path string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		text, err := os.ReadFile(path)
		if err != nil {
			yield(none, fmt.Errorf("file: %w", err))
			return
		}
		for n := 1; ; n++ {
			line, rest, whole := bytes.Cut(text, []byte("\n"))
			if !whole {
				return
			}
			var v T
			if err := json.Unmarshal(line, &v); err != nil {
				yield(none, fmt.Errorf("file: %s:%d: %w", path, n, err))
				return
			}
			if !yield(v, nil) {
				return
			}
			text = rest
		}
	}
}
