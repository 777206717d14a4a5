package cpu

const (
	// winogradMemory is about how many transformed values a chunk of tiles has. With the
	// workers' memory they stay in the L3 cache. A chunk has at least winogradLeast panels of
	// tiles, for each chunk transforms all filters.
	winogradMemory = 3 << 20
	winogradLeast  = 4
	// winogradPanels is the most panels of tiles in a part.
	winogradPanels = 10
	// winogradDepth is the most input channels whose filters are transformed at once.
	winogradDepth = 64
	// winogradSteps is how many input channels' filters are packed before they are transformed.
	winogradSteps = 32
	// winogradGap keeps the 36 matrices out of one another's cache sets.
	winogradGap = 16
)

// A winogradForward is a convolution by Winograd's algorithm. It takes the tiles in chunks. A chunk
// has two stages. The first transforms the chunk's windows. A part of the second makes a panel of
// output channels for a group of tiles: it transforms the panel's filters for a block of input
// channels, multiplies by them, and goes on to the next block. So transformed filters stay in the
// worker's cache.
type winogradForward struct {
	Conv
	y, x, w, bias []float32
	yBF16, xBF16  []uint16 // in place of y and x
	turned        bool     // w is that of the convolution whose input gradient this is

	u                *microKernel
	windows, results grid
	tiles            int // in all images
	chunk, group     int // tiles in a chunk and in a part, both whole panels
	depth, blocks    int // of input channels
	size             int // of a block of one of the 36 matrices of a chunk

	first, last int // tiles of the chunk in hand
	multiply    bool
	values      []float32 // transformed windows [blocks,36,chunk,depth]
	scratch     []float32
}

var winogradForwards freeList[winogradForward]

// plan divides the convolution by its shape alone. It returns the size of the workspace.
func (t *winogradForward) plan(pool *Pool) int {
	t.u = micro
	mr := t.u.mr
	t.windows, t.results = t.winogradWindows(), t.winogradTilesOf()
	t.tiles = t.N * t.results.gh * t.results.gw
	most := max(winogradMemory/(winogradSums*t.In*mr), winogradLeast)
	panels := even(ceilDiv(t.tiles, mr), most)
	t.chunk, t.group = panels*mr, even(panels, winogradPanels)*mr
	t.depth = even(t.In/winogradChannels, winogradDepth/winogradChannels) * winogradChannels
	t.blocks = ceilDiv(t.In, t.depth)
	t.size = t.chunk*t.depth + winogradGap
	return t.blocks*winogradSums*t.size + pool.Workers()*t.perWorker() + 16
}

// A worker has transformed filters [36,depth,nr], sums [36,group,nr], and the other parts of its
// memory for single tiles or steps.
func (t *winogradForward) filterSize() int { return t.depth*t.u.nr + winogradGap }
func (t *winogradForward) sumSize() int    { return t.group*t.u.nr + winogradGap }

func (t *winogradForward) perWorker() int {
	return winogradSums*(t.filterSize()+t.sumSize()) + max(
		winogradSums*t.In,      // a window at the edge
		9*winogradSteps*t.u.nr, // packed filters, and then no bias, a tile, the tile rounded
	)
}

// run is WinogradForward. If turned, w is [In,3,3,Out], and its taps are in reverse order.
func (c winogradForward) run(pool *Pool, ws []float32) {
	t := winogradForwards.get()
	*t = c
	t.plan(pool)
	ws = aligned(ws)
	t.values, t.scratch = ws[:t.blocks*winogradSums*t.size], ws[t.blocks*winogradSums*t.size:]
	for t.first = 0; t.first < t.tiles; t.first = t.last {
		t.last = min(t.first+t.chunk, t.tiles)
		t.multiply = false
		pool.Parallel(ceilDiv(t.last-t.first, 4), t)
		t.multiply = true
		pool.Parallel(t.Out/t.u.nr*ceilDiv(t.last-t.first, t.group), t)
	}
	winogradForwards.put(t)
}

func (t *winogradForward) Do(worker, part int) {
	size := t.perWorker()
	scratch := t.scratch[worker*size:][:size:size]
	if t.multiply {
		groups := ceilDiv(t.last-t.first, t.group)
		t.products(scratch, part/groups*t.u.nr, part%groups*t.group)
		return
	}
	edge := scratch[:winogradSums*t.In]
	lo, hi := span(part, 4, t.last-t.first)
	for tile := lo; tile < hi; tile++ {
		if t.xBF16 != nil {
			src, row, pixel := window(&t.windows, halves(edge), t.xBF16, t.first+tile)
			transformWindow(t, vec.windowBF16, src, tile, row, pixel)
			continue
		}
		src, row, pixel := window(&t.windows, edge, t.x, t.first+tile)
		transformWindow(t, vec.window, src, tile, row, pixel)
	}
}

