//go:build !linux

package kernels

import "unsafe"

// mapPages allocates on Go's heap. The memory is aligned to alignment.
func mapPages(bytes int) ([]byte, error) {
	values := make([]float32, (bytes+alignment+3)/4)
	skip := 0
	for uintptr(unsafe.Pointer(&values[skip]))%alignment != 0 {
		skip++
	}
	return unsafe.Slice((*byte)(unsafe.Pointer(&values[skip])), bytes), nil
}

func unmapPages([]byte) error { return nil }
