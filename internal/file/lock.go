package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode"
)

var (
	errBusy    = errors.New("locked by another process")
	errNoLocks = errors.New("there are no locks here")
)

// lockFile is there while a process writes to a folder, and after one was killed.
const lockFile = ".lock"

// A LockedError says that another process is writing to a folder.
type LockedError struct {
	Folder string
	Holder string // what is known of it; may be empty
}

// Error names the folder and who has it.
func (e *LockedError) Error() string {
	text := e.Folder + " is being written to by another process"
	if e.Holder != "" {
		text += " (" + e.Holder + ")"
	}
	return text
}

// A held lock is this process's, which may ask for it several times.
type held struct {
	f     *os.File // nil where there are no locks
	path  string
	count int
}

var locks = struct {
	sync.Mutex
	held map[string]*held
}{held: map[string]*held{}}

// Lock claims a folder, which must be there, for this process; another one that does is refused
// with a *LockedError. It lasts until unlock is called as often as Lock was, or the process dies,
// however it dies. Where the system has no locks it claims nothing.
func Lock(dir string) (unlock func() error, err error) {
	key, err := filepath.Abs(dir)
	if err == nil {
		key, err = filepath.EvalSymlinks(key)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", dir, err)
	}
	locks.Lock()
	defer locks.Unlock()
	h := locks.held[key]
	if h == nil {
		h = &held{path: filepath.Join(key, lockFile)}
		if err := h.take(dir); err != nil {
			return nil, err
		}
		locks.held[key] = h
	}
	h.count++
	once := sync.OnceValue(func() error {
		locks.Lock()
		defer locks.Unlock()
		if h.count--; h.count > 0 {
			return nil
		}
		delete(locks.held, key)
		return h.release()
	})
	return once, nil
}

// take opens and locks the file. One that its last holder has removed meanwhile locks nobody out.
func (h *held) take(dir string) error {
	for {
		if err := before("lock", h.path); err != nil {
			return fmt.Errorf("lock %s: %w", dir, err)
		}
		f, err := os.OpenFile(h.path, os.O_RDWR|os.O_CREATE, 0o666)
		if err != nil {
			return fmt.Errorf("lock %s: %w", dir, err)
		}
		switch lock(f, true) {
		case errBusy:
			holder := holder(f)
			_ = f.Close() // nothing was written
			return &LockedError{dir, holder}
		case errNoLocks:
			_ = f.Close() // as above
			_ = os.Remove(h.path)
			return nil
		}
		mine, err := f.Stat()
		if err == nil {
			var there fs.FileInfo
			if there, err = os.Stat(h.path); err == nil && os.SameFile(mine, there) {
				h.f = f
				h.sign()
				return nil
			}
		}
		_ = f.Close() // the file is another's, or nobody's
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("lock %s: %w", dir, err)
		}
	}
}

// sign says in the file who has it. It is there for messages: where it fails they say less.
func (h *held) sign() {
	text := fmt.Sprintf("%s, process %d", filepath.Base(os.Args[0]), os.Getpid())
	if host, err := os.Hostname(); err == nil {
		text += " on " + host
	}
	text += ", since " + time.Now().Format("2006-01-02 15:04:05")
	if h.f.Truncate(0) == nil {
		_, _ = h.f.WriteAt([]byte(text+"\n"), 0) // see above
	}
}

// holder reads what sign wrote. It is shown on terminals.
func holder(f *os.File) string {
	text := make([]byte, 300)
	n, _ := f.ReadAt(text, 0) // a short file ends early
	line, _, whole := strings.Cut(string(text[:n]), "\n")
	if !whole {
		return ""
	}
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, line)
}

// release removes the file while nobody else can have locked it, and unlocks.
func (h *held) release() error {
	if h.f == nil {
		return nil
	}
	gone := remove(h.path, os.Remove)
	err := h.f.Close()
	if gone != nil && runtime.GOOS == "windows" { // it removes no open file, not even another's
		_ = remove(h.path, os.Remove)
	}
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	return nil
}

// existing is a folder, or the nearest one above it that is there.
func existing(dir string) string {
	for {
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
		up := filepath.Dir(dir)
		if up == dir {
			return dir
		}
		dir = up
	}
}
