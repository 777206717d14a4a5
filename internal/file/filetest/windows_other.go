//go:build !linux

package filetest

import "testing"

// Windows does nothing here. On Linux it holds this process to what Windows allows.
func Windows(testing.TB) {}

// Names does nothing here. On Linux it requires names that Windows allows.
func Names(testing.TB, string) {}
