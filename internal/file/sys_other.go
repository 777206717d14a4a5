//go:build !(darwin || dragonfly || freebsd || illumos || linux || netbsd || openbsd || windows)

package file

import "os"

func openFolder(string) (*os.File, error) { return nil, nil }

func syncFolder(*os.File) error { return nil }

func lock(*os.File, bool) error { return errNoLocks }
