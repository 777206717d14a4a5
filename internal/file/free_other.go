//go:build !(darwin || freebsd || linux || windows)

package file

// Free is how many bytes the user may still write to the file system of a folder. It is false where
// that is not known.
func Free(dir string) (bytes int64, known bool) { return 0, false }