// transformWindow transforms the window of the chunk's tile with the body by.
func transformWindow[T float32 | uint16](
	t *winogradForward, by func(dst []float32, src []T, dr, dc, sr, sc, n int),
	src []T, tile, row, pixel int,
) {
	for block := range t.blocks {
		k0, k1 := span(block, t.depth, t.In)
		dst := t.values[block*winogradSums*t.size+tile*t.depth:]
		by(dst, src[k0:], 6*t.size, t.size, row, pixel, k1-k0)
	}
}

// products makes the output channels from o on, as many as a panel has, for the group of tiles from
// the chunk's tile lo on.
func (t *winogradForward) products(scratch []float32, o, lo int) {
	u, hi := t.u, min(lo+t.group, t.last-t.first)
	filters, scratch := cutOff(scratch, winogradSums*t.filterSize())
	sums, scratch := cutOff(scratch, winogradSums*t.sumSize())
	for block := range t.blocks {
		k0, k1 := span(block, t.depth, t.In)
		t.transformFilters(filters, scratch, o, k0, k1)
		depth := k1 - k0
		for s := range winogradSums {
			a := t.values[(block*winogradSums+s)*t.size+lo*t.depth:]
			b, c := filters[s*t.filterSize():], sums[s*t.sumSize():]
			t.column(a, b, c, ceilDiv(hi-lo, u.mr), depth, block > 0)
		}
	}
	none, scratch := cutOff(scratch, roundUp(u.nr, 16))
	bias := none[:u.nr]
	clear(bias)
	if t.bias != nil {
		bias = t.bias[o:][:u.nr]
	}
	for tile := lo; tile < hi; tile++ {
		t.result(sums[(tile-lo)*u.nr:], bias, scratch, o, t.first+tile)
	}
}

// column computes so many tiles of the microKernel, one under the other. Where they can, they fetch
// the rows of the next one, and at the end those of the next of the 36 matrices.
func (t *winogradForward) column(a, b, c []float32, count, k int, add bool) {
	u, step := t.u, t.u.mr*t.depth
	if u.tiles == nil {
		for i := range count {
			u.tile(&a[i*step], &b[0], &c[i*u.mr*u.nr], nil, k, t.depth, 1, u.nr, add)
		}
		return
	}
	next, last := &a[min(1, count-1)*step], &a[min(t.size, len(a)-1)]
	u.tiles(&a[0], &b[0], &c[0], nil, k, t.depth, 1, u.nr, add,
		0, count, step, next, last, 4*step, 1, 0, 64)
}

// cutOff returns the first n values of a slice, and the others.
func cutOff(s []float32, n int) (first, rest []float32) { return s[:n], s[n:] }

// transformFilters makes the 36 matrices [k1-k0,nr] of the filters of a panel.
func (t *winogradForward) transformFilters(filters, tmp []float32, o, k0, k1 int) {
	u := t.u
	one := winogradSteps * u.nr // filters' values of one tap
	for k := k0; k < k1; k += winogradSteps {
		for tap := range 9 {
			dst := tmp[tap*one:][:one]
			if t.turned {
				src := t.w[(k*9+8-tap)*t.Out+o:]
				_ = src[(winogradSteps-1)*9*t.Out+u.nr-1]
				u.copyNR(&dst[0], &src[0], 9*t.Out, winogradSteps)
				continue
			}
			src := t.w[(o*9+tap)*t.In+k:]
			u.packTransposed(dst, src, 9*t.In, u.nr, u.nr, winogradSteps)
		}
		size := t.filterSize()
		vec.filter(filters[(k-k0)*u.nr:], tmp, 6*size, size, 3*one, one, one)
	}
}

// result makes a tile of y from its sums.
func (t *winogradForward) result(sums, bias, tmp []float32, o, tile int) {
	nr, size := t.u.nr, t.sumSize()
	n, i, j := t.results.split(tile)
	rows, cols := min(4, t.results.h-4*i), min(4, t.results.w-4*j)
	line := t.results.w * t.Out
	at := (n*t.results.h+4*i)*line + 4*j*t.Out + o
	if rows == 4 && cols == 4 && t.yBF16 == nil {
		vec.result(t.y[at:], sums, bias, line, t.Out, 6*size, size)
		return
	}
	tmp, rounded := cutOff(tmp, 16*nr)
	vec.result(tmp, sums, bias, 4*nr, nr, 6*size, size)
	if t.yBF16 != nil {
		half := halves(rounded[:8*nr])
		conversion.to(half, tmp)
		copyTile(t.yBF16[at:], half, line, t.Out, nr, rows, cols)
		return
	}
	copyTile(t.y[at:], tmp, line, t.Out, nr, rows, cols)
}

// copyTile copies n channels of rows and columns of a tile, whose pixels are n apart.
func copyTile[T any](y, tile []T, row, pixel, n, rows, cols int) {
	for r := range rows {
		for c := range cols {
			copy(y[r*row+c*pixel:], tile[(4*r+c)*n:][:n])
		}
	}
}
