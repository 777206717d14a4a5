package cpu

// lossBodies are the sums that losses are made of, and their gradients.
type lossBodies struct {
	sum    func(x []float32) float64    // Σ x
	sumAbs func(x, y []float32) float64 // Σ |x−y|
	sumSq  func(x, y []float32) float64 // Σ (x−y)²

	subScale  func(dst, x, y []float32, a float32) // dst = a·(x−y)
	signScale func(dst, x, y []float32, a float32) // dst = a·sign(x−y)
}

// lossBlock is how many values one part of a reduction has. It is the same on every machine.
const lossBlock = 16384

// ReduceWorkspace returns how many values of workspace the reductions of n values need.
func ReduceWorkspace(n int) int { return 2*ceilDiv(n, lossBlock) + 2 }

// A reduceTask adds up blocks of values in float64.
type reduceTask struct {
	x, y    []float32
	sum     func(x []float32) float64
	pair    func(x, y []float32) float64
	partial []float64
}

var reduceTasks freeList[reduceTask]

func (t *reduceTask) Do(_, part int) {
	lo, hi := span(part, lossBlock, len(t.x))
	if t.sum != nil {
		t.partial[part] = t.sum(t.x[lo:hi])
		return
	}
	t.partial[part] = t.pair(t.x[lo:hi], t.y[lo:hi])
}

func reduce(pool *Pool, r reduceTask, ws []float32) float64 {
	mustHold("reduce", ws, ReduceWorkspace(len(r.x)))
	parts := ceilDiv(len(r.x), lossBlock)
	t := reduceTasks.get()
	*t = r
	t.partial = doubles(ws, parts)
	pool.Parallel(parts, t)
	var s float64
	for _, v := range t.partial {
		s += v
	}
	reduceTasks.put(t)
	return s
}

// Sum returns Σ x[i], accumulated in float64. ws has ReduceWorkspace(len(x)) values, as for all
// reductions.
func Sum(pool *Pool, x, ws []float32) float64 {
	return reduce(pool, reduceTask{x: x, sum: vec.sum}, ws)
}

// SumAbsDifferences returns Σ |x[i] − y[i]|, accumulated in float64. It panics if the lengths
// differ, as all kernels of this file do.
func SumAbsDifferences(pool *Pool, x, y, ws []float32) float64 {
	mustMatch("SumAbsDifferences", len(x), y)
	return reduce(pool, reduceTask{x: x, y: y, pair: vec.sumAbs}, ws)
}

// SumSquaredDifferences returns Σ (x[i] − y[i])², accumulated in float64.
func SumSquaredDifferences(pool *Pool, x, y, ws []float32) float64 {
	mustMatch("SumSquaredDifferences", len(x), y)
	return reduce(pool, reduceTask{x: x, y: y, pair: vec.sumSq}, ws)
}

// SubScale is dst[i] = a · (x[i] − y[i]).
func SubScale(pool *Pool, dst, x, y []float32, a float32) {
	mustMatch("SubScale", len(dst), x, y)
	runElements(pool, elementTask{scaled2: vec.subScale, dst: dst, x: x, y: y, a: a})
}

// SignScale is dst[i] = a · sign(x[i] − y[i]).
func SignScale(pool *Pool, dst, x, y []float32, a float32) {
	mustMatch("SignScale", len(dst), x, y)
	runElements(pool, elementTask{scaled2: vec.signScale, dst: dst, x: x, y: y, a: a})
}
