package cpu

import (
	"slices"
	"unsafe"
)

// A run is some steps of K that a tile takes where its factors lie in memory: n of them, of equal
// distance in both.
type run struct {
	n    int              // 0 behind the last run
	b    int              // where B's first row begins
	rows [mostRunRows]int // where the first of each row of A is, -1 if the row is zero
}

// mostRunRows is the most rows that a tile made of runs has.
const mostRunRows = 8

// runSize is how many float32 values a run takes.
const runSize = int(unsafe.Sizeof(run{}) / 4)

// A runsFunc computes a tile of C. With as many rows and columns as it has, it is
//
//	s := 0
//	for each run, up to the first with n = 0 {
//		s += Σ_{p<n} A(i,p) · b[run.b+p*bs+j]     one multiply-add after another, p ascending
//	}
//	if add { s += c[i*ldc+j] }
//	if bias != nil { s += bias[j] }
//	c[i*ldc+j] = s
//
// Here A(i,p) = a[run.rows[i]+p*ks], or zeros[p*ks] if run.rows[i] is negative. runs points to the
// first run. Meanwhile it fetches memory: at each step a line, move bytes behind that of the step
// before, the first one at fetch.
type runsFunc func(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, fetch *float32, move int,
)

// outsideImage is what lies outside of an image, for as many steps as a run has at most.
var outsideImage [max(blockK, depthBF16/2)]float32

// runsIn returns n runs in a workspace.
func runsIn(ws []float32, n int) []run {
	return unsafe.Slice((*run)(unsafe.Pointer(&ws[:n*runSize][0])), n)
}

// runsOfTile is how many runs tileRuns writes at most for so many columns, the end among them.
func (g *grid) runsOfTile(columns int) int {
	return min((columns-1)/g.c+2, g.rows*g.cols) + 1
}

// tileRuns writes the runs of columns [k0,k1) of the windows of positions [i0,i1), of which there
// are at most mostRunRows. Rows behind them are like the last one. B is a packed panel of nr
// columns. Rows of pixels that are above or below the image for all positions are left out.
func (g *grid) tileRuns(dst []run, i0, i1, k0, k1, nr int) {
	var at, y, x [mostRunRows]int // where windows begin
	n, i, j := g.split(i0)
	for r := range at {
		y[r], x[r] = i*g.step+g.y, j*g.step+g.x
		at[r] = ((n*g.h+y[r])*g.w + x[r]) * g.c
		if i0++; i0 >= i1 {
			continue
		}
		if j++; j == g.gw {
			j = 0
			if i++; i == g.gh {
				n, i = n+1, 0
			}
		}
	}
	top, bottom := slices.Min(y[:]), slices.Max(y[:])
	// Columns [first,end) of the pixels of a window are in the image for all positions, if the row
	// is.
	first, end := -slices.Min(x[:]), g.w-slices.Max(x[:])
	line := g.cols * g.c
	row, from := k0/line, k0%line
	next := 0
	for k := k0; k < k1; {
		column := from / g.c
		until, inside := column+1, column >= first && column < end
		if inside {
			until = min(g.cols, end)
		}
		to := &dst[next]
		to.n, to.b = min(until*g.c-from, k1-k), (k-k0)*nr
		skip := row*g.w*g.c + from
		switch {
		case bottom+row < 0 || top+row >= g.h:
			next--
		case inside && top+row >= 0 && bottom+row < g.h:
			for r := range at {
				to.rows[r] = at[r] + skip
			}
		default:
			for r := range at {
				to.rows[r] = at[r] + skip
				if v, h := y[r]+row, x[r]+column; v < 0 || v >= g.h || h < 0 || h >= g.w {
					to.rows[r] = -1
				}
			}
		}
		next++
		k += to.n
		if from += to.n; from == line {
			row, from = row+1, 0
		}
	}
	dst[next].n = 0
}

// runRows is how many rows a tile made of runs has.
func (u *microKernel) runRows() int { return 2 * len(u.runs) }

// runColumns is what the columns of tiles made of runs come in multiples of.
func (u *microKernel) runColumns() int {
	if u.runs[0][1] == nil {
		return u.nr
	}
	return u.nr / 2
}

// fitRuns returns the tile made of runs for the first of so many rows and columns, and how many it
// has.
func (u *microKernel) fitRuns(rows, columns int) (tile runsFunc, r, width int) {
	n := min((rows+1)/2, len(u.runs))
	if columns <= u.runColumns() && u.runColumns() < u.nr {
		return u.runs[n-1][1], 2 * n, u.nr / 2
	}
	return u.runs[n-1][0], 2 * n, u.nr
}

// windows computes a part of C, for a block of K, where rows of A are windows. The part is computed
// for blocks up to end.
func (t *gemmTask) windows(a, packed, tmp []float32, c *partOfC, block, end int) {
	k0, k1 := span(block, t.kc, t.k)
	runs := runsIn(a, t.mc/t.mr*t.runs)
	for i := c.i0; i < c.i1; i += t.mr {
		of := runs[(i-c.i0)/t.mr*t.runs:][:t.runs]
		t.a.window.tileRuns(of, i, min(i+t.mr, c.i1), k0, k1, t.u.nr)
	}
	for j := c.j0; j < c.j1; j += t.u.nr {
		b := t.panelOf(packed, t.now, block, j/t.u.nr)
		next := b
		if j+t.u.nr < c.j1 {
			next = b[t.u.nr*t.kc:]
		} else if block+1 < end {
			next = t.panelOf(packed, t.now, block+1, c.j0/t.u.nr)
		}
		t.windowColumn(runs, b, next, tmp, c, j, k1-k0, block)
	}
}

// windowColumn is column for rows of A that are windows. Each tile fetches its share of next, the
// panel of B that is read next.
func (t *gemmTask) windowColumn(
	runs []run, b, next, tmp []float32, c *partOfC, j, k, block int,
) {
	u, add := t.u, t.accumulate || block > 0
	var bias *float32
	if t.bias != nil && block == 0 {
		bias = &t.bias[j]
	}
	a, zeros := unsafe.SliceData(t.a.matrix.Data), &outsideImage[0]
	move := ceilDiv(4*u.nr, ceilDiv(c.i1-c.i0, t.mr)) // bytes, at a step
	for i := c.i0; i < c.i1; i += t.mr {
		tile, rows, width := u.fitRuns(c.i1-i, t.n-j)
		n := (i - c.i0) / t.mr
		first, fetch := &runs[n*t.runs].n, &next[min(n*k*move/4, len(next)-1)]
		if i+rows > t.m || j+width > t.n || t.rows.on {
			tile(a, &b[0], &tmp[0], nil, zeros, first, 1, u.nr, u.nr, false, fetch, move)
			t.merge(tmp, i, min(i+t.mr, t.m), j, min(j+width, t.n), bias != nil, add)
			continue
		}
		tile(a, &b[0], &t.c[i*t.ldc+j], bias, zeros, first, 1, u.nr, t.ldc, add, fetch, move)
	}
}
