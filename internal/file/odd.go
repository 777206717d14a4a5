package file

import "io/fs"

// Odd says what a file is from which a program does not read, "a folder", "a named pipe", "a
// socket" or "a device": a pipe may wait for ever, and a device may never end. It is "" for a
// regular file.
func Odd(info fs.FileInfo) string {
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return ""
	case mode.IsDir():
		return "a folder"
	case mode&fs.ModeNamedPipe != 0:
		return "a named pipe"
	case mode&fs.ModeSocket != 0:
		return "a socket"
	}
	return "a device"
}
