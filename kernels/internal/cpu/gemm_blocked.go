package cpu

import "unsafe"

// blockK is how many steps of K one pass takes. A panel of B of that depth has 24 or 48 KiB.
const blockK = 384

// leastDepth is how many steps of K a pass takes at least where passes divide taps of a kernel.
const leastDepth = 256

// A part of C has about blockM rows and so many columns at most, in whole tiles: packedN if A has
// to be packed for each part, directN if not, or turnedPackedN and turnedN in a turned product. A
// block of A, the part of C and as many panels of B stay in the L2 cache.
const (
	blockM        = 96
	packedN       = 640
	directN       = 320
	turnedPackedN = 256
	turnedN       = 128
)

// turnedM is up to how many rows of activations a product with larger weights is faster turned if
// its left factor then has to be packed, or if it is a convolution. Others are at any number.
const turnedM = 512

// chunkSize is about how many values of B are packed at a time: 8 MiB, which stay in the L3 cache.
const chunkSize = 1 << 21

// smallProduct is the number of multiply-adds up to which a product is not divided among workers.
const smallProduct = 1 << 15

// A tileFunc computes a tile of C. With as many rows and columns as it has, it is
//
//	s := Σ_{p<k} a[i*rs+p*ks] · b[p*nr+j]     one multiply-add after another, p ascending
//	if add { s += c[i*ldc+j] }
//	if bias != nil { s += bias[j] }
//	c[i*ldc+j] = s
type tileFunc func(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)

// A tilesFunc computes count tiles, and fetches memory meanwhile, as microKernel.tiles says.
type tilesFunc func(
	a, b, c, bias *float32, k, rs, ks, ldc int, add bool,
	panel, count, step int, next, last *float32, move, n, inner, outer int,
)

// A microKernel is the innermost kernel of one instruction set, with what it needs to pack its
// operands.
type microKernel struct {
	name   string
	mr, nr int // rows and columns of the tile of C that it computes
	tile   tileFunc
	// half is tile for the first nr/2 columns alone. It is nil where there is none.
	half tileFunc
	// short are tile and half for 2 rows, for 4 and so on, below mr. It is nil without them.
	short [][2]tileFunc
	// tiles are count tiles under each other: the rows of A of each are step values behind those of
	// the one before. Meanwhile they fetch memory, one line at each step of K: n lines that are
	// inner bytes apart, then n that begin outer bytes behind these. The first tile begins with the
	// line at next, each further one move bytes behind that, but the last one at last. It is nil
	// where there is none.
	tiles tilesFunc
	// wide are tiles of half the rows and half again as many columns: of a panel, and of half of
	// the next, which is panel values behind it. It is nil where there is none.
	wide tilesFunc
	// runs are tiles made of runs, for 2 rows, for 4 and so on, each of nr columns and of nr/2. The
	// latter are nil where there are none.
	runs [][2]runsFunc
	// copyMR is dst[p*mr+i] = src[p*stride+i] for p < k and i < mr. copyNR is the same with nr.
	copyMR, copyNR func(dst, src *float32, stride, k int)
	// transpose is dst[p*dstStride+j] = src[j*srcStride+p] for p < k and j < n.
	transpose func(dst, src []float32, dstStride, srcStride, n, k int)
}

// micro is what this machine computes products with.
var micro = micros[len(micros)-1]

// A product is one matrix product C[m,n] = A[m,k]·B[k,n] for the blocked algorithm. It leaves open
// where the elements of A and B come from and where the rows of C go. So a convolution is a product
// too.
type product struct {
	m, n, k    int
	a          lhs
	b          rhs
	c          []float32
	ldc        int
	rows       grid // where C's rows go, if rows.on
	bias       []float32
	accumulate bool
	turned     bool // whether C is stored transposed, and bias belongs to its rows
}

// turns reports whether the transposed product is the faster one to compute. The right factor has
// to be packed, and the left one need not be, where tiles can read it. So of large weights and few
// rows of activations, the activations are packed. Then C has to be transposed, which costs little
// beside a sum over many k.
func (p *product) turns() bool {
	if p.b.window.on || p.rows.on || p.accumulate && p.bias != nil {
		return false
	}
	if p.k < 128 || 2*p.k*(p.n-p.m) <= p.m*p.n {
		return false
	}
	few := p.m <= turnedM
	switch {
	case p.b.flip.on:
		return few && p.b.flip.depth() > 0
	case p.a.window.on:
		return few
	}
	a := p.b.turn()
	return few || a.direct()
}

