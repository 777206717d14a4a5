package cpu

import (
	"math"
	"unsafe"
)

// The blocks of a product of bfloat16 values. They decide how fast the result comes, and nothing
// else. A block of A and the sums of a part lie in the L2 cache, and a packed chunk of B in the L3
// cache.
const (
	depthBF16      = 512       // of K at most, an even number
	columnsBF16    = 320       // of C in a part at most
	sumsBF16       = 512 * 160 // of C in a part at most
	turnedRowsBF16 = 224       // of C in a part of a turned product at most

	// turnedBF16 is up to how many rows of activations a product with larger weights is faster
	// turned, and turnedWindows up to how many windows.
	turnedBF16    = 256
	turnedWindows = 128

	// packBF16 is how many multiply-adds take as long as to pack a value of A, and readBF16 as to
	// read one, of A or of what is packed of B.
	packBF16 = 10
	readBF16 = 3
	// smallCutBF16 is the number of multiply-adds up to which the best cut is not looked for.
	smallCutBF16 = 1 << 22
)

// These are variables for tests: how many rows of C a part has at most, about, how many values a
// chunk of B, if that is more than a block of a panel, from how many weights on a product may be
// turned, and from how many values on a result does not stay in the caches.
var rowsBF16, chunkBF16, weightsBF16, streamedBF16 = 512, 1 << 22, 1 << 20, 1 << 21

// A microBF16 is the innermost kernel of one instruction set for products of bfloat16 values, with
// what it needs to pack its operands. microBF16Generic is the definition of each body. The others
// give the same bits.
type microBF16 struct {
	name   string
	mr, nr int // rows and columns of the tile of C that it computes
	// tile is, for i < mr, j < nr and p < k in this order,
	//
	//	if !add { c[i*nr+j] = 0 }
	//	c[i*nr+j] = dotBF16(c[i*nr+j], a[i*rs+p*ks:][:2], b[2*(p*nr+j):][:2])
	//
	// where rs and ks are in bytes. k is at least 1.
	tile func(a, b *uint16, c *float32, k, rs, ks int, add bool)
	// runs is a tile of mostRunRows rows and nr columns whose steps are runs of values, each of an
	// even number. Value p of a run is a[run.rows[i]+p] in row i, or zeros[p] if run.rows[i] is
	// negative, and its columns are b[run.b+p*nr:], packed in pairs. runs points to the first run.
	// It is nil where there is none.
	runs func(a, b *uint16, c *float32, zeros *uint16, runs *int, add bool)
	// store is dst[i*ld+j] = ToBF16(src[i*nr+j] + bias[j]) for i < rows and j < nr, where ld is in
	// bytes. storeWhole is the same without rounding.
	store      func(dst *uint16, src, bias *float32, ld, rows int)
	storeWhole func(dst, src, bias *float32, ld, rows int)
	// stream is storeWhole past the caches: rows of dst begin with a line of them. It is nil where
	// there is none.
	stream func(dst, src, bias *float32, ld, rows int)
	// interleave is dst[2*(p*width+j)+h] = src[(2p+h)*stride+j] for 2p+h < k and j < n, and 0 for
	// other j < wide and h < 2.
	interleave func(dst, src []uint16, stride, width, wide, n, k int)
	// pairColumns is dst[2*(p*width+j)+h] = src[j*stride+2p+h] for 2p+h < k and j < n, and 0 for
	// other j < width and h < 2.
	pairColumns func(dst, src []uint16, stride, width, n, k int)
	// copyRows is dst[p*width+j] = src[p*stride+j] for p < k and j < n.
	copyRows func(dst, src []uint16, stride, width, n, k int)
}

// halfMicro is what this machine computes products of bfloat16 values with.
var halfMicro = microsBF16[len(microsBF16)-1]

// A productBF16 is one matrix product C[m,n] = A[m,k]·B[k,n] for the blocked algorithm, as a
// product is for float32 values.
type productBF16 struct {
	m, n, k int
	a, b    factorBF16
	to      resultBF16
	turned  bool // whether C is stored transposed, and bias belongs to its rows
}

// turns reports whether the transposed product is the faster one to compute: of large weights and
// few rows of activations. Then the activations are packed for all parts. Weights whose pairs lie
// together are read where they are. Others are packed for a part, and stay in the L2 cache. The
// rows must about fill panels of columns.
func (u *microBF16) turns(p *productBF16) bool {
	if p.b.window.on || p.b.flip.on || p.to.isWhole || p.to.rows.on {
		return false
	}
	few := turnedBF16
	if p.a.window.on {
		few = turnedWindows
	}
	return p.k >= 128 && p.m <= few && p.n > p.m && p.n*p.k >= weightsBF16 &&
		roundUp(p.m, u.nr) < roundUp(p.m, u.mr)+packBF16
}

