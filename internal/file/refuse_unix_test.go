//go:build unix

package file

import "syscall"

// What file systems say that cannot be synced, and what those say that fail.
var (
	refusals = []error{
		syscall.EINVAL, syscall.ENOTSUP, syscall.ENOSYS, syscall.EPERM, syscall.EACCES,
		syscall.EISDIR, syscall.EROFS,
	}
	failures = []error{syscall.EIO, syscall.ENOSPC, syscall.EDQUOT}
)

// umask sets the process's, and returns what it was.
func umask(to int) (was int, ok bool) { return syscall.Umask(to), true }
