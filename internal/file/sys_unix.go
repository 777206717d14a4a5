//go:build darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd

package file

import (
	"errors"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// openFolder opens a folder to lock and to sync it.
func openFolder(dir string) (*os.File, error) { return os.Open(dir) }

// refused says whether an error of syncing means that the file system cannot be told, or need not
// be. What it says of a disk that fails or is full is none of these.
func refused(err error) bool {
	return slices.ContainsFunc([]error{
		unix.EINVAL, unix.ENOTSUP, unix.EOPNOTSUPP, unix.ENOSYS, unix.EBADF, unix.EISDIR,
		unix.EPERM, unix.EACCES, unix.EROFS,
	}, func(one error) bool { return errors.Is(err, one) })
}

// isBusy says whether an error means that another program has a file open. Here that hinders
// nothing.
func isBusy(error) bool { return false }

// IsFull says whether an error means that the disk is full, or what a user may have of it.
func IsFull(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

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
