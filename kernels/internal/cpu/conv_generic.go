package cpu

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
