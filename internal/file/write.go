package file

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Before, unless nil, is called before each operation that changes the disk: create, chmod, lock,
// write, append, truncate, sync, close, move and rename, remove, with the name of the file. Move
// has the old name of what is renamed. If it returns an error, the operation fails with that error.
// A write or an append then writes half of what it had to write. It is there for tests of what
// happens to a process that dies half-way, and of the order of things. It must not be set while
// files are written.
var Before func(operation, name string) error

func before(operation, name string) error {
	if Before == nil {
		return nil
	}
	return Before(operation, name)
}

// Write replaces a file by what the function writes to w. After an error the file is as it was
// before. A new file gets the mode that is usual for the process. One that takes another's place
// gets the other's mode, where the system allows that.
func Write(name string, write func(w io.Writer) error) error {
	p := enter(filepath.Dir(name))
	defer p.leave()
	temp := p.temporary()
	err := fill(temp, name, write)
	if err == nil {
		err = rename(temp, name)
	}
	if err != nil {
		_ = remove(temp, os.Remove) // where this fails, the next process removes it
		return fmt.Errorf("write %s: %w", name, bare(err, temp))
	}
	if err := p.sync(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// fill writes a temporary file to the disk, and closes it. The file is to replace the one of the
// name given.
func fill(temp, name string, write func(io.Writer) error) (err error) {
	if err := before("create", temp); err != nil {
		return err
	}
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, before("close", temp), f.Close()) }()
	if old, err := os.Stat(name); err == nil && old.Mode().IsRegular() {
		// Some file systems have no modes, or none to change: that is no reason to fail.
		if err := before("chmod", temp); err == nil {
			_ = f.Chmod(old.Mode().Perm())
		}
	}
	b := bufio.NewWriterSize(writer{f}, 1<<18)
	if err := write(b); err != nil {
		return err
	}
	if err := b.Flush(); err != nil {
		return err
	}
	return syncAs(temp, f)
}

// syncAs makes what is in a file or folder last. Where a file system refuses that, as some of
// networks, of users' programs and of other systems' disks do, it lasts when that system sees to
// it: that is no error.
func syncAs(name string, f *os.File) error {
	err := before("sync", name)
	if err == nil {
		err = f.Sync()
	}
	if refused(err) {
		return nil
	}
	return err
}

// A writer writes to a file what Before lets through.
type writer struct{ f *os.File }

func (w writer) Write(p []byte) (int, error) {
	if err := before("write", w.f.Name()); err != nil {
		n, _ := w.f.Write(p[:len(p)/2])
		return n, err
	}
	return w.f.Write(p)
}

// rename and remove take their time: another program, such as one that looks for viruses, may have
// a file open for a moment that is new.
func rename(from, to string) error {
	return patiently(func() error {
		if err := before("move", from); err != nil {
			return err
		}
		if err := before("rename", to); err != nil {
			return err
		}
		return os.Rename(from, to)
	})
}

func remove(name string, by func(string) error) error {
	return patiently(func() error {
		if err := before("remove", name); err != nil {
			return err
		}
		return by(name)
	})
}

// busy says whether an error means that a program has a file open, which hinders on Windows.
var busy = isBusy

// patiently tries again for a while what fails because somebody else has a file open.
func patiently(do func() error) error {
	for until := time.Now().Add(patience); ; time.Sleep(10 * time.Millisecond) {
		if err := do(); err == nil || !busy(err) || time.Now().After(until) {
			return err
		}
	}
}

// bare takes the temporary name out of an error: it would tell nobody anything.
func bare(err error, temp string) error {
	var path *fs.PathError
	if errors.As(err, &path) && path.Path == temp {
		return path.Err
	}
	var link *os.LinkError
	if errors.As(err, &link) && link.Old == temp {
		return link.Err
	}
	return err
}

// WriteBytes replaces a file by data, as Write does.
func WriteBytes(name string, data []byte) error {
	return Write(name, func(w io.Writer) error {
		_, err := w.Write(data)
		return err
	})
}

