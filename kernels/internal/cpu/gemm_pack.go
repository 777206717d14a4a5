package cpu

// A grid is a set of positions (n,i,j) in images [N,H,W,C], numbered row by row. Position (i,j) is
// at the pixel (i*step+y, j*step+x). It stands for that pixel, or for the window of rows×cols
// pixels that begins there. Pixels of a window may lie outside the image.
type grid struct {
	on         bool
	gh, gw     int // positions in an image, down and across
	h, w, c    int // the image
	step, y, x int
	rows, cols int
}

// split returns the image number, row and column of position p.
func (g *grid) split(p int) (n, i, j int) {
	n, p = p/(g.gh*g.gw), p%(g.gh*g.gw)
	return n, p / g.gw, p % g.gw
}

// at returns where the pixel of position p begins in memory.
func (g *grid) at(p int) int {
	n, i, j := g.split(p)
	return ((n*g.h+i*g.step+g.y)*g.w + j*g.step + g.x) * g.c
}

// copyWindow copies values [k0,k1) of the window [rows,cols,c] of position (n,i,j) to dst. Values
// outside the image are zero.
func copyWindow[T any](g *grid, dst, images []T, n, i, j, k0, k1 int) {
	line := g.cols * g.c // values of a row of the window: they are contiguous in the image
	y, x := i*g.step+g.y, j*g.step+g.x
	left := min(max(-x, 0)*g.c, line)
	right := max(min(g.w-x, g.cols)*g.c, left)
	for r := k0 / line; r*line < k1; r++ {
		lo, hi := max(k0-r*line, 0), min(k1-r*line, line)
		d := dst[r*line+lo-k0 : r*line+hi-k0]
		if y+r < 0 || y+r >= g.h {
			clear(d)
			continue
		}
		a, b := min(max(lo, left), hi), max(min(hi, right), lo)
		if b <= a {
			clear(d)
			continue
		}
		clear(d[:a-lo])
		copy(d[a-lo:b-lo], images[((n*g.h+y+r)*g.w+x)*g.c+a:])
		clear(d[b-lo:])
	}
}

// collectWindows copies values [k0,k1) of the windows of positions [i0,i1).
func collectWindows[T any](g *grid, dst, images []T, i0, i1, k0, k1 int) {
	n, y, x := g.split(i0)
	for i := i0; i < i1; i++ {
		copyWindow(g, dst[(i-i0)*(k1-k0):][:k1-k0], images, n, y, x, k0, k1)
		if x++; x == g.gw {
			x = 0
			if y++; y == g.gh {
				n, y = n+1, 0
			}
		}
	}
}

// A windowRun is n positions that follow each other in a row of a grid, of whose windows the same
// columns are packed alike. So many positions are before it.
type windowRun struct {
	before, n   int
	kind        runKind
	at          int // together: where the columns of the first position begin in the images
	image, y, x int // the first position
}

type runKind uint8

const (
	outside   runKind = iota // the columns are outside of the image: zero
	together                 // they lie together, those of the next position step pixels on
	scattered                // neither; such a run has one position
)

// runs calls do with the runs of positions [k0,k1) for columns [j0,j1) of their windows. Where the
// columns lie in a single row of the window, the pixels are equally far apart inside of the image.
func (g *grid) runs(j0, j1, k0, k1 int, do func(windowRun)) {
	line := g.cols * g.c
	row := j0 / line
	single := (j1-1)/line == row
	first, last := j0%line/g.c, (j1-1)%line/g.c // columns of the window, if it is a single row
	// For positions [lo,hi) of a row both are inside of the image.
	lo := min(max(ceilDiv(max(-g.x-first, 0), g.step), 0), g.gw)
	hi := min(max(ceilDiv(g.w-g.x-last, g.step), lo), g.gw)
	r := windowRun{}
	r.image, r.y, r.x = g.split(k0)
	for k := k0; k < k1; k += r.n {
		r.before, r.n, r.kind = k-k0, min(k1-k, g.gw-r.x), outside
		y := r.y*g.step + g.y + row
		switch {
		case single && (y < 0 || y >= g.h):
		case single && r.x >= lo && r.x < hi:
			r.n, r.kind = min(r.n, hi-r.x), together
			r.at = ((r.image*g.h+y)*g.w+r.x*g.step+g.x)*g.c + j0%line
		case single && first == last:
			if r.x < lo {
				r.n = min(r.n, lo-r.x)
			}
		default:
			r.n, r.kind = 1, scattered
		}
		do(r)
		if r.x += r.n; r.x == g.gw {
			r.x = 0
			if r.y++; r.y == g.gh {
				r.image, r.y = r.image+1, 0
			}
		}
	}
}

