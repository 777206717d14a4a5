package cpu

import (
	"math"
	"unsafe"
)

// The blocks of a product of bfloat16 values. They decide how fast the result comes, and nothing
// else. A block of A has 512 KiB and lies in the L2 cache with the sums of a part.
const (
	depthBF16   = 512       // of K at most, an even number
	rowsBF16    = 512       // of A, about
	columnsBF16 = 320       // of B at most
	sumsBF16    = 512 * 160 // of C at most

	// packBF16 is how many multiply-adds take as long as to pack a value.
	packBF16 = 10
	// smallCutBF16 is the number of multiply-adds up to which the best cut is not looked for.
	smallCutBF16 = 1 << 22
)

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
	// store is dst[i*ld+j] = ToBF16(src[i*nr+j] + bias[j]) for i < rows and j < nr, where ld is in
	// bytes.
	store func(dst *uint16, src, bias *float32, ld, rows int)
	// interleave is dst[2*(p*width+j)+h] = src[(2p+h)*stride+j] for 2p+h < k and j < n, and 0 for
	// other j < width and h < 2.
	interleave func(dst, src []uint16, stride, width, n, k int)
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
}

// A resultBF16 is where C goes: to whole, or rounded to half.
type resultBF16 struct {
	whole []float32
	half  []uint16
	ld    int
	rows  grid // where C's rows go, if rows.on
	bias  []float32
}

// at returns where row i begins.
func (r *resultBF16) at(i int) int {
	if r.rows.on {
		return r.rows.at(i)
	}
	return i * r.ld
}

// A cutBF16 says how a product is divided. Each part of C goes through all of K. For each block of
// K it packs its rows of A into panels of mr rows, and its columns of B panel by panel.
type cutBF16 struct {
	kc, blocks     int // depth and number of K's blocks
	mc, nc         int // rows and columns of C in a part
	mParts, nParts int
	layout         // of a panel of A
}

// cut divides p for a number of workers: so that the busiest worker has the least to do.
func (u *microBF16) cut(p *productBF16, workers int) cutBF16 {
	var c cutBF16
	c.blocks = ceilDiv(p.k, depthBF16)
	c.kc = roundUp(ceilDiv(p.k, c.blocks), 2)
	c.layout = p.a.layout(u.mr, c.kc)
	tries := 1
	if workers > 1 && p.m*p.n*p.k > smallCutBF16 {
		tries = 8
	}
	least := math.MaxInt
	rows := ceilDiv(p.m, rowsBF16)
	for i := range tries {
		mc := roundUp(ceilDiv(p.m, rows+i), u.mr)
		mParts := ceilDiv(p.m, mc)
		columns := ceilDiv(p.n, max(u.nr, min(sumsBF16/mc, columnsBF16)/u.nr*u.nr))
		for j := range 2 * tries {
			nc := roundUp(ceilDiv(p.n, columns+j), u.nr)
			nParts := ceilDiv(p.n, nc)
			work := (ceilDiv(mParts*nParts, workers)*8 + 1) * (mc*nc + packBF16*(mc+nc))
			if work < least {
				least, c.mc, c.nc, c.mParts, c.nParts = work, mc, nc, mParts, nParts
			}
		}
	}
	return c
}

// The memory of a worker, in values of float32.
func (c *cutBF16) packedA(u *microBF16) int { return roundUp(c.mc/u.mr*c.size/2, 16) }
func (c *cutBF16) packedB(u *microBF16) int { return roundUp(c.kc/2*u.nr, 16) }
func (c *cutBF16) sums() int                { return roundUp(c.mc*c.nc, 16) }

func (c *cutBF16) perWorker(u *microBF16) int {
	return c.packedA(u) + 2*c.packedB(u) + c.sums() + 32
}

// workspace returns how many values of workspace multiply needs.
func (u *microBF16) workspace(pool *Pool, p *productBF16) int {
	if p.m == 0 || p.n == 0 || p.k == 0 {
		return 0
	}
	c := u.cut(p, pool.Workers())
	return pool.Workers()*c.perWorker(u) + 16
}

// A gemmBF16Task is a product that is divided.
type gemmBF16Task struct {
	productBF16
	cutBF16
	u  *microBF16
	ws []float32
}

var gemmBF16Tasks freeList[gemmBF16Task]

// multiply computes p. ws has u.workspace(pool, p) values.
func (u *microBF16) multiply(pool *Pool, p *productBF16, ws []float32) {
	if p.m == 0 || p.n == 0 {
		return
	}
	if p.k == 0 {
		p.to.nothing(p.m, p.n)
		return
	}
	t := gemmBF16Tasks.get()
	t.productBF16, t.cutBF16, t.u, t.ws = *p, u.cut(p, pool.Workers()), u, aligned(ws)
	parts := t.mParts * t.nParts
	if p.m*p.n*p.k > smallProduct {
		pool.Parallel(parts, t)
	} else {
		for part := range parts {
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
			if r.half != nil {
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

// Do computes a part of C.
func (t *gemmBF16Task) Do(worker, part int) {
	u := t.u
	i0, i1 := span(part/t.nParts, t.mc, t.m)
	j0, j1 := span(part%t.nParts, t.nc, t.n)
	ws := t.ws[worker*t.perWorker(u):][:t.perWorker(u)]
	cut := func(n int) []float32 {
		s := ws[:n]
		ws = ws[n:]
		return s
	}
	a, b, rows := halves(cut(t.packedA(u))), halves(cut(t.packedB(u))), halves(cut(t.packedB(u)))
	sums := cut(t.sums())
	for block := range t.blocks {
		k0, k1 := span(block, t.kc, t.k)
		t.a.packRows(a, t.layout, u, i0, i1, k0, k1)
		for j := j0; j < j1; j += u.nr {
			t.b.packPanel(b, rows, u, j, min(j+u.nr, j1), k0, k1)
			s := sums[(j-j0)*t.mc:][:t.mc*u.nr]
			for i := i0; i < i1; i += u.mr {
				tile := s[(i-i0)*u.nr:]
				row := &a[(i-i0)/u.mr*t.size]
				u.tile(row, &b[0], &tile[0], (k1-k0+1)/2, 2*t.rs, 2*t.ks, block > 0)
				if block == t.blocks-1 {
					t.store(tile, ws, i, min(i+u.mr, i1), j, min(j+u.nr, j1))
				}
			}
		}
	}
}

// zeros are the bias where there is none.
var zeros [32]float32

// store stores a tile of C. scratch has 32 values.
func (t *gemmBF16Task) store(tile, scratch []float32, i0, i1, j0, j1 int) {
	u, to := t.u, &t.to
	bias := zeros[:u.nr]
	if to.bias != nil {
		bias = to.bias[j0:j1]
	}
	if to.half != nil && len(bias) == u.nr && j1-j0 == u.nr && !to.rows.on {
		at := to.at(i0) + j0
		_ = to.half[to.at(i1-1)+j1-1]
		u.store(&to.half[at], &tile[0], &bias[0], 2*to.ld, i1-i0)
		return
	}
	for i := i0; i < i1; i++ {
		row := tile[(i-i0)*u.nr:][:j1-j0]
		at := to.at(i) + j0
		if to.bias != nil {
			for j, b := range bias {
				row[j] += b
			}
		}
		if to.half != nil {
			conversion.to(to.half[at:][:j1-j0], row)
		} else {
			copy(to.whole[at:], row)
		}
	}
}
