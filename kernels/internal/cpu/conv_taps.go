package cpu

// A tapGrad is the gradient of a convolution's weights from dy and x as they lie in memory. For
// each tap it is a product over those positions whose pixel is in the image:
//
//	dw[o,tap,k] = Σ dy[position,o] · x[pixel,k]
//
// If it is turned, x is the left factor and dy the right one. Then the result is made in sums,
// transposed, and stored from there.
type tapGrad struct {
	u         *microKernel
	windows   grid // of x
	positions int
	x, dy, dw []float32
	in, out   int
	turned    bool
	sums      []float32 // [taps·in,out]

	kc, blocks                      int // of positions
	rows, columns, taps             int // in a part: whole tiles of mr rows and nr columns
	rowParts, columnParts, tapParts int
	runs                            int       // of a block, for one tap
	scratch                         []float32 // runs of each worker
}

var tapGrads freeList[tapGrad]

// tapGrad is the task of the gradient of c's weights. It returns nil if that is a product to pack:
// channels of the right factor have to fill registers, and those of the left one to be even.
func (u *microKernel) tapGrad(c *Conv, workers int) *tapGrad {
	fits := func(left, right int) bool { return left%2 == 0 && right%u.runColumns() == 0 }
	if c.plain() || !fits(c.Out, c.In) && !fits(c.In, c.Out) {
		return nil
	}
	t := tapGrads.get()
	t.u, t.windows, t.in, t.out = u, c.patches(), c.In, c.Out
	t.turned = !fits(c.Out, c.In)
	g := &t.windows
	t.positions = c.N * g.gh * g.gw
	t.blocks = ceilDiv(t.positions, blockK)
	t.kc = ceilDiv(t.positions, t.blocks)
	t.runs = (t.kc-1)/g.gw + 3
	t.divide(workers)
	return t
}

// divide cuts the result into parts.
func (t *tapGrad) divide(workers int) {
	m, n := t.size()
	mr := t.u.runRows()
	t.rows, t.columns = roundUp(min(m, blockM), mr), roundUp(min(n, 4*t.u.nr), t.u.nr)
	t.taps = t.windows.rows * t.windows.cols
	wanted := 1
	if workers > 1 {
		wanted = 2 * workers
	}
	for {
		t.rowParts, t.columnParts = ceilDiv(m, t.rows), ceilDiv(n, t.columns)
		t.tapParts = ceilDiv(t.windows.rows*t.windows.cols, t.taps)
		switch {
		case t.parts() >= wanted:
			return
		case t.columns > t.u.nr:
			t.columns = roundUp(t.columns/2, t.u.nr)
		case t.rows > mr:
			t.rows = roundUp(t.rows/2, mr)
		case t.taps > 1:
			t.taps = ceilDiv(t.taps, 3)
		default:
			return
		}
	}
}

func (t *tapGrad) parts() int { return t.rowParts * t.columnParts * t.tapParts }

// size returns the rows and columns of the product for one tap.
func (t *tapGrad) size() (m, n int) {
	if t.turned {
		return t.in, t.out
	}
	return t.out, t.in
}

// workspace returns how many values of workspace multiply needs.
func (t *tapGrad) workspace(workers int) int {
	return t.sumsSize() + workers*t.perWorker() + 16
}

func (t *tapGrad) perWorker() int { return roundUp(t.runs*runSize, 16) }

func (t *tapGrad) sumsSize() int {
	if !t.turned {
		return 0
	}
	return roundUp(t.windows.rows*t.windows.cols*t.in*t.out, 16)
}

// multiply computes the gradient.
func (t *tapGrad) multiply(pool *Pool, dw, dy, x, ws []float32) {
	ws = aligned(ws)
	t.dw, t.dy, t.x = dw, dy, x
	t.sums, t.scratch = ws[:t.sumsSize()], ws[t.sumsSize():]
	if t.positions*t.ldw()*t.out > smallProduct {
		pool.Parallel(t.parts(), t)
		return
	}
	for i := range t.parts() {
		t.Do(0, i)
	}
}

func (t *tapGrad) Do(worker, part int) {
	runs := runsIn(t.scratch[worker*t.perWorker():], t.runs)
	m, n := t.size()
	i0, i1 := span(part%t.rowParts, t.rows, m)
	part /= t.rowParts
	j0, j1 := span(part%t.columnParts, t.columns, n)
	tap0, tap1 := span(part/t.columnParts, t.taps, t.windows.rows*t.windows.cols)
	for block := range t.blocks {
		k0, k1 := span(block, t.kc, t.positions)
		for tap := tap0; tap < tap1; tap++ {
			t.runsOfTap(runs, tap, k0, k1)
			t.block(runs, tap, partOfC{i0, i1, j0, j1}, block > 0)
		}
	}
	if t.turned {
		for tap := tap0; tap < tap1; tap++ {
			at := tap*t.in + i0
			t.u.transpose(t.dw[j0*t.ldw()+at:], t.sums[at*t.out+j0:], t.ldw(), t.out, i1-i0, j1-j0)
		}
	}
}

// ldw is how far an output channel's weights are from the next one's.
func (t *tapGrad) ldw() int { return t.windows.rows * t.windows.cols * t.in }

// block adds a block of positions to rows and columns of a tap's result.
func (t *tapGrad) block(runs []run, tap int, c partOfC, add bool) {
	a, b, to := t.dy, t.x, t.dw[tap*t.in:]
	ks, bs, ldc := t.out, t.windows.step*t.in, t.ldw()
	if t.turned {
		a, b, to = b, a, t.sums[tap*t.in*t.out:]
		ks, bs, ldc = bs, ks, t.out
	}
	mr := t.u.runRows()
	for j := c.j0; j < c.j1; j += t.u.nr {
		for i := c.i0; i < c.i1; i += mr {
			tile, _, _ := t.u.fitRuns(c.i1-i, c.j1-j)
			tile(&a[i], &b[j], &to[i*ldc+j], nil, nil, &runs[0].n, ks, bs, ldc, add, &b[j], 0)
		}
	}
}

// runsOfTap writes the runs of positions [k0,k1) whose pixels at a tap are in the image.
func (t *tapGrad) runsOfTap(dst []run, tap, k0, k1 int) {
	g := &t.windows
	row, column := tap/g.cols+g.y, tap%g.cols+g.x
	// Columns [lo,hi) of positions have their pixel in the image.
	lo := min(max(ceilDiv(max(-column, 0), g.step), 0), g.gw)
	hi := min(max(ceilDiv(g.w-column, g.step), lo), g.gw)
	n, i, j := g.split(k0)
	next := 0
	for k := k0; k < k1; {
		first, end := max(j, lo), min(hi, j+k1-k)
		y := i*g.step + row
		if y >= 0 && y < g.h && first < end {
			position, pixel := k+first-j, (n*g.h+y)*g.w+first*g.step+column
			a, b := position*t.out, pixel*t.in
			if t.turned {
				a, b = b, a
			}
			to := &dst[next]
			to.n, to.b = end-first, b
			for r := range to.rows {
				to.rows[r] = a + r
			}
			next++
		}
		k += g.gw - j
		j = 0
		if i++; i == g.gh {
			n, i = n+1, 0
		}
	}
	dst[next].n = 0
}