// turn is the transposed product Cᵀ[n,m] = Bᵀ[n,k]·Aᵀ[k,m].
func (p *product) turn() product {
	q := *p
	q.m, q.n, q.turned = p.n, p.m, true
	q.a, q.b = p.b.turn(), rhs{matrix: p.a.matrix, window: p.a.window}
	q.b.matrix.Transposed = !p.a.matrix.Transposed
	return q
}

// A cut says how a product is divided. It decides how fast the result comes, and nothing else.
//
// K is taken in blocks. The blocks of B are packed into panels of nr columns, which all workers
// share: all of them at once, or a chunk of blocks at a time, if that is much memory. A part of C
// is computed through all blocks of a chunk, in turn. For each of them its rows of A are packed
// into panels of mr rows, unless the tiles read them where they are.
type cut struct {
	kc, blocks     int // depth and number of K's blocks
	chunk, chunks  int // blocks in a chunk, and number of chunks
	mc, nc         int // rows and columns of C in a part
	mParts, nParts int
	panels         int  // of B
	packPanels     int  // of B, packed by one part
	packParts      int  // of a block
	mr             int  // rows of a tile of C
	runs           int  // of a tile, if A is windows
	direct         bool // whether tiles read A where it is
	down           bool // whether the next part is the one below
	layout              // of a panel of A
}

// A layout is where the elements of a packed panel of A are. Element (i,p) is at i*rs + p*ks. size
// is the number of values in all.
type layout struct{ rs, ks, size int }

// cut divides p for a number of workers.
func (u *microKernel) cut(p *product, workers int) cut {
	var c cut
	c.blocks = ceilDiv(p.k, blockK)
	c.kc = ceilDiv(p.k, c.blocks)
	if depth := max(p.a.flip.depth(), p.b.flip.depth()); depth > 0 {
		c.kc, c.blocks = depth, p.k/depth
	}
	c.mr = u.mr
	c.layout, c.direct = p.a.layout(u.mr, c.kc), p.a.direct()
	c.nc = packedN
	switch {
	case p.turned && !c.direct:
		c.nc = turnedPackedN
	case p.turned:
		c.nc = turnedN
	case p.a.window.on:
		c.mr, c.runs = u.runRows(), p.a.window.runsOfTile(c.kc)
		c.nc = directN
	case c.direct:
		c.nc = directN
	}
	c.mc = roundUp(min(blockM, p.m), c.mr)
	c.nc = roundUp(min(c.nc, p.n), u.nr)
	wanted := 1
	if workers > 1 {
		wanted = 16 * workers
	}
	parts := func() int { return ceilDiv(p.m, c.mc) * ceilDiv(p.n, c.nc) }
	large := func() bool { return c.mc*c.nc*c.kc >= 2*smallProduct }
	for parts() < wanted && c.mc > 2*c.mr && large() {
		c.mc = roundUp(c.mc/2, c.mr)
	}
	for parts() < wanted && c.nc > 4*u.nr && large() {
		c.nc = roundUp(c.nc/2, u.nr)
	}
	c.mParts, c.nParts = ceilDiv(p.m, c.mc), ceilDiv(p.n, c.nc)
	c.panels = ceilDiv(p.n, u.nr)
	c.packPanels = max(1, 1<<16/(u.nr*c.kc))
	for workers > 1 && c.packPanels > 1 && ceilDiv(c.panels, c.packPanels)*c.blocks < wanted {
		c.packPanels /= 2
	}
	c.packParts = ceilDiv(c.panels, c.packPanels)
	c.chunks = ceilDiv(c.blocks, max(1, chunkSize/(c.panels*u.nr*c.kc)))
	c.chunk = ceilDiv(c.blocks, c.chunks)
	c.chunks = ceilDiv(c.blocks, c.chunk)
	c.down = c.chunk == 1 && !p.turned // panels of B that stay in the L2 cache
	return c
}

