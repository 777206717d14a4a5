//go:build darwin || freebsd || linux

package file

import "golang.org/x/sys/unix"

func freeBytes(dir string) (bytes int64, known bool) {
	var s unix.Statfs_t
	if err := unix.Statfs(existing(dir), &s); err != nil || s.Bsize <= 0 || s.Blocks == 0 {
		// One without any blocks, as object stores have it, does not say.
		return 0, false
	}
	blocks := min(int64(s.Bavail), 1<<62/int64(s.Bsize))
	return max(0, blocks) * int64(s.Bsize), true
}
