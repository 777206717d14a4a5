package kernels

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hugePage is the size in bytes from which on huge pages are asked for.
const hugePage = 2 << 20

// mapPages returns memory from the system. It asks for huge pages, because with pages of 4 KiB
// address translation limits large products. A system without huge pages serves small ones. A page
// is taken when it is first written to. So a machine that is compiled only for its plan takes none,
// however large the plan is.
func mapPages(bytes int) ([]byte, error) {
	const access = unix.PROT_READ | unix.PROT_WRITE
	const flags = unix.MAP_PRIVATE | unix.MAP_ANON | unix.MAP_NORESERVE
	pages, err := unix.Mmap(-1, 0, bytes, access, flags)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	if bytes >= hugePage {
		_ = unix.Madvise(pages, unix.MADV_HUGEPAGE)
	}
	return pages, nil
}

func unmapPages(pages []byte) error { return unix.Munmap(pages) }