// packedChunk returns the size of a packed chunk of B.
func (t *gemmTask) packedChunk() int {
	return roundUp(t.chunk*t.panels*t.u.nr*t.kc, 16)
}

// packedA returns the size of a worker's packed block of A. Of one that is read where it is, the
// last panel is packed. Of windows there is only where they are.
func (t *gemmTask) packedA() int {
	if t.direct {
		return roundUp(t.size, 16)
	}
	if t.a.window.on {
		return roundUp(t.mc/t.mr*t.runs*runSize, 16)
	}
	return roundUp(t.mc/t.u.mr*t.size, 16)
}

// result returns the size of the memory that a worker has for parts of C: for one tile, or for a
// part, if it is transposed later.
func (t *gemmTask) result() int {
	if t.turned {
		return t.mc * roundUp(t.nc, 16)
	}
	return roundUp(t.u.mr*t.u.nr, 16)
}

// collected returns the size of the memory in which a worker collects windows that it transposes.
func (t *gemmTask) collected() int {
	if t.b.window.on && t.b.matrix.Transposed {
		return roundUp(t.u.nr*t.kc, 16)
	}
	return 0
}

// perWorker returns the size of a worker's memory.
func (t *gemmTask) perWorker() int { return max(t.packedA()+t.result(), t.collected()) }

// workspace returns how many values of workspace multiply needs.
func (u *microKernel) workspace(pool *Pool, p *product) int {
	if p.m == 0 || p.n == 0 || p.k == 0 {
		return 0
	}
	workers := pool.Workers()
	t := u.task(p, workers)
	size := min(2, t.chunks)*t.packedChunk() + workers*t.perWorker() + 16
	gemmTasks.put(t)
	return size
}

// A stage of a product computes with chunk now of B, and packs the next.
type stage struct {
	now     int
	parts   int
	packing int // how many of them pack; they are spread among the others
}

// part returns which one of those that pack a part is, or of those that do not.
func (s *stage) part(part int) (n int, packs bool) {
	before, after := part*s.packing/s.parts, (part+1)*s.packing/s.parts
	if before < after {
		return before, true
	}
	return part - before, false
}

// A gemmTask is one stage of a product.
type gemmTask struct {
	product
	cut
	stage
	u       *microKernel
	packed  [2][]float32
	scratch []float32
}

var gemmTasks freeList[gemmTask]

// task is the task of p, turned if that is faster.
func (u *microKernel) task(p *product, workers int) *gemmTask {
	t := gemmTasks.get()
	t.product, t.u = *p, u
	if p.turns() {
		t.product = p.turn()
	}
	t.cut = u.cut(&t.product, workers)
	return t
}

// multiply computes p. ws has u.workspace(pool, p) values.
func (u *microKernel) multiply(pool *Pool, p *product, ws []float32) {
	if p.m == 0 || p.n == 0 {
		return
	}
	if p.k == 0 {
		p.nothing()
		return
	}
	t := u.task(p, pool.Workers())
	ws = aligned(ws)
	size := t.packedChunk()
	for i := range min(2, t.chunks) {
		t.packed[i], ws = ws[:size], ws[size:]
	}
	t.scratch = ws
	for t.now = -1; t.now < t.chunks; t.now++ {
		t.packing = 0
		if t.now+1 < t.chunks {
			first, last := span(t.now+1, t.chunk, t.blocks)
			t.packing = (last - first) * t.packParts
		}
		t.parts = t.packing
		if t.now >= 0 {
			t.parts += t.mParts * t.nParts
		}
		t.run(pool)
	}
	gemmTasks.put(t)
}

// run does the parts of a stage: alone if the product is small.
func (t *gemmTask) run(pool *Pool) {
	if t.m*t.n*t.kc > smallProduct {
		pool.Parallel(t.parts, t)
		return
	}
	for i := range t.parts {
		t.Do(0, i)
	}
}

// nothing computes the product with k = 0.
func (p *product) nothing() {
	for i := range p.m {
		c := p.row(i)
		if !p.accumulate {
			clear(c)
		}
		for j := range p.bias {
			c[j] += p.bias[j]
		}
	}
}

// row returns row i of C.
func (p *product) row(i int) []float32 {
	at := i * p.ldc
	if p.rows.on {
		at = p.rows.at(i)
	}
	return p.c[at:][:p.n]
}

