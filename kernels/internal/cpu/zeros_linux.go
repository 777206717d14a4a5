package cpu

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is the size of a huge page in bytes.
const hugePage = 2 << 20

// adviseHuge asks for huge pages for the whole ones in x. A system without them serves small ones.
func adviseHuge(x []float32) {
	memory := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(x))), 4*len(x))
	skip := int(-uintptr(unsafe.Pointer(unsafe.SliceData(x))) & (hugePage - 1))
	if whole := (len(memory) - skip) / hugePage * hugePage; whole > 0 {
		_ = unix.Madvise(memory[skip:skip+whole], unix.MADV_HUGEPAGE)
	}
}
