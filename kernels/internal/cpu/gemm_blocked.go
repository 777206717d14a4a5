package cpu

import "unsafe"

// blockK is how many steps of K one pass takes. A panel of B of that depth has 16 or 32 KiB and
// stays in the L1 cache.
const blockK = 256

// blockM is about how many rows of A a part packs. They are whole tiles. With blockK they have
// about 100 KiB and stay in the L2 cache.
const blockM = 96

// aloneM is the most rows of C for which parts pack B for themselves.
const aloneM = 256

// smallProduct is the number of multiply-adds up to which a product is not divided among workers.
const smallProduct = 1 << 15

// A microKernel is the innermost kernel of one instruction set, with what it needs to pack its
// operands.
type microKernel struct {
	name   string
	mr, nr int // rows and columns of the tile of C that it computes
	// tile is, for i < mr and j < nr,
	//
	//	s := Σ_{p<k} a[i*rs+p*ks] · b[p*nr+j]     one multiply-add after another, p ascending
	//	if add { s += c[i*ldc+j] }
	//	if bias != nil { s += bias[j] }
	//	c[i*ldc+j] = s
	tile func(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)
	// half is tile for the first nr/2 columns alone. It is nil where there is none.
	half func(a, b, c, bias *float32, k, rs, ks, ldc int, add bool)
	// copyMR is dst[p*mr+i] = src[p*stride+i] for p < k and i < mr. copyNR is the same with nr.
	copyMR, copyNR func(dst, src *float32, stride, k int)
	// packTransposed is dst[p*width+j] = src[j*stride+p] for p < k and j < n, and 0 for j from n to
	// width.
	packTransposed func(dst, src []float32, stride, width, n, k int)
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
}

// A cut says how a product is divided. It decides how fast the result comes, and nothing else.
//
// K is taken in blocks. For each block of K, the block of B is packed into panels of nr columns,
// which all workers share. Each part of C packs its rows of A into panels of mr rows. If C has few
// rows, a part takes some columns through all of K instead, and packs what it needs of B itself.
type cut struct {
	kc, blocks     int // depth and number of K's blocks
	mc, nc         int // rows and columns of C in a part
	mParts, nParts int
	alone          bool // whether parts pack B for themselves
	panels         int  // of B
	packPanels     int  // of B, packed by one part
	packParts      int
	layout         // of a panel of A
}

// A layout is where the elements of a packed panel of A are. Element (i,p) is at i*rs + p*ks. size
// is the number of values in all.
type layout struct{ rs, ks, size int }

// cut divides p for a number of workers.
func (u *microKernel) cut(p *product, workers int) cut {
	var c cut
	c.blocks = ceilDiv(p.k, blockK)
	c.kc = ceilDiv(p.k, c.blocks)
	c.layout = p.a.layout(u.mr, c.kc)
	c.mc, c.nc = roundUp(min(blockM, p.m), u.mr), roundUp(p.n, u.nr)
	if c.alone = p.m <= aloneM; c.alone {
		c.mc = roundUp(p.m, u.mr)
	}
	wanted := 1
	if workers > 1 {
		wanted = 4 * workers
	}
	parts := func() int { return ceilDiv(p.m, c.mc) * ceilDiv(p.n, c.nc) }
	large := func() bool { return c.mc*c.nc*c.kc >= 2*smallProduct }
	for parts() < wanted && c.nc > 4*u.nr && large() {
		c.nc = roundUp(c.nc/2, u.nr)
	}
	for parts() < wanted && c.mc > 2*u.mr && large() && !c.alone {
		c.mc = roundUp(c.mc/2, u.mr)
	}
	c.mParts, c.nParts = ceilDiv(p.m, c.mc), ceilDiv(p.n, c.nc)
	c.panels = ceilDiv(p.n, u.nr)
	c.packPanels = max(1, 1<<13/(u.nr*c.kc))
	c.packParts = ceilDiv(c.panels, c.packPanels)
	return c
}

// shared returns the size of a packed block of B, which all workers share.
func (c *cut) shared(u *microKernel) int {
	if c.alone {
		return 0
	}
	return roundUp(c.panels*u.nr*c.kc, 16)
}

// packedA returns the size of a worker's packed block of A.
func (c *cut) packedA(u *microKernel) int { return roundUp(c.mc/u.mr*c.size, 16) }

// packedB returns the size of a worker's packed panel of B.
func (c *cut) packedB(u *microKernel) int {
	if !c.alone {
		return 0
	}
	return roundUp(u.nr*c.kc, 16)
}

// perWorker returns the size of a worker's memory: a block of A, a panel of B and a tile of C.
func (c *cut) perWorker(u *microKernel) int {
	return c.packedA(u) + c.packedB(u) + roundUp(u.mr*u.nr, 16)
}

// workspace returns how many values of workspace multiply needs.
func (u *microKernel) workspace(pool *Pool, p *product) int {
	if p.m == 0 || p.n == 0 || p.k == 0 {
		return 0
	}
	workers := pool.Workers()
	c := u.cut(p, workers)
	return 2*c.shared(u) + workers*c.perWorker(u) + 16
}