// WriteJSON replaces a file by v in JSON, indented by two spaces, as Write does.
func WriteJSON(name string, v any) error {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(v); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return WriteBytes(name, b.Bytes())
}

// WriteFolder makes a folder. fill is given a temporary one to write to, which then gets the name.
// The folder is there whole or not at all, provided that fill writes its files by this package. One
// that has the name already is replaced: for a moment there is then no folder of that name.
func WriteFolder(name string, fill func(dir string) error) error {
	p := enter(filepath.Dir(name))
	defer p.leave()
	temp := p.temporary()
	err := before("create", temp)
	if err == nil {
		err = os.Mkdir(temp, 0o777)
	}
	if err == nil {
		err = fill(temp)
	}
	if err == nil {
		err = p.away(name)
	}
	if err == nil {
		err = rename(temp, name)
	}
	if err != nil {
		_ = remove(temp, os.RemoveAll) // where this fails, the next process removes it
		return fmt.Errorf("write %s: %w", name, bare(err, temp))
	}
	if err := p.sync(); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return nil
}

// Rename gives a file or folder another name in the same file system. What has that name is
// replaced. Of a folder: for a moment there is then none of that name.
func Rename(from, to string) error {
	p := enter(filepath.Dir(to))
	defer p.leave()
	old, err := os.Lstat(to)
	if err == nil && old.IsDir() {
		err = p.away(to)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = rename(from, to)
	}
	if err == nil {
		err = p.sync()
	}
	if err != nil {
		return fmt.Errorf("rename %s to %s: %w", from, to, err)
	}
	return nil
}

// Remove removes a file or an empty folder. One that is not there is no error.
func Remove(name string) error { return gone(remove(name, os.Remove)) }

// RemoveAll removes a file or folder, and all that is in it. One that is not there is no error. See
// RemoveFolder for a folder that is to be there whole or not at all.
func RemoveAll(name string) error { return gone(remove(name, os.RemoveAll)) }

func gone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// RemoveFolder removes a folder. Whatever happens meanwhile, what is there under the name is the
// whole folder or nothing.
func RemoveFolder(name string) error {
	p := enter(filepath.Dir(name))
	defer p.leave()
	if err := p.away(name); err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

// away gives a folder a temporary name and then removes it. A folder that is not there is no error.
func (p *place) away(name string) error {
	temp := p.temporary()
	err := rename(name, temp)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return remove(temp, os.RemoveAll)
}

const (
	prefix = ".kudos-"
	suffix = ".tmp"
)

// temporary returns a name in the folder that no file has.
func (p *place) temporary() string { return filepath.Join(p.name, prefix+rand.Text()+suffix) }

// IsLeft reports whether a name in a folder is one that nobody means by what is in it: one that
// killed processes leave, a temporary name or that of the lock, or one that systems leave in any
// folder.
func IsLeft(name string) bool {
	switch name {
	case lockFile, ".DS_Store", ".localized", ".directory", "Thumbs.db", "desktop.ini",
		"Desktop.ini", "ehthumbs.db", "lost+found":
		return true
	}
	for _, begin := range []string{"._", ".nfs", ".fuse_hidden"} {
		if strings.HasPrefix(name, begin) {
			return true
		}
	}
	return isTemporary(name)
}

// IsEmpty reports whether there is nothing under a name: no file, or one without a byte, or a
// folder in which, however deep, there is no other.
func IsEmpty(name string) bool {
	info, err := os.Lstat(name)
	if err != nil || !info.IsDir() {
		return errors.Is(err, fs.ErrNotExist) ||
			err == nil && info.Mode().IsRegular() && info.Size() == 0
	}
	entries, err := os.ReadDir(name)
	return err == nil && !slices.ContainsFunc(entries, func(e fs.DirEntry) bool {
		return !IsEmpty(filepath.Join(name, e.Name()))
	})
}

// Size is how many bytes the files of a folder have, of all below it. One that is not there has 0.
func Size(dir string) (bytes int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				bytes += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has gone meanwhile
		}
		return err
	})
	return bytes, err
}

func isTemporary(name string) bool {
	return strings.HasPrefix(name, prefix) && strings.HasSuffix(name, suffix)
}
