package file

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// openFolder opens nothing: a folder that is open could not be renamed, and is neither locked nor
// synced here.
func openFolder(string) (*os.File, error) { return nil, nil }

func syncFolder(*os.File) error { return nil }

// lock takes a lock (LockFileEx) that ends when f is closed or the process dies, alone or together
// with others. It does not wait: errBusy says that another has it, errNoLocks that there are none
// here. The byte that is locked lies where no file has one, so that everybody can read what is in
// f.
func lock(f *os.File, alone bool) error {
	var flags uint32 = windows.LOCKFILE_FAIL_IMMEDIATELY
	if alone {
		flags |= windows.LOCKFILE_EXCLUSIVE_LOCK
	}
	at := &windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, at)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, windows.ERROR_LOCK_VIOLATION), errors.Is(err, windows.ERROR_IO_PENDING):
		return errBusy
	}
	return errNoLocks
}

// Free is how many bytes the user may still write to the file system of a folder, or of the nearest
// one above it that is there. It is false where that is not known.
func Free(dir string) (bytes int64, known bool) {
	name, err := windows.UTF16PtrFromString(existing(dir))
	if err != nil {
		return 0, false
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(name, &free, nil, nil); err != nil {
		return 0, false
	}
	return int64(min(free, 1<<62)), true
}
