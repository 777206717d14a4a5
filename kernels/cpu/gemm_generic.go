package cpu

type gemmTask struct{ p Product }

var gemmTasks freeList[gemmTask]

func (t *gemmTask) Do(_, i int) { t.p.row(i) }

// row computes row i of the product as its definition says.
func (p *Product) row(i int) {
	c := p.C.Data[i*p.C.Stride:][:p.N]
	if !p.Accumulate {
		clear(c)
	}
	if p.B.Transposed {
		for j := range c {
			b := p.B.Data[j*p.B.Stride:]
			var s float32
			for k := range p.K {
				s += p.A.at(i, k) * b[k]
			}
			c[j] += s
		}
	} else {
		for k := range p.K {
			a := p.A.at(i, k)
			for j, b := range p.B.Data[k*p.B.Stride:][:p.N] {
				c[j] += a * b
			}
		}
	}
	if p.Bias != nil {
		for j := range c {
			c[j] += p.Bias[j]
		}
	}
}

func (m *Matrix) at(i, j int) float32 {
	if m.Transposed {
		i, j = j, i
	}
	return m.Data[i*m.Stride+j]
}