// turn is the transposed product Cᵀ[n,m] = Bᵀ[n,k]·Aᵀ[k,m].
func (p *productBF16) turn() productBF16 {
	q := *p
	q.m, q.n, q.a, q.b, q.turned = p.n, p.m, p.b, p.a, true
	q.a.matrix.Transposed = !p.b.matrix.Transposed
	q.b.matrix.Transposed = !p.a.matrix.Transposed
	return q
}

// A resultBF16 is where C goes: to whole, or rounded to half.
type resultBF16 struct {
	isWhole bool
	whole   []float32
	half    []uint16
	ld      int
	rows    grid // where C's rows go, if rows.on
	bias    []float32
}

// streams reports whether C is faster stored past the caches: if they do not hold it until it is
// read, and its rows begin with a line of them. To store a line in a cache, it has to be read.
func (r *resultBF16) streams() bool {
	return r.isWhole && len(r.whole) >= streamedBF16 && !r.rows.on && r.ld%16 == 0 &&
		uintptr(unsafe.Pointer(unsafe.SliceData(r.whole)))%64 == 0
}

// at returns where row i begins.
func (r *resultBF16) at(i int) int {
	if r.rows.on {
		return r.rows.at(i)
	}
	return i * r.ld
}

// A cutBF16 says how a product is divided. A part of C is some rows and some columns. For each
// block of K its rows of A are packed, unless the tiles read them where they are. B is packed a
// chunk at a time, which all workers share: some columns of it; or, if those would be few and C is
// whole, some blocks of K, whose sums are kept in C. If parts have all rows, each packs its columns
// of B itself.
type cutBF16 struct {
	kc, blocks     int // depth and number of K's blocks
	alone          bool
	panels, deep   int // columns and blocks of B in a chunk; the columns in panels of nr
	chunks         int
	mc, nc         int // rows and columns of C in a part
	mParts, nParts int // of a chunk
	mr             int // rows of a tile
	direct         bool
	runs           int  // of a tile, if tiles read windows where they are
	streams        bool // whether C is stored past the caches
	layoutBF16          // of A, unless it is read where it is
}

// cut divides p for a number of workers: so that the busiest worker has the least to do.
func (u *microBF16) cut(p *productBF16, workers int) cutBF16 {
	var c cutBF16
	c.blocks = ceilDiv(p.k, depthBF16)
	c.kc = roundUp(ceilDiv(p.k, c.blocks), 2)
	c.mr = u.mr
	packA := packBF16
	switch {
	case p.a.direct(p.k):
		c.direct, packA = true, readBF16
	case u.runs != nil && p.a.window.on && p.a.window.c%2 == 0:
		c.mr, c.runs, packA = mostRunRows, p.a.window.runsOfTile(c.kc), readBF16
	}
	tries := 1
	if workers > 1 && p.m*p.n*p.k > smallCutBF16 {
		tries = 8
	}
	rows := rowsBF16
	if p.turned {
		rows = min(rows, turnedRowsBF16)
	}
	least := math.MaxInt
	for i := range tries {
		try := c
		try.mc = roundUp(ceilDiv(p.m, ceilDiv(p.m, rows)+i), c.mr)
		try.mParts = ceilDiv(p.m, try.mc)
		try.share(p, u.nr)
		n := min(p.n, try.panels*u.nr)
		columns := ceilDiv(n, max(u.nr, min(sumsBF16/try.mc, columnsBF16)/u.nr*u.nr))
		for j := range 2 * tries {
			try.nc = roundUp(ceilDiv(n, columns+j), u.nr)
			try.nParts = ceilDiv(n, try.nc)
			packB := packBF16
			if !try.alone {
				packB = ceilDiv(packBF16, try.mParts) + readBF16
			}
			parts := ceilDiv(try.mParts*try.nParts, workers)*8 + 1
			work := ceilDiv(p.n, n) * parts * (try.mc*try.nc + packA*try.mc + packB*try.nc)
			if work < least {
				least, c = work, try
			}
		}
	}
	c.streams = u.stream != nil && p.to.streams() && c.deep == c.blocks
	c.layoutBF16 = p.a.layout(c.mc, c.kc)
	return c
}