// An lhs is where the left factor A[m,k] comes from. It is one of three: a matrix; windows, where
// row i is the window of position i, which tiles read where it is; or, with flip, the weights of a
// convolution as its gradient reads them, where column k is a row of flip, in transposed memory.
type lhs struct {
	matrix Matrix
	window grid
	flip   flip
}

// layout says how a panel of mr rows is packed: row after row, or, if A is transposed, column after
// column.
func (s *lhs) layout(mr, kc int) layout {
	if s.matrix.Transposed {
		return layout{rs: 1, ks: mr, size: mr * kc}
	}
	rs := kc + 16 // keeps rows out of one another's cache sets
	return layout{rs: rs, ks: 1, size: mr * rs}
}

// direct reports whether tiles read A where it is. Of rows that are a multiple of 4 KiB apart, a
// cache does not hold as many as a tile has, since they are all in the same set. They are packed.
func (s *lhs) direct() bool {
	return !s.window.on && (s.matrix.Transposed || s.matrix.Stride%1024 != 0)
}

// place returns where element (i,k) is, and how its neighbours in a column and in a row are apart.
func (s *lhs) place(i, k int) (at, rs, ks int) {
	m := &s.matrix
	switch {
	case s.flip.on:
		return s.flip.at(k) + i, 1, s.flip.stride()
	case m.Transposed:
		return k*m.Stride + i, 1, m.Stride
	}
	return i*m.Stride + k, m.Stride, 1
}

// pack packs rows [i0,i1) and columns [k0,k1) into panels of mr rows. Rows from i1 on keep their
// contents.
func (s *lhs) pack(dst []float32, l layout, u *microKernel, i0, i1, k0, k1 int) {
	mr := u.mr
	if !s.matrix.Transposed {
		for i := i0; i < i1; i++ {
			row := dst[(i-i0)/mr*l.size+(i-i0)%mr*l.rs:]
			copy(row, s.matrix.Data[i*s.matrix.Stride+k0:][:k1-k0])
		}
		return
	}
	for k := k0; k < k1; k += packRows {
		for i := i0; i < i1; i += mr {
			panel := dst[(i-i0)/mr*l.size+(k-k0)*mr:]
			at, _, stride := s.place(i, k)
			src := s.matrix.Data[at:]
			packColumns(panel, src, stride, mr, min(mr, i1-i), min(packRows, k1-k), u.copyMR)
		}
	}
}

// packColumns is dst[p*width+i] = src[p*stride+i] for p < k and i < n, and 0 for i from n to width.
// full does it for n = width.
func packColumns(
	dst, src []float32, stride, width, n, k int, full func(dst, src *float32, stride, k int),
) {
	if n == width {
		_, _ = dst[k*width-1], src[(k-1)*stride+n-1]
		full(&dst[0], &src[0], stride, k)
		return
	}
	for p := range k {
		d := dst[p*width:][:width]
		clear(d[copy(d, src[p*stride:][:n]):])
	}
}

// An rhs is where the right factor B[k,n] comes from. It is one of three: a matrix; windows, where
// row k is the window of position k, or, if the matrix is transposed, column j that of position j;
// or, with flip, the weights of a convolution as its gradient reads them.
type rhs struct {
	matrix Matrix
	window grid
	flip   flip
}

