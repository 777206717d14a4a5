package kernels

import (
	"fmt"
	"unsafe"
)

// An arena is zeroed memory outside of Go's heap where the system allows it, so that the collector neither scans it
// nor counts it, and it goes back to the system when it is freed.
type arena struct {
	data  []float32
	pages []byte // what mapPages gave
}

// newArena returns memory for n float32 values, aligned to a page.
func newArena(n int) (*arena, error) {
	if n == 0 {
		return &arena{}, nil
	}
	pages, err := mapPages(4 * n)
	if err != nil {
		return nil, fmt.Errorf("kernels: %d bytes of memory: %w", 4*n, err)
	}
	return &arena{data: unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(pages))), n), pages: pages}, nil
}

// free gives the memory back; nothing may use it any more.
func (a *arena) free() error {
	pages := a.pages
	a.data, a.pages = nil, nil
	if pages == nil {
		return nil
	}
	return unmapPages(pages)
}
