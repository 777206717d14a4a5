package memory

import "golang.org/x/sys/unix"

// Free returns how many bytes of memory the machine has. known is false where the system does not
// say.
func Free() (bytes int64, known bool) {
	n, err := unix.SysctlUint64("hw.memsize")
	return int64(min(n, 1<<62)), err == nil
}