// share decides what is packed of B at a time.
func (c *cutBF16) share(p *productBF16, nr int) {
	c.alone = c.mParts == 1
	c.panels, c.deep, c.chunks = ceilDiv(p.n, nr), c.blocks, 1
	if c.alone {
		return
	}
	divided, size := &c.panels, nr*c.kc*c.blocks
	if p.to.isWhole && size*min(c.panels, columnsBF16/nr) > chunkBF16 {
		divided, size = &c.deep, c.panels*nr*c.kc
	}
	all := *divided
	*divided = ceilDiv(all, ceilDiv(all, max(1, chunkBF16/size)))
	c.chunks = ceilDiv(all, *divided)
}

// A gemmBF16Task is one stage of a product.
type gemmBF16Task struct {
	productBF16
	cutBF16
	stage
	u       *microBF16
	packed  [2][]uint16
	scratch []float32
}

var gemmBF16Tasks freeList[gemmBF16Task]

// task is the task of p.
func (u *microBF16) task(p *productBF16, workers int) *gemmBF16Task {
	t := gemmBF16Tasks.get()
	t.productBF16, t.u = *p, u
	if u.turns(p) {
		t.productBF16 = p.turn()
	}
	t.cutBF16 = u.cut(&t.productBF16, workers)
	return t
}

// The memory of all workers and of each, in values of float32.

func (t *gemmBF16Task) packedChunk() int {
	if t.alone {
		return 0
	}
	return roundUp(t.panels*t.panel()/2, 16)
}

// panel returns how many values a packed panel of B has in a chunk.
func (t *gemmBF16Task) panel() int { return t.deep * t.kc * t.u.nr }

func (t *gemmBF16Task) packedA() int {
	switch {
	case t.runs > 0: // where the windows are
		return roundUp(t.mc/t.mr*t.runs*runSize, 16)
	case t.a.matrix.Transposed:
		return roundUp(t.mc*t.kc/2, 16)
	case t.direct: // the rows behind the last whole tile
		return roundUp(t.mr*t.rs/2, 16)
	}
	return roundUp(t.mc*t.rs/2, 16)
}

// sums returns the size of a part's sums: of one tile, if a chunk has one block, or of a column of
// tiles, if these are transposed.
func (t *gemmBF16Task) sums() int {
	switch {
	case t.deep > 1:
		return roundUp(t.mc*t.nc, 16)
	case t.turned:
		return roundUp(t.mc*t.u.nr, 16)
	}
	return roundUp(t.mr*t.u.nr, 16)
}

// piece returns the size of the memory in which a piece of a column of tiles is transposed.
func (t *gemmBF16Task) piece() int {
	if t.turned {
		return roundUp(t.u.nr*t.u.nr, 16)
	}
	return 0
}

// collected returns the size of the memory for rows of B that are collected before they are packed.
func (t *gemmBF16Task) collected() int {
	if t.b.window.on || t.b.flip.on {
		return t.packedB()
	}
	return 0
}

// packedB returns the size of a block of a panel.
func (t *gemmBF16Task) packedB() int { return roundUp(t.kc*t.u.nr/2, 16) }

func (t *gemmBF16Task) perWorker() int {
	part := t.packedA() + t.sums() + t.piece()
	if t.alone {
		return part + t.packedB() + t.collected()
	}
	return max(part, t.collected())
}

// workspace returns how many values of workspace multiply needs.
func (u *microBF16) workspace(pool *Pool, p *productBF16) int {
	if p.m == 0 || p.n == 0 || p.k == 0 {
		return 0
	}
	workers := pool.Workers()
	t := u.task(p, workers)
	size := min(2, t.chunks)*t.packedChunk() + workers*t.perWorker() + 16
	gemmBF16Tasks.put(t)
	return size
}

// multiply computes p. ws has u.workspace(pool, p) values.
func (u *microBF16) multiply(pool *Pool, p *productBF16, ws []float32) {
	if p.m == 0 || p.n == 0 {
		return
	}
	if p.k == 0 {
		p.to.nothing(p.m, p.n)
		return
	}
	t := u.task(p, pool.Workers())
	ws = aligned(ws)
	for i := range min(2, t.chunks) {
		t.packed[i], ws = halves(ws[:t.packedChunk()]), ws[t.packedChunk():]
	}
	t.scratch = ws
	t.now = -1
	if t.alone {
		t.now = 0
	}
	for ; t.now < t.chunks; t.now++ {
		t.packing = 0
		if t.now+1 < t.chunks {
			t.packing = t.panels * t.deep
		}
		t.parts = t.packing
		if t.now >= 0 {
			t.parts += t.mParts * t.nParts
		}
		if p.m*p.n*p.k > smallProduct {
			pool.Parallel(t.parts, t)
			continue
		}
		for part := range t.parts {
			t.Do(0, part)
		}
	}
	gemmBF16Tasks.put(t)
}

