package file

import (
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A place is a folder that is being written to.
type place struct {
	name string
	// folder is open and, where that can be, locked together with other writers; nil on Windows.
	folder *os.File
}

// What is known of the folders that this process has written to.
var places struct {
	sync.Mutex
	clean    map[string]bool // nothing of dead processes is in them
	unlocked map[string]bool // locks do not work, or somebody else has one
}

// patience is how long a writer waits for one that cleans up. That takes milliseconds.
const patience = time.Second

// enter begins to write to a folder. What goes wrong is not said here: creating the file will.
func enter(dir string) *place {
	p := &place{name: dir}
	key, err := filepath.Abs(dir)
	if err != nil {
		return p
	}
	if p.folder, err = openFolder(dir); err != nil {
		return p
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
		p.clean(time.Now().Add(24 * time.Hour)) // all
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

// share takes the lock that says that somebody is writing.
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
			_ = remove(filepath.Join(p.name, e.Name()), os.RemoveAll) // it harms nobody
		}
	}
}

// sync makes the names in the folder last, where the system can.
func (p *place) sync() error {
	if p.folder == nil {
		return nil
	}
	if err := before("sync", p.name); err != nil {
		return err
	}
	return syncFolder(p.folder)
}

// leave ends writing, and with it the lock.
func (p *place) leave() {
	if p.folder != nil {
		_ = p.folder.Close() // nothing was written by it
	}
}
