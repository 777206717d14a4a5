package kernels

// Unfused has machines fuse nothing until restore is called.
func Unfused() (restore func()) {
	fusing = false
	return func() { fusing = true }
}