// nothing stores the product with k = 0.
func (r *resultBF16) nothing(m, n int) {
	for i := range m {
		for j := range n {
			var v float32
			if r.bias != nil {
				v += r.bias[j]
			}
			if !r.isWhole {
				r.half[r.at(i)+j] = ToBF16(v)
			} else {
				r.whole[r.at(i)+j] = v
			}
		}
	}
}

// halves is memory of float32 values as twice as many bfloat16 values.
func halves(x []float32) []uint16 {
	return unsafe.Slice((*uint16)(unsafe.Pointer(unsafe.SliceData(x))), 2*len(x))
}

func (t *gemmBF16Task) Do(worker, part int) {
	scratch := t.scratch[worker*t.perWorker():][:t.perWorker()]
	n, packs := t.stage.part(part)
	if packs {
		t.packBlock(scratch, n/t.deep, n%t.deep)
		return
	}
	t.compute(scratch, n)
}

// chunk returns the first column and the first block of a chunk.
func (t *gemmBF16Task) chunk(n int) (column, block int) {
	if t.deep < t.blocks {
		return 0, n * t.deep
	}
	return n * t.panels * t.u.nr, 0
}

// packBlock packs a block of a panel of the next chunk.
func (t *gemmBF16Task) packBlock(scratch []float32, panel, block int) {
	column, first := t.chunk(t.now + 1)
	j0 := column + panel*t.u.nr
	k0, k1 := span(first+block, t.kc, t.k)
	if j0 < t.n && k0 < t.k {
		dst := t.packed[(t.now+1)&1][panel*t.panel()+block*t.kc*t.u.nr:]
		t.b.packPanel(dst, halves(scratch), t.u, j0, min(j0+t.u.nr, t.n), k0, k1)
	}
}

// compute computes a part of C.
func (t *gemmBF16Task) compute(scratch []float32, part int) {
	column, first := t.chunk(t.now)
	var c partOfC
	c.i0, c.i1 = span(part/t.nParts, t.mc, t.m)
	c.j0, c.j1 = span(part%t.nParts, t.nc, min(t.panels*t.u.nr, t.n-column))
	c.j0, c.j1 = c.j0+column, c.j1+column
	a, rest := cutOff(scratch, t.packedA())
	sums, rest := cutOff(rest, t.sums())
	piece, rest := cutOff(rest, t.piece())
	var own, collected []uint16
	if t.alone {
		own, collected = halves(rest[:t.packedB()]), halves(rest[t.packedB():])
	}
	for block := first; block < min(first+t.deep, t.blocks); block++ {
		k0, k1 := span(block, t.kc, t.k)
		l := t.left(a, &c, k0, k1)
		for j := c.j0; j < c.j1; j += t.u.nr {
			b := own
			if t.alone {
				t.b.packPanel(own, collected, t.u, j, min(j+t.u.nr, c.j1), k0, k1)
			} else {
				panel := (j - column) / t.u.nr * t.panel()
				b = t.packed[t.now&1][panel+(block-first)*t.kc*t.u.nr:]
			}
			s := sums
			if t.deep > 1 {
				s = sums[(j-c.j0)*t.mc:]
			}
			t.column(&l, &b[0], s, &c, j, block)
			if t.turned && block == t.blocks-1 {
				t.storeTurned(s, piece, &c, j)
			}
		}
	}
}

// column computes the rows of c for one panel of B, which begins at column j.
func (t *gemmBF16Task) column(l *leftBF16, b *uint16, sums []float32, c *partOfC, j, block int) {
	u := t.u
	k0, k1 := span(block, t.kc, t.k)
	resumed := block > 0 && block%t.deep == 0 // sums are in C
	done := block == t.blocks-1 || (block+1)%t.deep == 0
	for i, n := c.i0, 0; i < c.i1; i, n = i+t.mr, n+1 {
		tile := sums
		if t.deep > 1 || t.turned {
			tile = sums[(i-c.i0)*u.nr:]
		}
		i1, j1 := min(i+t.mr, c.i1), min(j+u.nr, c.j1)
		if resumed {
			t.resume(tile, i, i1, j, j1)
		}
		if t.runs > 0 {
			runs, zeros := &l.runs[n*t.runs].n, &halves(outsideImage[:])[0]
			u.runs(unsafe.SliceData(t.a.matrix.Data), b, &tile[0], zeros, runs, block > 0)
		} else {
			row, rs := l.panel(i, n)
			u.tile(row, b, &tile[0], (k1-k0+1)/2, 2*rs, 2*l.ks, block > 0)
		}
		if done && !t.turned {
			t.store(tile, i, i1, j, j1, block == t.blocks-1)
		}
	}
}

