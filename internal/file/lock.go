package file

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode"
)

var (
	errBusy    = errors.New("locked by another process")
	errNoLocks = errors.New("there are no locks here")
)

// lockFile is the name of the file that holds a folder's lock. It is there while a process has the
// lock, and stays when that process is killed.
const lockFile = ".lock"

// A LockedError says that another process is writing to a folder.
type LockedError struct {
	Folder string
	Holder string // its program, process, machine and time; "" where that is not known
}

// Error names the folder and the process.
func (e *LockedError) Error() string {
	text := e.Folder + " is being written to by another process"
	if e.Holder != "" {
		text += " (" + e.Holder + ")"
	}
	return text
}

// A held is a lock that this process has. The process may ask for it several times.
type held struct {
	f     *os.File // the lock's file, open; nil where there are no locks
	path  string   // of the lock's file
	count int      // how often it was asked for and not given back
}

// locks are those of this process, by the absolute path of their folder.
var locks = struct {
	sync.Mutex
	held map[string]*held
}{held: map[string]*held{}}

// Lock claims a folder for this process. The folder must be there. Another process that asks for
// the same folder meanwhile gets a *LockedError. The claim lasts until unlock has been called as
// often as Lock, or until the process dies, however it dies. Where the system has no locks, Lock
// claims nothing and is no error.
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

// take opens and locks the file. The last holder may have removed the file between the two: a lock
// on such a file keeps nobody out, so take begins again.
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
			_ = f.Close() // nothing was written to it
			return &LockedError{dir, holder}
		case errNoLocks:
			_ = f.Close() // here too
			_ = remove(h.path, os.Remove)
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
		_ = f.Close() // under the path there is another file by now, or none
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("lock %s: %w", dir, err)
		}
	}
}

// sign writes into the file who holds the lock. The text is for messages: where it cannot be
// written they say less, and the lock holds all the same.
func (h *held) sign() {
	text := fmt.Sprintf("%s, process %d", filepath.Base(os.Args[0]), os.Getpid())
	if host, err := os.Hostname(); err == nil {
		text += " on " + host
	}
	text += ", since " + time.Now().Format("2006-01-02 15:04:05")
	if h.f.Truncate(0) == nil {
		_, _ = h.f.WriteAt([]byte(text+"\n"), 0) // a message that says less is no error
	}
}

// holder reads what sign wrote. Anybody may have written to the file and the text is shown on
// terminals: what is not printable is left out.
func holder(f *os.File) string {
	text := make([]byte, 300)
	n, _ := f.ReadAt(text, 0) // the error of a file that is shorter
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

// release removes the file and then unlocks it, so that nobody else can have locked it when it is
// removed. Windows does not remove a file that is open. There it is closed first, and then only
// removed if nobody else has opened it meanwhile.
func (h *held) release() error {
	if h.f == nil {
		return nil
	}
	if opensFolders {
		_ = remove(h.path, os.Remove) // what stays harms nobody
	}
	err := h.f.Close()
	if !opensFolders {
		_ = remove(h.path, os.Remove) // as above
	}
	if err != nil {
		return fmt.Errorf("unlock: %w", err)
	}
	return nil
}

// existing returns the folder, or the nearest one above it that is there.
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
