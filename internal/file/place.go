package file

import (
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"time"
)

// Free returns how many bytes the user may still write to the file system of a folder. Where the
// folder is not there yet, it is the nearest one above it that counts. known is false where the
// system does not say. It is a variable for tests of disks that are nearly full.
var Free = freeBytes

// A place is a folder while this process writes to it.
type place struct {
	name string
	// folder is open so that it can be synced, and locked together with other writers where the
	// system has locks. It is nil where it cannot be opened, as on Windows.
	folder *os.File
}

// places is what is known of the folders that this process has written to, by their absolute paths.
var places struct {
	sync.Mutex
	clean    map[string]bool // nothing of dead processes is in it
	unlocked map[string]bool // it has no locks, or somebody keeps it locked for himself alone
}

// patience is how long a writer waits for another one, who has locked the folder for himself alone
// to clean up, and for programs that have a file open. Cleaning up takes milliseconds.
const patience = time.Second

// opensFolders says whether folders are opened, to be synced and locked. Windows does neither, and
// does not rename a folder that is open.
var opensFolders = runtime.GOOS != "windows"

// AsWindows lets this process do with files what it does on Windows, until restore is called. It is
// for tests: package filetest says whether Windows allows it.
func AsWindows() (restore func()) {
	was := opensFolders
	opensFolders = false
	return func() { opensFolders = was }
}

// enter begins to write to a folder. It reports no error: what is wrong with the folder shows when
// a file is made in it.
func enter(dir string) *place {
	p := &place{name: dir}
	key, err := filepath.Abs(dir)
	if err != nil {
		return p
	}
	if opensFolders {
		if p.folder, err = openFolder(dir); err != nil {
			return p
		}
	}
	if isTemporary(filepath.Base(dir)) {
		return p // nobody else writes there
	}
	places.Lock()
	clean, unlocked := places.clean[key], places.unlocked[key]
	places.Unlock()
	if !clean && (p.folder == nil || unlocked) {
		p.clean(time.Now().Add(-24 * time.Hour))
		clean = true
	} else if !clean && p.lock(true) == nil {
		p.clean(time.Now().Add(24 * time.Hour)) // everything: nobody else is writing
		clean = true
	}
	if p.folder != nil && !unlocked {
		unlocked = !p.share()
	}
	places.Lock()
	defer places.Unlock()
	if places.clean == nil {
		places.clean, places.unlocked = map[string]bool{}, map[string]bool{}
	}
	places.clean[key], places.unlocked[key] = clean, unlocked
	return p
}

func (p *place) lock(alone bool) error { return lock(p.folder, alone) }

// share takes the lock that all who write hold together. It reports whether it got it.
func (p *place) share() bool {
	for until := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		err := p.lock(false)
		if err == nil {
			return true
		}
		if err != errBusy || time.Now().After(until) {
			return false
		}
	}
}

// clean removes the temporary files and folders that were last changed before some time.
func (p *place) clean(until time.Time) {
	entries, err := os.ReadDir(p.name)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !isTemporary(e.Name()) {
			continue
		}
		if info, err := e.Info(); err == nil && info.ModTime().Before(until) {
			_ = remove(filepath.Join(p.name, e.Name()), os.RemoveAll) // what stays harms nobody
		}
	}
}

// sync makes the names in the folder last, where the system can do that.
func (p *place) sync() error {
	if p.folder == nil {
		return nil
	}
	return syncAs(p.name, p.folder)
}

// leave ends writing, and with it the lock.
func (p *place) leave() {
	if p.folder != nil {
		_ = p.folder.Close() // nothing was written through it
	}
}
