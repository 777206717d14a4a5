//go:build !(darwin || freebsd || linux || windows)

package file

// Free returns how many bytes the user may still write to the file system of a folder. On this
// system that is not known.
func Free(dir string) (bytes int64, known bool) { return 0, false }