// storeTurned stores a column of tiles of a turned product. It transposes pieces of them, as pairs
// of bfloat16 values are transposed, into tiles of C. The last piece overlaps the one before.
func (t *gemmBF16Task) storeTurned(sums, tile []float32, c *partOfC, j int) {
	nr, j1 := t.u.nr, min(j+t.u.nr, c.j1)
	for i := c.i0; i < c.i1; i += nr {
		i := max(c.i0, min(i, c.i1-nr))
		i1 := min(i+nr, c.i1)
		t.u.pairColumns(halves(tile), halves(sums[(i-c.i0)*nr:]), 2*nr, nr, i1-i, 2*(j1-j))
		t.store(tile, j, j1, i, i1, true)
	}
}

// A leftBF16 is where the panels of a block of A are, or the runs of its windows.
type leftBF16 struct {
	data         []uint16
	step, rs, ks int // from a panel to the next, and within
	edge         []uint16
	edgeRS       int
	whole        int // rows of whole panels; behind them edge has those that are left
	runs         []run
}

// left packs the block of A of a part, or what has to be packed of it, or writes its runs.
func (t *gemmBF16Task) left(ws []float32, c *partOfC, k0, k1 int) (l leftBF16) {
	if t.runs > 0 {
		l.runs = runsIn(ws, t.mc/t.mr*t.runs)
		for i := c.i0; i < c.i1; i += t.mr {
			of := l.runs[(i-c.i0)/t.mr*t.runs:][:t.runs]
			t.a.window.tileRuns(of, i, min(i+t.mr, c.i1), k0, k1, t.u.nr)
		}
		return l
	}
	l.data, l.step, l.rs, l.ks, l.whole = halves(ws), t.mr*t.rs, t.rs, t.ks, c.i1
	from := c.i0
	if t.direct {
		m := &t.a.matrix
		l.edge, l.edgeRS = l.data, t.rs
		l.data, l.step, l.rs = m.Data[c.i0*m.Stride+k0:], t.mr*m.Stride, m.Stride
		l.whole = c.i1 - (c.i1-c.i0)%t.mr
		from = l.whole
	}
	t.a.packRows(halves(ws), t.layoutBF16, t.u, from, c.i1, k0, k1)
	return l
}

// panel returns where the panel of rows i and on begins, whose number is n, and how far its rows
// are apart.
func (l *leftBF16) panel(i, n int) (at *uint16, rs int) {
	if i < l.whole {
		return &l.data[n*l.step], l.rs
	}
	return &l.edge[0], l.edgeRS
}

// resume loads the sums of a tile from C.
func (t *gemmBF16Task) resume(tile []float32, i0, i1, j0, j1 int) {
	for i := i0; i < i1; i++ {
		copy(tile[(i-i0)*t.u.nr:][:j1-j0], t.to.whole[t.to.at(i)+j0:])
	}
}

// zeros are the bias where there is none, and minusZeros what is added to sums that are not the
// last: it leaves the sign of zero too.
var zeros, minusZeros = [32]float32{}, func() (x [32]float32) {
	for i := range x {
		x[i] = float32(math.Copysign(0, -1))
	}
	return x
}()

// store stores a tile of C, with the bias if it has its last sums.
func (t *gemmBF16Task) store(tile []float32, i0, i1, j0, j1 int, last bool) {
	u, to := t.u, &t.to
	bias := zeros[:u.nr]
	switch {
	case !last:
		bias = minusZeros[:u.nr]
	case to.bias != nil:
		bias = to.bias[j0:j1]
	}
	if j1-j0 == u.nr && !to.rows.on {
		at := to.at(i0) + j0
		if !to.isWhole {
			_ = to.half[to.at(i1-1)+j1-1]
			u.store(&to.half[at], &tile[0], &bias[0], 2*to.ld, i1-i0)
		} else {
			_ = to.whole[to.at(i1-1)+j1-1]
			store := u.storeWhole
			if t.streams {
				store = u.stream
			}
			store(&to.whole[at], &tile[0], &bias[0], 4*to.ld, i1-i0)
		}
		return
	}
	for i := i0; i < i1; i++ {
		row := tile[(i-i0)*u.nr:][:j1-j0]
		at := to.at(i) + j0
		for j, b := range bias[:len(row)] {
			row[j] += b
		}
		if !to.isWhole {
			conversion.to(to.half[at:][:j1-j0], row)
		} else {
			copy(to.whole[at:], row)
		}
	}
}
