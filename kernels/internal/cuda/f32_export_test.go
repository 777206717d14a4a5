package cuda

// SetMultiprocessors sets how many multiprocessors tiles are chosen for, and returns how many they
// were.
func SetMultiprocessors(n int) int {
	old := multiprocessors
	multiprocessors = n
	return old
}
