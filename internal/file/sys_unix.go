//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openFolder opens a folder to lock and to sync it.
func openFolder(dir string) (*os.File, error) { return os.Open(dir) }

// syncFolder makes the names in a folder last. Some file systems cannot be told, or need not be:
// that is no error.
func syncFolder(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}

// lock locks a file (flock(2)) for this process alone, or together with others. The lock ends when
// f is closed or the process dies. lock does not wait: it returns errBusy if another has the file
// locked, and errNoLocks if the file system has no locks.
func lock(f *os.File, alone bool) error {
	how := unix.LOCK_SH
	if alone {
		how = unix.LOCK_EX
	}
	for {
		err := unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		switch {
		case err == nil:
			return nil
		case errors.Is(err, unix.EINTR):
		case errors.Is(err, unix.EWOULDBLOCK):
			return errBusy
		default:
			return errNoLocks
		}
	}
}
