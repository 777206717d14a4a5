//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package file

import "os"

func openFolder(string) (*os.File, error) { return nil, nil }

func refused(error) bool { return false }

func isBusy(error) bool { return false }

// IsFull says whether an error means that the disk is full, where that is known.
func IsFull(error) bool { return false }

func lock(*os.File, bool) error { return errNoLocks }
