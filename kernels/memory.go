package kernels

import (
	"fmt"
	"unsafe"
)

// An arena is zeroed memory. Where the system allows it, it is outside of Go's heap. Then the
// garbage collector neither scans nor counts it, and it goes back to the system when it is freed.
type arena struct {
	pages []byte
}

// newArena returns n bytes of memory. They are aligned to alignment at least.
func newArena(n int) (*arena, error) {
	if n == 0 {
		return &arena{}, nil
	}
	pages, err := mapPages(n)
	if err != nil {
		return nil, fmt.Errorf("kernels: %d bytes of memory: %w", n, err)
	}
	return &arena{pages: pages}, nil
}

// values returns n values of memory that begin at an offset. The offset is in bytes and a multiple
// of the values' size.
func values[T any](memory []byte, offset, n int) []T {
	if n == 0 {
		return nil
	}
	var one T
	part := memory[offset : offset+n*int(unsafe.Sizeof(one))]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(part))), n)
}

// free returns the memory to the system. Nothing may use it any more.
func (a *arena) free() error {
	pages := a.pages
	a.pages = nil
	if pages == nil {
		return nil
	}
	return unmapPages(pages)
}
