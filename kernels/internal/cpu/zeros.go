package cpu

// Zeros returns n values that are zero. All workers touch the memory, as the system gives a page
// when it is first written to: that takes as long as many steps do, and longer where it is read
// before.
func Zeros(pool *Pool, n int) []float32 {
	x := make([]float32, n)
	adviseHuge(x)
	Fill(pool, x, 0)
	return x
}
