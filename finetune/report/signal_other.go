//go:build !unix && !windows

package report

import "os"

// hangUp is the signal that the terminal is gone, where there is one.
var hangUp os.Signal

// ignored are the signals that a program is not to end by.
var ignored []os.Signal

// gone says whether an error of writing is that nobody reads any more, where that is known.
func gone(error) bool { return false }
