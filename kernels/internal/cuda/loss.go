package cuda

import (
	"fmt"
	"math"
)

// lossCut returns into how many pieces, each for a block, MSE and L1 cut a sample of size values.
func lossCut(samples, size int) (pieces int) {
	return max(1, min(reduceGrid(Float32, size), ceilDiv(reduceBlocks, max(1, samples))))
}

// MSEWorkspace returns how many bytes of workspace MSE of n values needs. weights is how many
// weights there are: 0 if there are none.
func MSEWorkspace(n, weights int) int {
	samples := max(1, weights)
	return 8 * samples * lossCut(samples, n/samples)
}

// MSE is
//
//	dst[0] = Σ_n weight[n] · mean_i (x[n,i] − y[n,i])²
//
// for as many samples n as there are weights, accumulated in float64 and rounded once. A weight
// without values is 1/N for each sample: then it is the mean over all. All are float32.
func MSE(q *Queue, dst, x, y, weight, ws Tensor) { q.differences("mse_f32", dst, x, y, weight, ws) }

// L1Workspace returns how many bytes of workspace L1 of n values needs.
func L1Workspace(n int) int { return MSEWorkspace(n, 0) }

// L1 is
//
//	dst[0] = mean_i |x[i] − y[i]|
//
// accumulated in float64 and rounded once. All are float32.
func L1(q *Queue, dst, x, y, ws Tensor) { q.differences("l1_f32", dst, x, y, Tensor{}, ws) }

func (q *Queue) differences(kernel string, dst, x, y, weight, ws Tensor) {
	samples := max(1, weight.Len)
	mustBe(kernel, Float32, 1, dst)
	mustBe(kernel, Float32, x.Len, x, y)
	mustBe(kernel, Float32, weight.Len, weight)
	if x.Len == 0 || x.Len%samples != 0 {
		panic(fmt.Sprintf("cuda: %s: %d values of %d samples", kernel, x.Len, samples))
	}
	size := x.Len / samples
	pieces := lossCut(samples, size)
	sums := partials(kernel, ws, samples*pieces)
	q.add(kernel, [3]int{samples * pieces, 1, 1}, reduceThreads, reduceShared,
		[]Tensor{sums}, []Tensor{x, y, weight}, x, y, weight, sums, uint64(size), pieces,
		aligned(x, y) && (samples == 1 || size%4 == 0))
	q.total(dst, sums, samples*pieces, float64(size))
}

const (
	// classThreads is kClassThreads of loss.cu.
	classThreads = 128
	// classShared is what block_sum of doubles needs.
	classShared = classThreads / 32 * 8
)

// SoftmaxCrossEntropyWorkspace returns how many bytes of workspace SoftmaxCrossEntropy needs.
func SoftmaxCrossEntropyWorkspace(rows int) int { return 8 * rows }

// SoftmaxCrossEntropy is
//
//	dst[0] = Σ_n weight[n] · −log softmax(logits[n])[target[n]]
//
// in float64, rounded once, for logits [N,K], and targets [N] that are whole numbers in 0 to K−1.
// A weight without values is 1/N for each row. With another target the result is NaN. All are
// float32.
func SoftmaxCrossEntropy(q *Queue, dst, logits, target, weight, ws Tensor) {
	mustBe("SoftmaxCrossEntropy", Float32, 1, dst)
	rows := target.Len
	classes := mustBeClasses("SoftmaxCrossEntropy", logits, target, weight)
	sums := partials("SoftmaxCrossEntropy", ws, rows)
	none := Tensor{}
	q.add("cross_entropy_f32", [3]int{rows, 1, 1}, classThreads, classShared,
		[]Tensor{sums}, []Tensor{logits, target, weight},
		sums, none, logits, target, weight, none, math.Float64bits(1/float64(rows)), classes)
	q.total(dst, sums, rows, 1)
}

// SoftmaxCrossEntropyGrad is the gradient of SoftmaxCrossEntropy by logits,
//
//	dlogits[n,k] = dout[0] · weight[n] · (softmax(logits[n])[k] − (1 if k = target[n] else 0))
//
// in float64, rounded once. A row whose target is no whole number in 0 to K−1 is NaN. dlogits may
// be logits.
func SoftmaxCrossEntropyGrad(q *Queue, dlogits, logits, target, weight, dout Tensor) {
	mustBe("SoftmaxCrossEntropyGrad", Float32, 1, dout)
	mustBe("SoftmaxCrossEntropyGrad", Float32, logits.Len, dlogits)
	rows := target.Len
	classes := mustBeClasses("SoftmaxCrossEntropyGrad", logits, target, weight)
	q.add("cross_entropy_grad_f32", [3]int{rows, 1, 1}, classThreads, classShared,
		[]Tensor{dlogits}, []Tensor{logits, target, weight, dout}, Tensor{}, dlogits,
		logits, target, weight, dout, math.Float64bits(1/float64(rows)), classes)
}

// mustBeClasses returns how many classes each row of logits has.
func mustBeClasses(kernel string, logits, target, weight Tensor) int {
	mustBe(kernel, Float32, target.Len, target)
	if weight.Len > 0 {
		mustBe(kernel, Float32, target.Len, weight)
	}
	if target.Len == 0 || logits.Len == 0 || logits.Len%target.Len != 0 {
		const wrong = "cuda: %s: %d logits and %d targets"
		panic(fmt.Sprintf(wrong, kernel, logits.Len, target.Len))
	}
	mustBe(kernel, Float32, logits.Len, logits)
	return logits.Len / target.Len
}
