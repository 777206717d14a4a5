package cpu

// softmaxBodies are the passes over a row of scores and over the gradient of their softmax.
type softmaxBodies struct {
	scale       func(dst, x []float32, a float32)        // dst = a·x
	max         func(x []float32) float32                // −Inf for no values; NaN is passed over
	expShift    func(x []float32, shift float32) float64 // x = exp(x−shift), returning the sum
	dot         func(x, y []float32) float64             // Σ x·y
	softmaxGrad func(p, dp []float32, delta float32)     // p = p·(dp − delta)
}