// aligned returns ws from its first cache line on.
func aligned(ws []float32) []float32 {
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(ws)))/4) & 15
	return ws[skip:]
}

func (t *gemmTask) Do(worker, part int) {
	scratch := t.scratch[worker*t.perWorker():][:t.perWorker()]
	n, packs := t.stage.part(part)
	if packs {
		block := (t.now+1)*t.chunk + n/t.packParts
		t.packBlock(t.packed[(t.now+1)&1], t.now+1, block, n%t.packParts, scratch)
		return
	}
	if t.down {
		t.compute(scratch, n%t.mParts, n/t.mParts)
		return
	}
	t.compute(scratch, n/t.nParts, n%t.nParts)
}

// panelOf returns where in a packed chunk a panel of a block is.
func (t *gemmTask) panelOf(packed []float32, chunk, block, panel int) []float32 {
	return packed[((block-chunk*t.chunk)*t.panels+panel)*t.u.nr*t.kc:]
}

// packBlock packs some panels of a block, a few rows at a time.
func (t *gemmTask) packBlock(packed []float32, chunk, block, part int, scratch []float32) {
	k0, k1 := span(block, t.kc, t.k)
	lo, hi := span(part, t.packPanels, t.panels)
	for k, rows := k0, t.b.rows(t.kc); k < k1; k += rows {
		for panel := lo; panel < hi; panel++ {
			j0, j1 := span(panel, t.u.nr, t.n)
			dst := t.panelOf(packed, chunk, block, panel)[(k-k0)*t.u.nr:]
			end := min(k+rows, k1)
			t.b.pack(dst[:t.u.nr*(end-k)], t.u, j0, j1, k, end, scratch)
		}
	}
}

// A partOfC is rows [i0,i1) and columns [j0,j1).
type partOfC struct{ i0, i1, j0, j1 int }

// compute computes a part of C for the chunk that is packed.
func (t *gemmTask) compute(scratch []float32, mPart, nPart int) {
	var c partOfC
	c.i0, c.i1 = span(mPart, t.mc, t.m)
	c.j0, c.j1 = span(nPart, t.nc, t.n)
	a, tmp := scratch[:t.packedA()], scratch[t.packedA():]
	begun := t.turned && t.begin(tmp, c)
	packed := t.packed[t.now&1]
	first, last := span(t.now, t.chunk, t.blocks)
	for block := first; block < last; block++ {
		if t.a.window.on {
			t.windows(a, packed, tmp, &c, block, last)
			continue
		}
		k0, k1 := span(block, t.kc, t.k)
		l := t.left(a, &c, block, last)
		for j := c.j0; j < c.j1; j += t.u.nr {
			b := t.panelOf(packed, t.now, block, j/t.u.nr)
			if t.turned {
				t.turnedColumn(&l, b, tmp, &c, j, k1-k0, begun || block > first)
			} else {
				t.column(&l, b, tmp, &c, j, k1-k0, block)
			}
		}
	}
	if t.turned {
		t.end(tmp, c)
	}
}

// A leftBlock is where the panels of a block of A are.
type leftBlock struct {
	data       []float32
	at, step   int  // where the first panel begins, and how far on the next one
	layout          // of each
	first      bool // whether it is the first block of the stage
	edge       []float32
	edgeLayout layout
	whole      int // rows of whole panels; behind them edge has those that are left

	// next is where rows of the next block begin, which are nextRS values apart. It is empty if
	// there is none.
	next   []float32
	nextRS int
}

// left packs a block of A for a part, or what has to be packed of it. The part is computed for
// blocks up to end.
func (t *gemmTask) left(a []float32, c *partOfC, block, end int) leftBlock {
	k0, k1 := span(block, t.kc, t.k)
	l := leftBlock{data: a, layout: t.layout, step: t.size, whole: c.i1}
	l.first = block == t.now*t.chunk
	from := c.i0
	if t.direct {
		l.data, l.edge, l.edgeLayout = t.a.matrix.Data, a, t.layout
		l.at, l.rs, l.ks = t.a.place(c.i0, k0)
		l.step = t.u.mr * l.rs
		l.whole = c.i1 - t.u.ragged(c.i1-c.i0)
		from = l.whole
	}
	if block+1 < end {
		var at int
		at, l.nextRS, _ = t.a.place(c.i0, k1)
		l.next = t.a.matrix.Data[at:]
	}
	t.a.pack(a, t.layout, t.u, from, c.i1, k0, k1)
	return l
}

