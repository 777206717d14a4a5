//go:build unix

package report

import (
	"errors"
	"os"
	"syscall"
)

// hangUp is the signal that the terminal is gone.
var hangUp os.Signal = syscall.SIGHUP

// ignored are the signals that a program is not to end by: that of a reader who is gone.
var ignored = []os.Signal{syscall.SIGPIPE}

// gone says whether an error of writing is that nobody reads any more: the reader of a pipe has
// ended, or the terminal was closed.
func gone(err error) bool { return errors.Is(err, syscall.EPIPE) || errors.Is(err, syscall.EIO) }
