//go:build darwin || freebsd || linux

package file

import "golang.org/x/sys/unix"

// Free returns how many bytes the user may still write to the file system of a folder. Where the
// folder is not there yet, it is the nearest one above it that counts. known is false where the
// system does not say.
func Free(dir string) (bytes int64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(existing(dir), &s); err != nil || s.Bsize <= 0 {
		return 0, false
	}
	blocks := min(int64(s.Bavail), 1<<62/int64(s.Bsize))
	return max(0, blocks) * int64(s.Bsize), true
}
