//go:build unix

package weights

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// mapFile maps a file into memory to be read.
func mapFile(name string) (*mapping, error) {
	// To open a pipe would wait for somebody who writes to it.
	if info, err := os.Stat(name); err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a file", name)
	}
	h, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	info, err := h.Stat()
	if err != nil {
		return nil, err
	}
	if info.Size() == 0 {
		return &mapping{}, nil
	}
	data, err := unix.Mmap(int(h.Fd()), 0, int(info.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map %s: %w", name, err)
	}
	return &mapping{data: data, mapped: true}, nil
}

func (m *mapping) close() error {
	if !m.mapped {
		return nil
	}
	return unix.Munmap(m.data)
}

// forget gives back the memory of the pages that hold some bytes of a mapping. They are read from
// the file again if somebody looks at them.
func (m *mapping) forget(from, to int) {
	if m.mapped && from < to {
		from -= from % os.Getpagesize()
		// It is advice: nothing is lost where it is not taken.
		_ = unix.Madvise(m.data[from:to], unix.MADV_DONTNEED)
	}
}
