package lora

import (
	"fmt"
	"math"
	"slices"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/nn"
)

// A change is what replaces the numbers of a weight or a bias: an adapter that is no pair.
type change struct {
	at     *tensor.Dense
	after  func(before []float32) []float32 // in the order of memory
	before []float32                        // nil while the change is not made
	scale  float64                          // that it is made with
}

// set makes the change, or a part of it: before + scale·(after − before).
func (c *change) set(scale float64) {
	if c.before != nil && c.scale == scale {
		return
	}
	now := c.at.Float32s()
	c.scale = scale
	if c.before == nil {
		c.before = slices.Clone(now)
	}
	for i, v := range c.after(c.before) {
		b := float64(c.before[i])
		now[i] = float32(b + scale*(float64(v)-b))
	}
}

// undo gives the numbers back as they were.
func (c *change) undo() {
	if c.before != nil {
		copy(c.at.Float32s(), c.before)
		c.before = nil
	}
}

// A matrix is a tensor of a file with all but its first axis joined.
type matrix struct {
	name          string // in the file
	shape         []int
	rows, columns int
	v             []float32
}

// transposed is the matrix with its axes changed.
func (m *matrix) transposed() *matrix {
	t := &matrix{name: m.name, rows: m.columns, columns: m.rows, v: make([]float32, len(m.v))}
	for i := range m.rows {
		for k := range m.columns {
			t.v[k*m.rows+i] = m.v[i*m.columns+k]
		}
	}
	return t
}

// fits is an error that names m unless it has so many rows and columns.
func (m *matrix) fits(rows, columns int) error {
	if m.rows == rows && m.columns == columns {
		return nil
	}
	return fmt.Errorf("%s is %v, not [%d %d]", printable(m.name), m.shape, rows, columns)
}

// times is a·b [a.rows, b.columns].
func (m *matrix) times(b *matrix) *matrix {
	// A LowRank of a layer of zeros is this product.
	l := nn.NewLinear(b.columns, m.rows, false)
	p := l.NewLowRank(b.rows)
	copy(nn.Parameters(p.A)[0].Value.Float32s(), b.v)
	copy(nn.Parameters(p.B)[0].Value.Float32s(), m.v)
	p.Scale = 1
	p.Merge(l)
	return &matrix{rows: m.rows, columns: b.columns, v: l.Weight.Float32s()}
}

// core is what a product of two matrices becomes by Tucker's decomposition, with a kernel t
// [I,J,KH,KW] between out [I,O] and in [J,C] (Hyeon-Woo et al. 2022, FedPara, prop. 3):
//
//	Δ[o,c,k] = Σ_ij out[i,o]·t[i,j,k]·in[j,c]
func core(t, out, in *matrix) *matrix {
	area := t.shape[2] * t.shape[3]
	inner := &matrix{rows: out.rows, columns: in.columns * area}
	inner.v = make([]float32, inner.rows*inner.columns)
	for i := range out.rows {
		row := inner.v[i*inner.columns : (i+1)*inner.columns]
		for j := range in.rows {
			kernel := t.v[(i*in.rows+j)*area : (i*in.rows+j+1)*area]
			for c := range in.columns {
				for k, v := range kernel {
					row[c*area+k] += in.v[j*in.columns+c] * v
				}
			}
		}
	}
	return out.transposed().times(inner)
}

// hadamard is the product of a and b, number by number (LoHa).
func hadamard(a, b *matrix) *matrix {
	for i, v := range b.v {
		a.v[i] *= v
	}
	return a
}

// kronecker is the product of Kronecker (LoKr): each number of a times all of b.
func kronecker(a, b *matrix) *matrix {
	out := &matrix{rows: a.rows * b.rows, columns: a.columns * b.columns}
	out.v = make([]float32, out.rows*out.columns)
	for i := range a.rows {
		for j := range b.rows {
			row := out.v[(i*b.rows+j)*out.columns : (i*b.rows+j+1)*out.columns]
			for k := range a.columns {
				f := a.v[i*a.columns+k]
				for l, v := range b.v[j*b.columns : (j+1)*b.columns] {
					row[k*b.columns+l] = f * v
				}
			}
		}
	}
	return out
}

// A magnitude is DoRA's m: the length that each row of W + ΔW gets, or each of its columns, which
// are the inputs.
type magnitude struct {
	of      []float32
	columns bool
}

// apply is W' = m·(W + ΔW)/‖W + ΔW‖ (Liu et al. 2024, DoRA, eq. 5) of a weight [rows,columns] of
// a file. area is the number of columns of one input. A length has float32's ε added, as LyCORIS
// has it, so that no length is 0.
func (m *magnitude) apply(w []float32, rows, area int) {
	columns := len(w) / rows
	block := columns // numbers that have one length together
	if m.columns {
		block = area
	}
	squares := make([]float64, len(m.of))
	each := func(do func(group int, part []float32)) {
		for from := 0; from < len(w); from += block {
			group := from / columns
			if m.columns {
				group = from % columns / area
			}
			do(group, w[from:from+block])
		}
	}
	each(func(group int, part []float32) {
		for _, v := range part {
			squares[group] += float64(v) * float64(v)
		}
	})
	each(func(group int, part []float32) {
		factor := float64(m.of[group]) / (math.Sqrt(squares[group]) + 0x1p-23)
		for i, v := range part {
			part[i] = float32(float64(v) * factor)
		}
	})
}

// reorder moves a weight between the order of files, [O,I,KH,KW], and that of memory, [O,KH,KW,I].
// The weight's shape is that of memory. What is no convolution stays as it is.
func reorder(w []float32, shape tensor.Shape, toFile bool) []float32 {
	if len(shape) != 4 {
		return slices.Clone(w)
	}
	out, in, area := make([]float32, len(w)), shape[3], shape[1]*shape[2]
	for o := range shape[0] {
		for i := range in {
			for a := range area {
				file, memory := (o*in+i)*area+a, (o*area+a)*in+i
				if toFile {
					out[file] = w[memory]
				} else {
					out[memory] = w[file]
				}
			}
		}
	}
	return out
}
