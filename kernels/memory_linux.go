package kernels

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// hugePage is the size from which huge pages are asked for.
const hugePage = 2 << 20

// mapPages asks for huge pages: with 4 KiB ones the translation of addresses limits large products. It's no more
// than advice; a system without them serves small ones. Pages are taken when they are first written to, so a machine that is
// compiled for its plan takes none, however large the plan is.
func mapPages(bytes int) ([]byte, error) {
	pages, err := unix.Mmap(-1, 0, bytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	if bytes >= hugePage {
		_ = unix.Madvise(pages, unix.MADV_HUGEPAGE)
	}
	return pages, nil
}

func unmapPages(pages []byte) error { return unix.Munmap(pages) }