// ragged returns how many of so many rows no tile fits: those of the last tile, unless it has just
// as many.
func (u *microKernel) ragged(rows int) int {
	left := rows % u.mr
	if left > 0 && u.short != nil && left%2 == 0 {
		return 0
	}
	return left
}

// panel returns where the panel of rows i and on begins, whose number is n.
func (l *leftBlock) panel(i, n int) (at *float32, rs, ks int) {
	if i < l.whole {
		return &l.data[l.at+n*l.step], l.rs, l.ks
	}
	return &l.edge[0], l.edgeLayout.rs, l.edgeLayout.ks
}

// column computes the rows of c for one panel of B, which begins at column j.
func (t *gemmTask) column(l *leftBlock, b, tmp []float32, c *partOfC, j, k, block int) {
	u := t.u
	add := t.accumulate || block > 0
	var bias *float32
	if t.bias != nil && block == 0 {
		bias = &t.bias[j]
	}
	i, n := c.i0, 0
	if u.tiles != nil && c.i1-i >= u.mr && j+u.nr <= t.n && !t.rows.on {
		n = (c.i1 - i) / u.mr
		t.tiles(l, b, t.c[i*t.ldc+j:], bias, c, j, k, t.ldc, add, n)
		i += n * u.mr
	}
	tile, rows, width := u.fit(u.mr, t.n-j)
	for ; i < c.i1; i, n = i+u.mr, n+1 {
		if c.i1-i < u.mr {
			tile, rows, width = u.fit(c.i1-i, t.n-j)
		}
		a, rs, ks := l.panel(i, n)
		if i+rows > t.m || j+width > t.n || t.rows.on {
			tile(a, &b[0], &tmp[0], nil, k, rs, ks, u.nr, false)
			t.merge(tmp, i, min(i+u.mr, t.m), j, min(j+width, t.n), bias != nil, add)
			continue
		}
		tile(a, &b[0], &t.c[i*t.ldc+j], bias, k, rs, ks, t.ldc, add)
	}
}

// tiles computes the first count tiles of the column at j, from to on. Meanwhile they fetch what is
// read next, since the L3 cache is far, and memory further:
//
//   - in the last column, the rows of A of the next block;
//   - in the first column of the first block, the next rows of A, unless they are packed;
//   - elsewhere in the first block, the next tile of C, unless C is stored later;
//   - elsewhere, the next panel of B; in the last column but one, the first of the next block, too.
func (t *gemmTask) tiles(
	l *leftBlock, b, to []float32, bias *float32, c *partOfC, j, k, ldc int, add bool, count int,
) {
	u, a, panel := t.u, l.data[l.at:], t.u.nr*t.kc
	columns := (c.j1 - j - 1) / u.nr // behind this one
	tiles, mr, step := u.tiles, u.mr, l.step
	if t.wide(c, j) {
		columns = 0
		tiles, mr, step, count = u.wide, mr/2, step/2, 2*count
	}
	next, last := &b[0], &b[0]
	move, n, inner, outer := 0, 1, 0, 0 // nothing new
	rows := func(rs, ks int) (ends int) {
		if rs > 1 {
			n, inner, outer = mr, 4*rs, 64
			return 0
		}
		n, outer = 1, 4*ks
		return mr - 1 // the line that rows end in: it begins in those of the tile before
	}
	switch {
	case columns == 0 && len(l.next) > 0:
		ends := rows(l.nextRS, l.ks)
		move = 4 * mr * l.nextRS
		next, last = &l.next[ends], &l.next[ends+(count-1)*mr*l.nextRS]
	case l.first && t.direct && j == c.j0:
		ends := rows(l.rs, l.ks)
		move = 4 * step
		next, last = &a[ends+min(1, count-1)*step], &a[ends]
	case columns == 0:
	case l.first && !t.turned:
		rows(ldc, 1)
		move = 4 * mr * ldc
		next, last = &to[min(1, count-1)*mr*ldc], &to[u.nr]
	case k < 64:
	default:
		lines := min(u.nr*k/16/count, k/2) // of a panel, in a tile
		n, outer = k/lines, 64
		if columns == 1 && len(l.next) > 0 {
			n, inner = 2, 4*(t.panels-(j-c.j0)/u.nr-1)*panel
		}
		move = 64 * lines
		next, last = &b[panel], &b[panel+(count-1)*lines*16]
	}
	tiles(&a[0], &b[0], &to[0], bias, k, l.rs, l.ks, ldc, add,
		panel, count, step, next, last, move, n, inner, outer)
}

