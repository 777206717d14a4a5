package cpu

import "unsafe"

// eachTap calls f for every multiply-add of the convolution, with the indices of y, x and w.
func (c *Conv) eachTap(f func(y, x, w int)) {
	oh, ow := c.OutSize()
	for p := range c.N * oh * ow {
		n, i, j := p/(oh*ow), p/ow%oh, p%ow
		for o := range c.Out {
			for t := range c.KH * c.KW {
				h, v := i*c.Stride+t/c.KW-c.Top, j*c.Stride+t%c.KW-c.Left
				if h < 0 || h >= c.H || v < 0 || v >= c.W {
					continue
				}
				for k := range c.In {
					f(p*c.Out+o, ((n*c.H+h)*c.W+v)*c.In+k, (o*c.KH*c.KW+t)*c.In+k)
				}
			}
		}
	}
}

// forwardGeneric, inputGradGeneric and weightGradGeneric are the definitions of Forward, InputGrad
// and WeightGrad.
func (c *Conv) forwardGeneric(y, x, w, bias []float32) {
	clear(y)
	c.eachTap(func(iy, ix, iw int) { y[iy] += x[ix] * w[iw] })
	for i := range y {
		if bias != nil {
			y[i] += bias[i%c.Out]
		}
	}
}

func (c *Conv) inputGradGeneric(dx, dy, w []float32) {
	clear(dx)
	c.eachTap(func(iy, ix, iw int) { dx[ix] += dy[iy] * w[iw] })
}

func (c *Conv) weightGradGeneric(dw, dy, x []float32) {
	clear(dw)
	c.eachTap(func(iy, ix, iw int) { dw[iw] += dy[iy] * x[ix] })
}

// runsGeneric are the definitions of tiles made of runs, of two rows and of four.
var runsGeneric = [][2]runsFunc{{runs2Generic}, {runs4Generic}}

func runs2Generic(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, _ *float32, _ int,
) {
	tileOfRuns(2, a, b, c, bias, zeros, runs, ks, bs, ldc, add)
}

func runs4Generic(
	a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool, _ *float32, _ int,
) {
	tileOfRuns(4, a, b, c, bias, zeros, runs, ks, bs, ldc, add)
}

func tileOfRuns(
	mr int, a, b, c, bias, zeros *float32, runs *int, ks, bs, ldc int, add bool,
) {
	for i := range mr {
		var s [4]float32
		for r := (*run)(unsafe.Pointer(runs)); r.n > 0; r = after(r, 1) {
			row := zeros
			if r.rows[i] >= 0 {
				row = after(a, r.rows[i])
			}
			as := unsafe.Slice(row, (r.n-1)*ks+1)
			bs4 := unsafe.Slice(after(b, r.b), (r.n-1)*bs+4)
			for p := range r.n {
				v, w := as[p*ks], bs4[p*bs:][:4]
				s[0] += v * w[0]
				s[1] += v * w[1]
				s[2] += v * w[2]
				s[3] += v * w[3]
			}
		}
		finishGeneric(c, bias, i*ldc, s, add)
	}
}

// after is p[n:] of an array.
func after[T any](p *T, n int) *T {
	return (*T)(unsafe.Add(unsafe.Pointer(p), n*int(unsafe.Sizeof(*p))))
}
