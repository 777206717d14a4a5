//go:build !(darwin || freebsd || linux || windows)

package file

func freeBytes(dir string) (bytes int64, known bool) { return 0, false }
