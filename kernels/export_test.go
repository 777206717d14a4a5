package kernels

// Unfused has machines fuse nothing until restore is called.
func Unfused() (restore func()) {
	fusing = false
	return func() { fusing = true }
}

// Unscored lets attention leave nothing for its gradient, until restore is called.
func Unscored() (restore func()) {
	scoring = false
	return func() { scoring = true }
}
