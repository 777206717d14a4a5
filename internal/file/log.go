package file

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
)

// A Log is a JSONL file that grows by one line at a time. Whatever happens to the process, at most
// the line that was being written is lost. If the machine fails, the lines since the last Sync may
// be lost as well.
type Log struct {
	f   *os.File
	end int64 // the offset behind the last whole line
}

// OpenLog opens a log to append to, and makes it if it is not there. A process that was killed may
// have left a last line without its end. That line is cut off.
func OpenLog(name string) (*Log, error) {
	if err := before("create", name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o666)
	if err != nil {
		return nil, err
	}
	l := &Log{f: f}
	if err := l.seekEnd(); err != nil {
		return nil, errors.Join(fmt.Errorf("open %s: %w", name, err), f.Close())
	}
	return l, nil
}

// seekEnd finds the end of the last whole line and cuts off what follows.
func (l *Log) seekEnd() error {
	size, err := l.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	block := make([]byte, 4096)
	for l.end = size; l.end > 0; {
		n := min(int64(len(block)), l.end)
		if _, err := l.f.ReadAt(block[:n], l.end-n); err != nil {
			return err
		}
		if i := bytes.LastIndexByte(block[:n], '\n'); i >= 0 {
			l.end += int64(i) + 1 - n
			break
		}
		l.end -= n
	}
	if l.end == size {
		return nil
	}
	return l.truncate()
}

func (l *Log) truncate() error {
	if err := before("truncate", l.f.Name()); err != nil {
		return err
	}
	return l.f.Truncate(l.end)
}

// Append writes v as one line. After an error nothing of the line is in the log.
func (l *Log) Append(v any) error {
	line, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("append to %s: %w", l.f.Name(), err)
	}
	line = append(line, '\n')
	n := len(line)
	if err = before("append", l.f.Name()); err != nil {
		n /= 2
	}
	if n, failure := l.f.WriteAt(line[:n], l.end); failure != nil || n < len(line) {
		return errors.Join(err, failure, l.truncate())
	}
	l.end += int64(n)
	return nil
}

// Sync makes sure that all lines are on the disk.
func (l *Log) Sync() error { return syncAs(l.f.Name(), l.f) }

// Close makes sure that all lines are on the disk, and closes the log in any case.
func (l *Log) Close() error { return errors.Join(l.Sync(), l.f.Close()) }

// WriteLog replaces a file by a log of the lines given, as Write does.
func WriteLog[T any](name string, lines []T) error {
	return Write(name, func(w io.Writer) error {
		e := json.NewEncoder(w)
		for _, line := range lines {
			if err := e.Encode(line); err != nil {
				return err
			}
		}
		return nil
	})
}

// ReadLog yields the lines of a log, decoded. A last line without its end is left out. An error
// names the line, and ends the sequence.
func ReadLog[T any](name string) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		text, err := os.ReadFile(name)
		if err != nil {
			yield(none, err)
			return
		}
		for n := 1; ; n++ {
			line, rest, whole := bytes.Cut(text, []byte("\n"))
			if !whole {
				return
			}
			var v T
			if err := json.Unmarshal(line, &v); err != nil {
				yield(none, fmt.Errorf("%s:%d: %w", name, n, err))
				return
			}
			if !yield(v, nil) {
				return
			}
			text = rest
		}
	}
}
