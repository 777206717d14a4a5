package cuda

// multiprocessors is how many multiprocessors a device is taken to have: as many as an H100. Tiles
// are chosen for it on every device, so that all devices add in one order. It is a variable for
// tests.
var multiprocessors = 132

// depthF32 is kDepth of product_f32.cuh.
const depthF32 = 16

// A cutF32 is how a product of float32 matrices is cut into tiles and into parts of k.
type cutF32 struct {
	tile       string // what kernels for it are named
	rows, cols int    // of a tile
	threads    int
	resident   int // blocks that a multiprocessor holds
	parts      int
	perPart    int // how deep a part is
}

var (
	largeF32 = cutF32{tile: "_large_f32", rows: 128, cols: 64, threads: 128, resident: 3}
	smallF32 = cutF32{tile: "_small_f32", rows: 64, cols: 64, threads: 128, resident: 4}
)

// tiles returns how many tiles a result has.
func (c cutF32) tiles(m, n int) int { return ceilDiv(m, c.rows) * ceilDiv(n, c.cols) }

// shared returns how many bytes of shared memory a block needs.
func (c cutF32) shared() int { return 2 * depthF32 * (c.rows + c.cols) * 4 }

// divide cuts k into parts, so that blocks are as many as the device holds at once, if k is deep
// enough. Less than 256 is not worth the second kernel.
func (c cutF32) divide(m, n, k int) cutF32 {
	c.parts = max(1, min(c.resident*multiprocessors/c.tiles(m, n), k/256, 1024))
	c.perPart = ceilDiv(ceilDiv(k, c.parts), depthF32) * depthF32
	c.parts = max(1, ceilDiv(k, c.perPart))
	return c
}

// cutFloat32 cuts a product. Large tiles read less, but there must be enough of them.
func cutFloat32(m, n, k int) cutF32 {
	large, small := largeF32.divide(m, n, k), smallF32.divide(m, n, k)
	if m > small.rows && large.tiles(m, n)*large.parts >= multiprocessors {
		return large
	}
	return small
}

// workspace returns how many bytes the parts of a result of so many values take.
func (c cutF32) workspace(size int) int {
	if c.parts == 1 {
		return 0
	}
	return c.parts * size * Float32.Size()
}

// split returns the workspace for the parts of a result of so many values.
func (c cutF32) split(ws Tensor, size int) Tensor {
	if c.parts == 1 {
		return Tensor{}
	}
	return Tensor{Address: ws.Address, Len: c.parts * size}
}

// addParts appends what adds the parts of a product, if there are several, and finishes it. size is
// how many values a part has.
func (c cutF32) addParts(
	q *Queue, to, parts, bias Tensor, e Epilogue, size, cols int, accumulate bool,
) {
	if c.parts == 1 {
		return
	}
	const threads = 256 // kPartsThreads of gemm_f32.cu
	blocks := min(ceilDiv(to.Len, threads), elementBlocks)
	params := append([]any{to, parts, orNull(bias)}, e.params(cols, e.pairs())...)
	q.add("sum_parts_f32", [3]int{blocks, 1, 1}, threads, 0,
		append(e.writes(), to), append(e.reads(), parts, bias),
		append(params, uint64(size), c.parts, cols, accumulate)...)
}

// target returns the tensor that the blocks of a product write: the result or its parts.
func (c cutF32) target(result, parts Tensor) Tensor {
	if c.parts == 1 {
		return result
	}
	return parts
}

// orNull returns t, or no address if t has no values.
func orNull(t Tensor) Tensor {
	if t.Len == 0 {
		return Tensor{}
	}
	return t
}

// finish returns the epilogue of a product whose blocks do it, and an empty one if its parts are
// added first.
func (c cutF32) finish(e Epilogue) Epilogue {
	if c.parts > 1 {
		return Epilogue{}
	}
	return e
}

// vectors reports whether 16 bytes of t can be moved at once, if its rows have n values.
func vectors(t Tensor, n int) bool { return aligned(t) && n%4 == 0 }

func gemmFloat32Workspace(p Product) int {
	return cutFloat32(p.M, p.N, p.K).workspace(p.M * p.N)
}

// gemmFloat32 is Gemm of float32 operands.
func gemmFloat32(q *Queue, p Product, ws Tensor) {
	cut := cutFloat32(p.M, p.N, p.K)
	parts := cut.split(ws, p.M*p.N)
	name, rowA, rowB := "gemm_", p.K, p.N
	if p.TransA {
		name, rowA = name+"t", p.M
	} else {
		name += "n"
	}
	if p.TransB {
		name, rowB = name+"t", p.K
	} else {
		name += "n"
	}
	target := cut.target(p.C, parts)
	grid := [3]int{cut.tiles(p.M, p.N), 1, cut.parts}
	e := cut.finish(p.Epilogue)
	writes, reads := append(e.writes(), target), append(e.reads(), p.A, p.B, p.Bias)
	params := append([]any{p.C, p.A, p.B, orNull(p.Bias), parts},
		e.params(p.N, p.Epilogue.pairs())...)
	q.add(name+cut.tile, grid, cut.threads, cut.shared(), writes, reads,
		append(params, uint64(p.M*p.N), p.M, p.N, p.K, cut.perPart, p.Accumulate,
			vectors(p.A, rowA), vectors(p.B, rowB), vectors(target, p.N) && e.aligned())...)
	cut.addParts(q, p.C, parts, p.Bias, p.Epilogue, p.M*p.N, p.N, p.Accumulate)
}
