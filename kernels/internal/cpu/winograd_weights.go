package cpu

const (
	// winogradPairs is about how many transformed values a chunk has for the gradient of weights.
	// It has more if the sums have more, for each chunk reads and writes all sums.
	winogradPairs = 6 << 20
	// winogradRows is the most panels of output channels in a part.
	winogradRows = 6
)

// A winogradWeights is the gradient of weights by Winograd's algorithm. It takes the tiles in
// chunks. A chunk has two stages. The first transforms the chunk's windows and its tiles of dy. A
// part of the second adds to the 36 sums of a group of output channels and a panel of input
// channels. With the last chunk it transforms them back.
type winogradWeights struct {
	Conv
	dw, dy, x     []float32
	dyBF16, xBF16 []uint16 // in place of dy and x

	u                *microKernel
	windows, results grid
	tiles            int
	chunk            int // tiles
	group            int // output channels in a part, whole panels
	wide             int // from one tile's output channels to the next one's
	leftSize         int // of one of the 36 matrices of dy
	rightSize        int // of a panel of one of the 36 matrices of windows

	first, last int // tiles of the chunk in hand
	multiply    bool
	left        []float32 // transformed dy [36,chunk,wide]
	right       []float32 // transformed windows [panels,36,chunk,nr]
	sums        []float32 // [parts,36,group,nr], or of each worker if there is one chunk
	edges       []float32 // of each worker, a window at the edge
}

var winogradWeightsTasks freeList[winogradWeights]

// plan divides the gradient by its shape alone. It returns the size of the workspace.
func (t *winogradWeights) plan(pool *Pool) int {
	t.u = micro
	t.windows, t.results = t.winogradWindows(), t.winogradTilesOf()
	t.tiles = t.N * t.results.gh * t.results.gw
	t.chunk = even(t.tiles, max(winogradPairs/winogradSums, t.In*t.Out)/(t.In+t.Out))
	t.group = even(ceilDiv(t.Out, t.u.mr), winogradRows) * t.u.mr
	t.wide = t.Out + winogradGap // an odd number of cache lines, for Out is a multiple of 32
	t.leftSize = t.chunk*t.wide + winogradGap
	t.rightSize = t.chunk*t.u.nr + winogradGap
	return t.leftAll() + t.rightAll() + t.sumsAll(pool) + pool.Workers()*t.edge() + 16
}

// leftAll has what the last panel of output channels reads behind them.
func (t *winogradWeights) leftAll() int  { return winogradSums * t.leftSize }
func (t *winogradWeights) rightAll() int { return t.panels() * winogradSums * t.rightSize }
func (t *winogradWeights) panels() int   { return t.In / t.u.nr }
func (t *winogradWeights) parts() int    { return t.panels() * ceilDiv(t.Out, t.group) }
func (t *winogradWeights) sumSize() int  { return t.group*t.u.nr + winogradGap }
func (t *winogradWeights) edge() int     { return winogradSums * max(t.In, t.Out) }

func (t *winogradWeights) sumsAll(pool *Pool) int {
	if t.chunk < t.tiles {
		return t.parts() * winogradSums * t.sumSize()
	}
	return pool.Workers() * winogradSums * t.sumSize()
}

// run is WinogradWeightGrad.
func (c winogradWeights) run(pool *Pool, ws []float32) {
	t := winogradWeightsTasks.get()
	*t = c
	t.plan(pool)
	ws = aligned(ws)
	t.left, ws = cutOff(ws, t.leftAll())
	t.right, ws = cutOff(ws, t.rightAll())
	t.sums, t.edges = cutOff(ws, t.sumsAll(pool))
	for t.first = 0; t.first < t.tiles; t.first = t.last {
		t.last = min(t.first+t.chunk, t.tiles)
		t.multiply = false
		pool.Parallel(ceilDiv(t.last-t.first, 4), t)
		t.multiply = true
		pool.Parallel(t.parts(), t)
	}
	winogradWeightsTasks.put(t)
}

func (t *winogradWeights) Do(worker, part int) {
	if t.multiply {
		at := part
		if t.chunk >= t.tiles {
			at = worker
		}
		size := winogradSums * t.sumSize()
		t.products(t.sums[at*size:][:size], part%t.panels(), part/t.panels()*t.group)
		return
	}
	edge := t.edges[worker*t.edge():][:t.edge()]
	lo, hi := span(part, 4, t.last-t.first)
	for tile := lo; tile < hi; tile++ {
		if t.xBF16 != nil {
			transformPair(t, vec.windowBF16, vec.spreadBF16, halves(edge), t.xBF16, t.dyBF16, tile)
			continue
		}
		transformPair(t, vec.window, vec.spread, edge, t.x, t.dy, tile)
	}
}

// transformPair transforms the window of the chunk's tile with one body, and the tile of dy with
// another.
func transformPair[T float32 | uint16](
	t *winogradWeights, by, spread func(dst []float32, src []T, dr, dc, sr, sc, n int),
	edge, x, dy []T, tile int,
) {
	src, row, pixel := window(&t.windows, edge, x, t.first+tile)
	for panel := range t.panels() {
		dst := t.right[panel*winogradSums*t.rightSize+tile*t.u.nr:]
		by(dst, src[panel*t.u.nr:], 6*t.rightSize, t.rightSize, row, pixel, t.u.nr)
	}
	src, row, pixel = window(&t.results, edge, dy, t.first+tile)
	spread(t.left[tile*t.wide:], src, 6*t.leftSize, t.leftSize, row, pixel, t.Out)
}

// products adds the chunk's tiles to the sums of a panel of input channels and the group of output
// channels from lo on.
func (t *winogradWeights) products(sums []float32, panel, lo int) {
	u, hi := t.u, min(lo+t.group, t.Out)
	size := t.sumSize()
	for s := range winogradSums {
		a := t.left[s*t.leftSize:]
		b := t.right[(panel*winogradSums+s)*t.rightSize:]
		c := sums[s*size:]
		for o := lo; o < hi; o += u.mr {
			k := t.last - t.first
			u.tile(&a[o], &b[0], &c[(o-lo)*u.nr], nil, k, 1, t.wide, u.nr, t.first > 0)
		}
	}
	if t.last < t.tiles {
		return
	}
	for o := lo; o < hi; o++ {
		dw := t.dw[o*9*t.In+panel*u.nr:]
		vec.gather(dw, sums[(o-lo)*u.nr:], 3*t.In, t.In, 6*size, size, u.nr)
	}
}
