package cpu

// A factorBF16 is where a factor of a product comes from. It is one of three: a matrix; windows,
// where row i is the window of position i, or, if the matrix is transposed, column i is; or, with
// flip, the weights of a convolution as its gradient reads them.
type factorBF16 struct {
	matrix MatrixBF16
	window grid
	flip   flip
}

// A layoutBF16 is where a block of a left factor is: pair p of row i at i*rs + p*ks.
type layoutBF16 struct{ rs, ks int }

// layout says how mc rows of a left factor are packed: row after row, or, if it is transposed, pair
// of columns after pair of columns.
func (f *factorBF16) layout(mc, kc int) layoutBF16 {
	if f.matrix.Transposed {
		return layoutBF16{rs: 2, ks: 2 * mc}
	}
	return layoutBF16{rs: kc + 32, ks: 2} // keeps rows out of one another's cache sets
}

// direct reports whether tiles read a left factor of k columns where it is. Rows that follow each
// other have to lie in several sets of the caches.
func (f *factorBF16) direct(k int) bool {
	return !f.window.on && !f.matrix.Transposed && k%2 == 0 && f.matrix.Stride%2048 != 0
}

// packRows packs rows [i0,i1) and columns [k0,k1) of a left factor. Rows from i1 on keep their
// contents. Behind an odd last column are zeros.
func (f *factorBF16) packRows(dst []uint16, l layoutBF16, u *microBF16, i0, i1, k0, k1 int) {
	if f.matrix.Transposed {
		n, src := i1-i0, f.matrix.Data[k0*f.matrix.Stride+i0:]
		u.interleave(dst, src, f.matrix.Stride, l.ks/2, n, n, k1-k0)
		return
	}
	var n, y, x int
	if f.window.on {
		n, y, x = f.window.split(i0)
	}
	for i := i0; i < i1; i++ {
		row := dst[(i-i0)*l.rs:][:roundUp(k1-k0, 2)]
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
// last row. What does not lie in memory as a matrix does is collected in scratch first, at most nr
// columns and k1-k0 rows.
func (f *factorBF16) packPanel(dst, scratch []uint16, u *microBF16, j0, j1, k0, k1 int) {
	stride := f.matrix.Stride
	switch {
	case f.window.on && f.matrix.Transposed:
		collectWindows(&f.window, scratch, f.matrix.Data, j0, j1, k0, k1)
		u.pairColumns(dst, scratch, k1-k0, u.nr, j1-j0, k1-k0)
	case f.window.on:
		f.packWindows(dst, scratch, u, j0, j1, k0, k1)
	case f.flip.on:
		f.packFlipped(dst, scratch, u, j0, j1, k0, k1)
	case f.matrix.Transposed:
		u.pairColumns(dst, f.matrix.Data[j0*stride+k0:], stride, u.nr, j1-j0, k1-k0)
	default:
		u.interleave(dst, f.matrix.Data[k0*stride+j0:], stride, u.nr, u.nr, j1-j0, k1-k0)
	}
}

// packFlipped packs the rows of weights. Those of one tap are equally far apart.
func (f *factorBF16) packFlipped(dst, scratch []uint16, u *microBF16, j0, j1, k0, k1 int) {
	g := &f.flip
	stride := g.kh * g.kw * g.c
	collected := 0
	for k := k0; k < k1; {
		end := min(k1, (k/g.o+1)*g.o)
		src := f.matrix.Data[g.at(k)+j0:]
		if g.o%2 == 0 {
			u.interleave(dst[(k-k0)*u.nr:], src, stride, u.nr, u.nr, j1-j0, end-k)
		} else {
			u.copyRows(scratch[collected*u.nr:], src, stride, u.nr, j1-j0, end-k)
			collected += end - k
		}
		k = end
	}
	if collected > 0 {
		u.interleave(dst, scratch, u.nr, u.nr, u.nr, j1-j0, k1-k0)
	}
}

// packWindows packs windows, a run of positions at a time. Where a pair of positions is not in one
// run, its first row waits in scratch for the second.
func (f *factorBF16) packWindows(dst, scratch []uint16, u *microBF16, j0, j1, k0, k1 int) {
	g := &f.window
	stride, nr, n := g.step*g.c, u.nr, j1-j0
	row := func(r *windowRun, i, half int) {
		d := scratch[half*nr:][:n]
		switch r.kind {
		case outside:
			clear(d)
		case together:
			copy(d, f.matrix.Data[r.at+i*stride:])
		case scattered:
			copyWindow(g, d, f.matrix.Data, r.image, r.y, r.x, j0, j1)
		}
	}
	g.runs(j0, j1, k0, k1, func(r windowRun) {
		done := 0
		if r.before%2 == 1 {
			row(&r, 0, 1)
			u.interleave(dst[(r.before-1)*nr:], scratch, nr, nr, nr, n, 2)
			done = 1
		}
		if pairs := (r.n - done) / 2; pairs > 0 {
			d := dst[(r.before+done)*nr:][:2*pairs*nr]
			if r.kind == outside {
				clear(d)
			} else {
				u.interleave(d, f.matrix.Data[r.at+done*stride:], stride, nr, nr, n, 2*pairs)
			}
			done += 2 * pairs
		}
		if done < r.n {
			row(&r, done, 0)
			if r.before+r.n == k1-k0 {
				u.interleave(dst[(r.before+done)*nr:], scratch, nr, nr, nr, n, 1)
			}
		}
	})
}