// A flip says that row k = (r,s,o) of B begins at element ((o*KH + a−step·r)*KW + b−step·s)*C of
// weights [O,KH,KW,C].
type flip struct {
	on         bool
	a, b, step int
	cols       int // s < cols
	o, kh, kw  int
	c          int
}

// stride is how far rows of one tap are apart.
func (f *flip) stride() int { return f.kh * f.kw * f.c }

// depth is how many rows a block takes, so that blocks divide taps. It is 0 if they would have too
// few rows.
func (f *flip) depth() int {
	blocks := max(1, ceilDiv(f.o, blockK))
	if f.o%blocks > 0 || f.o/blocks < leastDepth {
		return 0
	}
	return f.o / blocks
}

// at returns where row k begins.
func (f *flip) at(k int) int {
	rs, o := k/f.o, k%f.o
	return ((o*f.kh+f.a-f.step*(rs/f.cols))*f.kw + f.b - f.step*(rs%f.cols)) * f.c
}

// turn is the left factor of the transposed product, unless B is windows.
func (s *rhs) turn() lhs {
	a := lhs{matrix: s.matrix, flip: s.flip}
	a.matrix.Transposed = !s.matrix.Transposed
	return a
}

// packRows is how many rows of memory are packed at a time, of all panels that one part packs.
const packRows = 32

// rows is how many of so many rows of B are packed at a time, so that what is read lies together: a
// few, if rows of B are rows in memory.
func (s *rhs) rows(kc int) int {
	if s.matrix.Transposed {
		return kc
	}
	return min(packRows, kc)
}

// pack packs columns [j0,j1) and rows [k0,k1) as dst[(p-k0)*nr+j-j0]. Columns from j1 on are zero.
// Columns that are windows are collected in scratch, which has nr*(k1-k0) values.
func (s *rhs) pack(dst []float32, u *microKernel, j0, j1, k0, k1 int, scratch []float32) {
	nr := u.nr
	switch {
	case s.window.on && s.matrix.Transposed:
		collectWindows(&s.window, scratch, s.matrix.Data, j0, j1, k0, k1)
		u.packTransposed(dst, scratch, k1-k0, nr, j1-j0, k1-k0)
	case s.window.on:
		s.packWindows(dst, u, j0, j1, k0, k1)
	case s.flip.on:
		f := &s.flip
		for k0 < k1 { // rows of one tap are equally far apart
			end := min(k1, (k0/f.o+1)*f.o)
			src := s.matrix.Data[f.at(k0)+j0:]
			packColumns(dst, src, f.stride(), nr, j1-j0, end-k0, u.copyNR)
			dst, k0 = dst[(end-k0)*nr:], end
		}
	case s.matrix.Transposed:
		src, stride := s.matrix.Data[j0*s.matrix.Stride+k0:], s.matrix.Stride
		u.packTransposed(dst, src, stride, nr, j1-j0, k1-k0)
	default:
		src, stride := s.matrix.Data[k0*s.matrix.Stride+j0:], s.matrix.Stride
		packColumns(dst, src, stride, nr, j1-j0, k1-k0, u.copyNR)
	}
}

// packTransposed is dst[p*width+j] = src[j*stride+p] for p < k and j < n, and 0 for j from n to
// width.
func (u *microKernel) packTransposed(dst, src []float32, stride, width, n, k int) {
	if n < width {
		clear(dst[:k*width])
	}
	u.transpose(dst, src, width, stride, n, k)
}

// packWindows packs windows, a run of positions at a time.
func (s *rhs) packWindows(dst []float32, u *microKernel, j0, j1, k0, k1 int) {
	g, nr := &s.window, u.nr
	g.runs(j0, j1, k0, k1, func(r windowRun) {
		d := dst[r.before*nr:][:r.n*nr]
		switch r.kind {
		case outside:
			clear(d)
		case together:
			packColumns(d, s.matrix.Data[r.at:], g.step*g.c, nr, j1-j0, r.n, u.copyNR)
		case scattered:
			copyWindow(g, d[:j1-j0], s.matrix.Data, r.image, r.y, r.x, j0, j1)
			clear(d[j1-j0:])
		}
	})
}
