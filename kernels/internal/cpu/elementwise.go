package cpu

// elementBlock is how many values one part of an elementwise kernel has. Three streams of so many
// values stay in the L2 cache of a core. It is work of a few microseconds, enough to be worth
// handing to a worker.
const elementBlock = 8192

// An elementTask runs the one of its four bodies that is set, over blocks of the values.
type elementTask struct {
	unary     unary
	binary    binary
	scaled    func(dst, x []float32, a float32)
	scaled2   func(dst, x, y []float32, a float32)
	a         float32
	dst, x, y []float32
}

var elementTasks freeList[elementTask]

func (t *elementTask) Do(_, part int) {
	lo, hi := span(part, elementBlock, len(t.dst))
	dst, x := t.dst[lo:hi], t.x[lo:hi]
	switch {
	case t.unary != nil:
		t.unary(dst, x)
	case t.binary != nil:
		t.binary(dst, x, t.y[lo:hi])
	case t.scaled != nil:
		t.scaled(dst, x, t.a)
	default:
		t.scaled2(dst, x, t.y[lo:hi], t.a)
	}
}

func runElements(pool *Pool, e elementTask) {
	t := elementTasks.get()
	*t = e
	pool.Parallel(ceilDiv(len(e.dst), elementBlock), t)
	elementTasks.put(t)
}

func runUnary(pool *Pool, kernel string, body unary, dst, x []float32) {
	mustMatch(kernel, len(dst), x)
	runElements(pool, elementTask{unary: body, dst: dst, x: x})
}

func runBinary(pool *Pool, kernel string, body binary, dst, x, y []float32) {
	mustMatch(kernel, len(dst), x, y)
	runElements(pool, elementTask{binary: body, dst: dst, x: x, y: y})
}

// Add is dst[i] = x[i] + y[i]. dst may be x or y. It panics if the lengths differ.
func Add(pool *Pool, dst, x, y []float32) { runBinary(pool, "Add", vec.add, dst, x, y) }

// Mul is dst[i] = x[i] · y[i]. dst may be x or y. It panics if the lengths differ.
func Mul(pool *Pool, dst, x, y []float32) { runBinary(pool, "Mul", vec.mul, dst, x, y) }

// Scale is dst[i] = a · x[i]. dst may be x. It panics if the lengths differ.
func Scale(pool *Pool, dst, x []float32, a float32) {
	mustMatch("Scale", len(dst), x)
	runElements(pool, elementTask{scaled: vec.scale, dst: dst, x: x, a: a})
}

// A fillTask sets blocks of dst to a value.
type fillTask struct {
	dst []float32
	a   float32
}

var fillTasks freeList[fillTask]

func (t *fillTask) Do(_, part int) {
	lo, hi := span(part, elementBlock, len(t.dst))
	for i := lo; i < hi; i++ {
		t.dst[i] = t.a
	}
}

// Fill is dst[i] = a.
func Fill(pool *Pool, dst []float32, a float32) {
	t := fillTasks.get()
	t.dst, t.a = dst, a
	pool.Parallel(ceilDiv(len(dst), elementBlock), t)
	fillTasks.put(t)
}
