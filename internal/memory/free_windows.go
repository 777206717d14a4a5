package memory

import (
	"unsafe"

	"golang.org/x/sys/windows"
)

// status is MEMORYSTATUSEX.
type status struct {
	length, load                              uint32
	physical, free, page, freePage            uint64
	virtual, freeVirtual, freeExtendedVirtual uint64
}

var globalMemoryStatus = windows.NewLazySystemDLL("kernel32.dll").NewProc("GlobalMemoryStatusEx")

// Free returns how many bytes of memory the machine has free. known is false where the system does
// not say.
func Free() (bytes int64, known bool) {
	var s status
	s.length = uint32(unsafe.Sizeof(s))
	if globalMemoryStatus.Find() != nil {
		return 0, false
	}
	ok, _, _ := globalMemoryStatus.Call(uintptr(unsafe.Pointer(&s)))
	return int64(min(s.free, 1<<62)), ok != 0
}
