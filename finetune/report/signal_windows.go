package report

import (
	"errors"
	"os"
	"syscall"
)

// hangUp is the signal that the terminal is gone. Windows says that by SIGTERM.
var hangUp os.Signal

// ignored are the signals that a program is not to end by.
var ignored []os.Signal

// gone says whether an error of writing is that nobody reads any more.
func gone(err error) bool {
	const noData = syscall.Errno(232) // ERROR_NO_DATA: the pipe is being closed
	return errors.Is(err, syscall.ERROR_BROKEN_PIPE) || errors.Is(err, noData)
}
