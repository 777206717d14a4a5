package cpu

type convPass int

const (
	forwardPass convPass = iota
	inputGradPass
	weightGradPass
)

// A convTask runs a pass as it is defined, in parts that each write their own slice of dst.
type convTask struct {
	c         Conv
	pass      convPass
	dst, p, q []float32
	bias      []float32
}

var convTasks freeList[convTask]

func (c *Conv) run(task convTask) {
	task.c = *c
	t := convTasks.get()
	*t = task
	oh, _ := c.OutSize()
	parts := [...]int{c.N * oh, c.N * c.H, c.Out}
	Parallel(parts[t.pass], t)
	convTasks.put(t)
}

func (t *convTask) Do(_, part int) {
	oh, ow := t.c.OutSize()
	switch t.pass {
	case forwardPass:
		t.forwardRow(part/oh, part%oh, ow)
	case inputGradPass:
		t.inputGradRow(part/t.c.H, part%t.c.H, oh, ow)
	case weightGradPass:
		t.weightGrad(part, oh, ow)
	}
}

// forwardRow computes y[n,i,:,:].
func (t *convTask) forwardRow(n, i, ow int) {
	c, x, w := &t.c, t.p, t.q
	oh, _ := c.OutSize()
	for j := range ow {
		y := t.dst[((n*oh+i)*ow+j)*c.Out:][:c.Out]
		for o := range y {
			var s float32
			for a := range c.KH {
				for b := range c.KW {
					h, v := i*c.Stride+a-c.Top, j*c.Stride+b-c.Left
					if h < 0 || h >= c.H || v < 0 || v >= c.W {
						continue
					}
					xs := x[((n*c.H+h)*c.W+v)*c.In:][:c.In]
					ws := w[((o*c.KH+a)*c.KW+b)*c.In:][:c.In]
					for k := range xs {
						s += xs[k] * ws[k]
					}
				}
			}
			if t.bias != nil {
				s += t.bias[o]
			}
			y[o] = s
		}
	}
}

// inputGradRow computes dx[n,h,:,:].
func (t *convTask) inputGradRow(n, h, oh, ow int) {
	c, dy, w := &t.c, t.p, t.q
	for v := range c.W {
		dx := t.dst[((n*c.H+h)*c.W+v)*c.In:][:c.In]
		clear(dx)
		for a := range c.KH {
			for b := range c.KW {
				i, j := h+c.Top-a, v+c.Left-b
				if i < 0 || j < 0 || i%c.Stride != 0 || j%c.Stride != 0 || i/c.Stride >= oh || j/c.Stride >= ow {
					continue
				}
				ds := dy[((n*oh+i/c.Stride)*ow+j/c.Stride)*c.Out:][:c.Out]
				for o, d := range ds {
					ws := w[((o*c.KH+a)*c.KW+b)*c.In:][:c.In]
					for k := range dx {
						dx[k] += d * ws[k]
					}
				}
			}
		}
	}
}

// weightGrad computes dw[o,:,:,:].
func (t *convTask) weightGrad(o, oh, ow int) {
	c, dy, x := &t.c, t.p, t.q
	dw := t.dst[o*c.KH*c.KW*c.In:][:c.KH*c.KW*c.In]
	clear(dw)
	for n := range c.N {
		for i := range oh {
			for j := range ow {
				d := dy[((n*oh+i)*ow+j)*c.Out+o]
				for a := range c.KH {
					for b := range c.KW {
						h, v := i*c.Stride+a-c.Top, j*c.Stride+b-c.Left
						if h < 0 || h >= c.H || v < 0 || v >= c.W {
							continue
						}
						xs := x[((n*c.H+h)*c.W+v)*c.In:][:c.In]
						ds := dw[(a*c.KW+b)*c.In:][:c.In]
						for k := range xs {
							ds[k] += d * xs[k]
						}
					}
				}
			}
		}
	}
}