// fit returns the tile for the first of so many rows and columns, and how many it has.
func (u *microKernel) fit(rows, columns int) (tile tileFunc, r, width int) {
	narrow := u.half != nil && columns <= u.nr/2
	width = u.nr
	if narrow {
		width /= 2
	}
	switch {
	case u.short != nil && rows <= u.mr-2:
		n := (rows - 1) / 2
		tile, r = u.short[n][0], 2*n+2
		if narrow {
			tile = u.short[n][1]
		}
	case narrow:
		tile, r = u.half, u.mr
	default:
		tile, r = u.tile, u.mr
	}
	return tile, r, width
}

// wide reports whether whole tiles of the panel at column j of c are wide: if it is the last panel
// but one of a turned part, and half of the last one is enough.
func (t *gemmTask) wide(c *partOfC, j int) bool {
	left := c.j1 - j
	return t.turned && t.u.wide != nil && left > t.u.nr && left <= t.u.nr*3/2
}

// turnedColumn computes the rows of c for one panel of B in tmp, a matrix [mc,nc].
func (t *gemmTask) turnedColumn(l *leftBlock, b, tmp []float32, c *partOfC, j, k int, add bool) {
	u, to := t.u, tmp[j-c.j0:]
	i, n := c.i0, 0
	if whole := (c.i1 - i) / u.mr; u.tiles != nil && whole > 0 {
		done := j > c.j0 && t.wide(c, j-u.nr) // with the panel before
		if !done && t.n-j > u.nr/2 {
			t.tiles(l, b, to, nil, c, j, k, t.nc, add, whole)
			done = true
		}
		if done {
			i, n = i+whole*u.mr, whole
		}
	}
	tile, _, _ := u.fit(u.mr, t.n-j)
	for ; i < c.i1; i, n = i+u.mr, n+1 {
		if c.i1-i < u.mr {
			tile, _, _ = u.fit(c.i1-i, t.n-j)
		}
		a, rs, ks := l.panel(i, n)
		tile(a, &b[0], &to[(i-c.i0)*t.nc], nil, k, rs, ks, t.nc, add)
	}
}

// begin writes to tmp what is added to the first product of a turned part. It returns false if that
// is nothing.
func (t *gemmTask) begin(tmp []float32, c partOfC) bool {
	switch {
	case t.accumulate || t.now > 0:
		t.u.transpose(tmp, t.c[c.j0*t.ldc+c.i0:], t.nc, t.ldc, c.j1-c.j0, c.i1-c.i0)
	case t.bias != nil:
		t.u.transpose(tmp, t.bias[c.i0:], t.nc, 0, c.j1-c.j0, c.i1-c.i0) // the same in all columns
	default:
		return false
	}
	return true
}

// end moves a turned part from tmp into C.
func (t *gemmTask) end(tmp []float32, c partOfC) {
	t.u.transpose(t.c[c.j0*t.ldc+c.i0:], tmp, t.ldc, t.nc, c.i1-c.i0, c.j1-c.j0)
}

// merge moves a tile that lies in memory of its own into C, as microKernel.tile does.
func (t *gemmTask) merge(tmp []float32, i0, i1, j0, j1 int, bias, add bool) {
	for i := i0; i < i1; i++ {
		s := tmp[(i-i0)*t.u.nr:][:j1-j0]
		c := t.row(i)[j0:j1]
		if add {
			for j := range c {
				s[j] += c[j]
			}
		}
		if bias {
			for j, v := range t.bias[j0:j1] {
				s[j] += v
			}
		}
		copy(c, s)
	}
}
