package file

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

func openFolder(string) (*os.File, error) { return nil, nil }

// refused says whether an error of syncing means that the disk cannot be told.
func refused(err error) bool {
	return errors.Is(err, windows.ERROR_INVALID_FUNCTION) ||
		errors.Is(err, windows.ERROR_NOT_SUPPORTED)
}

// isBusy says whether an error means that a program has the file open, as one that looks for
// viruses in new files has for a moment.
func isBusy(err error) bool {
	return errors.Is(err, windows.ERROR_ACCESS_DENIED) ||
		errors.Is(err, windows.ERROR_SHARING_VIOLATION)
}

// IsFull says whether an error means that the disk is full, or what a user may have of it.
func IsFull(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) ||
		errors.Is(err, windows.ERROR_HANDLE_DISK_FULL) ||
		errors.Is(err, windows.ERROR_DISK_QUOTA_EXCEEDED)
}

// lock locks a file (LockFileEx) for this process alone, or together with others. The lock ends
// when f is closed or the process dies. lock does not wait: it returns errBusy if another has the
// file locked, and errNoLocks if there are no locks. It locks one byte far behind the end of any
// file, so that everybody can read what is in f.
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

func freeBytes(dir string) (bytes int64, known bool) {
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
