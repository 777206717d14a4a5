//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// openFolder opens a folder to lock and to sync it.
func openFolder(dir string) (*os.File, error) { return os.Open(dir) }

// syncFolder makes the names in a folder last. Some file systems need not or cannot be told.
func syncFolder(f *os.File) error {
	err := f.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EBADF) {
		return nil
	}
	return err
}

// lock takes a lock (flock(2)) that ends when f is closed or the process dies, alone or together
// with others. It does not wait: errBusy says that another has it, errNoLocks that there are none
// here.
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
