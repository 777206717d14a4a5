package cpu

// A factorBF16 is where a factor of a product comes from. It is one of three: a matrix; windows,
// where row i is the window of position i; or, with flip, the weights of a convolution as its
// gradient reads them.
type factorBF16 struct {
	matrix MatrixBF16
	window grid
	flip   flip
}

// layout says how a panel of mr rows of a left factor is packed: row after row, or, if it is
// transposed, pair of columns after pair of columns.
func (f *factorBF16) layout(mr, kc int) layout {
	if f.matrix.Transposed {
		return layout{rs: 2, ks: 2 * mr, size: mr * kc}
	}
	rs := kc + 32 // keeps rows out of one another's cache sets
	return layout{rs: rs, ks: 2, size: mr * rs}
}

// packRowsBF16 is how many rows of a transposed factor are packed at a time, an even number. So
// what is read lies together.
const packRowsBF16 = 32

// packRows packs rows [i0,i1) and columns [k0,k1) of a left factor into panels of mr rows. Rows
// from i1 on keep their contents. Behind an odd last column are zeros.
func (f *factorBF16) packRows(dst []uint16, l layout, u *microBF16, i0, i1, k0, k1 int) {
	if f.matrix.Transposed {
		for k := k0; k < k1; k += packRowsBF16 {
			end := min(k+packRowsBF16, k1)
			for i := i0; i < i1; i += u.mr {
				d, src := dst[(i-i0)/u.mr*l.size+(k-k0)*u.mr:], f.matrix.Data[k*f.matrix.Stride+i:]
				u.interleave(d, src, f.matrix.Stride, u.mr, min(u.mr, i1-i), end-k)
			}
		}
		return
	}
	var n, y, x int
	if f.window.on {
		n, y, x = f.window.split(i0)
	}
	for i := i0; i < i1; i++ {
		row := dst[(i-i0)/u.mr*l.size+(i-i0)%u.mr*l.rs:][:roundUp(k1-k0, 2)]
		row[len(row)-1] = 0
		row = row[:k1-k0]
		if !f.window.on {
			copy(row, f.matrix.Data[i*f.matrix.Stride+k0:])
			continue
		}
		copyWindow(&f.window, row, f.matrix.Data, n, y, x, k0, k1)
		if x++; x == f.window.gw {
			x = 0
			if y++; y == f.window.gh {
				n, y = n+1, 0
			}
		}
	}
}

// packPanel packs columns [j0,j1) and rows [k0,k1) of a right factor in pairs of rows, as
// dst[(p*nr+j-j0)*2+h] for row k0+2p+h. Columns from j1 on are zero, and so is what follows an odd
// last row. Rows that do not lie in memory at one distance are collected in scratch first.
func (f *factorBF16) packPanel(dst, scratch []uint16, u *microBF16, j0, j1, k0, k1 int) {
	stride := f.matrix.Stride
	switch {
	case f.window.on:
		f.collectWindows(scratch, u, j0, j1, k0, k1)
		u.interleave(dst, scratch, u.nr, u.nr, j1-j0, k1-k0)
	case f.flip.on:
		f.collectFlipped(scratch, u, j0, j1, k0, k1)
		u.interleave(dst, scratch, u.nr, u.nr, j1-j0, k1-k0)
	case f.matrix.Transposed:
		u.pairColumns(dst, f.matrix.Data[j0*stride+k0:], stride, u.nr, j1-j0, k1-k0)
	default:
		u.interleave(dst, f.matrix.Data[k0*stride+j0:], stride, u.nr, j1-j0, k1-k0)
	}
}

// collectFlipped copies the rows of weights, those of one tap together: they are equally far apart.
func (f *factorBF16) collectFlipped(dst []uint16, u *microBF16, j0, j1, k0, k1 int) {
	g := &f.flip
	for k0 < k1 {
		end := min(k1, (k0/g.o+1)*g.o)
		u.copyRows(dst, f.matrix.Data[g.at(k0)+j0:], g.kh*g.kw*g.c, u.nr, j1-j0, end-k0)
		dst, k0 = dst[(end-k0)*u.nr:], end
	}
}

// collectWindows copies windows, a run of positions at a time.
func (f *factorBF16) collectWindows(dst []uint16, u *microBF16, j0, j1, k0, k1 int) {
	g := &f.window
	g.runs(j0, j1, k0, k1, func(r windowRun) {
		d := dst[r.before*u.nr:][:r.n*u.nr]
		switch r.kind {
		case outside:
			clear(d)
		case together:
			u.copyRows(d, f.matrix.Data[r.at:], g.step*g.c, u.nr, j1-j0, r.n)
		case scattered:
			copyWindow(g, d[:j1-j0], f.matrix.Data, r.image, r.y, r.x, j0, j1)
		}
	})
}