// A gemmTask is one stage of a product. A stage computes the tiles of block now, and packs block
// now+1 of B.
type gemmTask struct {
	product
	cut
	u       *microKernel
	now     int
	packing int // parts of this stage that pack; they come first
	packed  [2][]float32
	scratch []float32
}

var gemmTasks freeList[gemmTask]

// multiply computes p. ws has u.workspace(pool, p) values.
func (u *microKernel) multiply(pool *Pool, p *product, ws []float32) {
	if p.m == 0 || p.n == 0 {
		return
	}
	if p.k == 0 {
		p.nothing()
		return
	}
	t := gemmTasks.get()
	t.product, t.cut, t.u = *p, u.cut(p, pool.Workers()), u
	ws = aligned(ws)
	size := t.shared(u)
	t.packed[0], t.packed[1], t.scratch = ws[:size], ws[size:2*size], ws[2*size:]
	if t.alone {
		t.run(pool, t.nParts)
		gemmTasks.put(t)
		return
	}
	for t.now = -1; t.now < t.blocks; t.now++ {
		t.packing = 0
		if t.now+1 < t.blocks {
			t.packing = t.packParts
		}
		parts := t.packing
		if t.now >= 0 {
			parts += t.mParts * t.nParts
		}
		t.run(pool, parts)
	}
	gemmTasks.put(t)
}

// run does the parts of a stage: alone if the product is small.
func (t *gemmTask) run(pool *Pool, parts int) {
	if t.m*t.n*t.kc > smallProduct {
		pool.Parallel(parts, t)
		return
	}
	for i := range parts {
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
	if t.alone {
		for block := range t.blocks {
			t.tiles(worker, block, 0, part)
		}
		return
	}
	if part < t.packing {
		lo, hi := span(part, t.packPanels, t.panels)
		for panel := lo; panel < hi; panel++ {
			t.packB(t.packed[(t.now+1)&1][panel*t.u.nr*t.kc:], t.now+1, panel*t.u.nr)
		}
		return
	}
	part -= t.packing
	t.tiles(worker, t.now, part/t.nParts, part%t.nParts)
}

// packedSize returns how many values packWhole writes.
func (u *microKernel) packedSize(p *product) int {
	c := u.cut(p, 1)
	return c.blocks * c.panels * u.nr * c.kc
}

// packWhole packs all of B to dst. It returns the right factor for several products with this B, of
// any A of few rows.
func (u *microKernel) packWhole(p *product, dst []float32) rhs {
	t := gemmTasks.get()
	t.product, t.cut, t.u = *p, u.cut(p, 1), u
	for block := range t.blocks {
		for panel := range t.panels {
			t.packB(dst[(block*t.panels+panel)*u.nr*t.kc:], block, panel*u.nr)
		}
	}
	gemmTasks.put(t)
	return rhs{packed: dst}
}

// packB packs the panel of a block that begins at column j.
func (t *gemmTask) packB(dst []float32, block, j int) {
	k0, k1 := span(block, t.kc, t.k)
	t.b.pack(dst[:t.u.nr*(k1-k0)], t.u, j, min(j+t.u.nr, t.n), k0, k1)
}

// tiles computes a part of C for a block of K.
func (t *gemmTask) tiles(worker, block, mPart, nPart int) {
	i0, i1 := span(mPart, t.mc, t.m)
	j0, j1 := span(nPart, t.nc, t.n)
	k0, k1 := span(block, t.kc, t.k)
	scratch := t.scratch[worker*t.perWorker(t.u):][:t.perWorker(t.u)]
	a, scratch := scratch[:t.packedA(t.u)], scratch[t.packedA(t.u):]
	panel, tmp := scratch[:t.packedB(t.u)], scratch[t.packedB(t.u):]
	t.a.pack(a, t.layout, t.u, i0, i1, k0, k1)
	for j := j0; j < j1; j += t.u.nr {
		b := panel
		switch {
		case t.b.packed != nil:
			b = t.b.packed[(block*t.panels*t.u.nr+j)*t.kc:]
		case t.alone:
			t.packB(panel, block, j)
		default:
			b = t.packed[block&1][j*t.kc:]
		}
		t.column(a, b, tmp, i0, i1, j, k1-k0, block)
	}
}

// column computes rows [i0,i1) of C for one panel of B, which begins at column j.
func (t *gemmTask) column(a, b, tmp []float32, i0, i1, j, k, block int) {
	u := t.u
	add := t.accumulate || block > 0
	var bias *float32
	if t.bias != nil && block == 0 {
		bias = &t.bias[j]
	}
	tile, width := u.tile, u.nr
	if u.half != nil && t.n-j <= u.nr/2 {
		tile, width = u.half, u.nr/2
	}
	for i := i0; i < i1; i += u.mr {
		a := &a[(i-i0)/u.mr*t.size]
		if i+u.mr > t.m || j+width > t.n || t.rows.on {
			tile(a, &b[0], &tmp[0], nil, k, t.rs, t.ks, u.nr, false)
			t.merge(tmp, i, min(i+u.mr, t.m), j, min(j+width, t.n), bias != nil, add)
			continue
		}
		tile(a, &b[0], &t.c[i*t.ldc+j], bias, k, t.rs, t.ks, t.ldc, add)
	}
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
