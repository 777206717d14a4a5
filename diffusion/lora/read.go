package lora

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/nn"
)

// A reader reads what adapts one target.
type reader struct {
	l     *loading
	t     *target
	parts map[string]*part
}

func (r *reader) isPlainPair() bool {
	for _, other := range []string{"mid", "dora_scale", "lora_magnitude_vector"} {
		if r.parts[other] != nil {
			return false
		}
	}
	return !r.isHadamard() && !r.isKronecker()
}

func (r *reader) isHadamard() bool  { return r.begins("hada_") }
func (r *reader) isKronecker() bool { return r.begins("lokr_") }

func (r *reader) begins(word string) bool {
	for what := range r.parts {
		if strings.HasPrefix(what, word) {
			return true
		}
	}
	return false
}

// take reads a part as a matrix. A part that is not there is an error that names it.
func (r *reader) take(what string) (*matrix, error) {
	p := r.parts[what]
	if p == nil {
		word := map[string]string{"down": "lora_A.weight", "up": "lora_B.weight"}[what]
		if word == "" {
			word = what
		}
		return nil, fmt.Errorf("%s.%s is missing", r.t.fullName(), word)
	}
	p.used = true
	shape, _ := r.l.file.Shape(p.name)
	if slices.Contains(shape, 0) {
		return nil, fmt.Errorf("%s is %v", printable(p.name), shape)
	}
	v, err := r.l.file.Floats(p.name)
	if err != nil {
		return nil, err
	}
	for i, x := range v {
		if math.IsNaN(float64(x)) || math.IsInf(float64(x), 0) {
			return nil, fmt.Errorf("%s is %v at element %d", printable(p.name), x, i)
		}
	}
	m := &matrix{name: p.name, shape: shape, rows: 1, columns: 1, v: v}
	if len(shape) > 0 {
		m.rows, m.columns = shape[0], len(v)/shape[0]
	}
	return m, nil
}

// takeAll reads several parts.
func (r *reader) takeAll(what ...string) ([]*matrix, error) {
	var out []*matrix
	var errs []error
	for _, w := range what {
		m, err := r.take(w)
		out, errs = append(out, m), append(errs, err)
	}
	return out, errors.Join(errs...)
}

// alpha is the target's, of an adapter of a rank.
func (r *reader) alpha(rank int) (float64, error) {
	p := r.parts["alpha"]
	if p == nil {
		return r.l.settings[r.t.network].alpha(r.t, rank)
	}
	p.used = true
	v, err := r.l.file.Floats(p.name)
	if err != nil {
		return 0, err
	}
	if len(v) != 1 || math.IsNaN(float64(v[0])) || math.IsInf(float64(v[0]), 0) {
		return 0, fmt.Errorf("tensor %s is %v, not one number",
			printable(p.name), v[:min(len(v), 4)])
	}
	if v[0] == 0 {
		return float64(rank), nil
	}
	return float64(v[0]), nil
}

// sizes are the weight's rows and columns in files, and the columns of one input.
func (r *reader) sizes() (rows, columns, area int) {
	s := r.t.shape()
	area = 1
	for _, n := range s[2:] {
		area *= n
	}
	return s[0], s[1] * area, area
}

// squeezed drops trailing ones of a shape: a linear layer may be spelled as a 1×1 convolution.
func squeezed(shape []int) []int {
	for len(shape) > 0 && shape[len(shape)-1] == 1 {
		shape = shape[:len(shape)-1]
	}
	return shape
}

// pair reads A and B of a layer, which is to have them attached.
func (r *reader) pair() error {
	m, err := r.takeAll("down", "up")
	if m[0] == nil || m[1] == nil {
		return err
	}
	rank := m[0].rows
	var errs []error
	wants := [][]int{append([]int{rank}, r.t.shape()[1:]...), {r.t.shape()[0], rank}}
	for i, want := range wants {
		if !slices.Equal(squeezed(m[i].shape), squeezed(want)) {
			errs = append(errs, fmt.Errorf("%s is %v, not %v",
				printable(m[i].name), m[i].shape, want))
		}
	}
	alpha, err := r.alpha(rank)
	if s := r.l.settings[r.t.network]; s != nil && s.DoRA && err == nil {
		err = fmt.Errorf("%s has no lora_magnitude_vector, though use_dora is true in %s",
			r.t.fullName(), s.from)
	}
	if errs = append(errs, err); errors.Join(errs...) != nil {
		return errors.Join(errs...)
	}
	p := pair{target: r.t, alpha: alpha, LowRank: r.t.layer.NewLowRank(rank)}
	for i, to := range []nn.Layer{p.A, p.B} {
		value := nn.Parameters(to)[0].Value
		copy(value.Float32s(), reorder(m[i].v, value.Shape(), false))
	}
	r.l.a.pairs = append(r.l.a.pairs, p)
	return nil
}

// differences reads what is added to a weight and to a bias as it is.
func (r *reader) differences() error {
	var errs []error
	for what, to := range map[string]*tensor.Dense{"diff": r.t.weight, "diff_b": r.t.bias} {
		if r.parts[what] == nil || to == nil {
			continue
		}
		m, err := r.take(what)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		want := []int{to.Shape()[0]}
		if what == "diff" {
			want = r.t.shape()
		}
		if !slices.Equal(squeezed(m.shape), squeezed(want)) {
			errs = append(errs, fmt.Errorf("%s is %v, not %v", printable(m.name), m.shape, want))
			continue
		}
		d := reorder(m.v, to.Shape(), false)
		r.l.methods["what is added to weights as it is (diff)"] = true
		r.l.a.changes = append(r.l.a.changes, &change{at: to, after: func(w []float32) []float32 {
			out := make([]float32, len(w))
			for i, v := range w {
				out[i] = v + d[i]
			}
			return out
		}})
	}
	return errors.Join(errs...)
}

// delta reads an adapter that becomes ΔW, or with a magnitude a new W.
func (r *reader) delta() error {
	rows, _, area := r.sizes()
	build, rank, err := r.method()
	if err != nil {
		return err
	}
	factor := 1.
	if rank > 0 {
		alpha, err := r.alpha(rank)
		if err != nil {
			return err
		}
		factor = alpha / float64(rank)
	} else if p := r.parts["alpha"]; p != nil {
		p.used = true // of no meaning where nothing has a rank
	}
	size, err := r.magnitude()
	if err != nil {
		return err
	}
	r.l.methods[r.methodName(size)] = true
	shape := r.t.weight.Shape()
	r.l.a.changes = append(r.l.a.changes, &change{
		at: r.t.weight,
		after: func(before []float32) []float32 {
			w := reorder(before, shape, true)
			for i, d := range build().v {
				w[i] = float32(float64(w[i]) + factor*float64(d))
			}
			if size != nil {
				size.apply(w, rows, area)
			}
			return reorder(w, shape, false)
		},
	})
	return nil
}

func (r *reader) methodName(m *magnitude) string {
	switch {
	case m != nil:
		return "DoRA"
	case r.isHadamard():
		return "LoHa"
	case r.isKronecker():
		return "LoKr"
	}
	return "LoRA by Tucker's decomposition"
}

// method reads the factors of ΔW. build multiplies them, and rank is what alpha is divided by; 0 is
// none.
func (r *reader) method() (build func() *matrix, rank int, err error) {
	rows, columns, _ := r.sizes()
	switch {
	case r.isHadamard():
		return r.loha()
	case r.isKronecker():
		return r.lokr()
	}
	m, err := r.takeAll("down", "up")
	if err != nil {
		return nil, 0, err
	}
	down, up := m[0], m[1]
	rank = down.rows
	if r.parts["mid"] == nil {
		if err := errors.Join(down.fits(rank, columns), up.fits(rows, rank)); err != nil {
			return nil, 0, err
		}
		return func() *matrix { return up.times(down) }, rank, nil
	}
	build, err = r.tucker("mid", up.transposed(), down)
	return build, rank, err
}

// tucker reads a kernel between two matrices [I,O] and [J,C].
func (r *reader) tucker(what string, out, in *matrix) (func() *matrix, error) {
	rows, columns, _ := r.sizes()
	t, err := r.take(what)
	if err != nil {
		return nil, err
	}
	if s := r.t.shape(); len(s) != 4 || len(t.shape) != 4 || out.columns != rows ||
		t.shape[2] != s[2] || t.shape[3] != s[3] || in.columns*s[2]*s[3] != columns ||
		t.shape[0] != out.rows || t.shape[1] != in.rows {
		return nil, fmt.Errorf("%s is %v, which with [%d %d] and [%d %d] makes no %v",
			printable(t.name), t.shape, out.rows, out.columns, in.rows, in.columns, r.t.shape())
	}
	return func() *matrix { return core(t, out, in) }, nil
}

// loha is the product of two low-rank matrices, number by number (Hyeon-Woo et al. 2022, FedPara),
// with the names of LyCORIS.
func (r *reader) loha() (func() *matrix, int, error) {
	rows, columns, _ := r.sizes()
	m, err := r.takeAll("hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b")
	if err != nil {
		return nil, 0, err
	}
	rank := m[1].rows
	var halves [2]func() *matrix
	for i := range halves {
		a, b := m[2*i], m[2*i+1]
		if t := fmt.Sprintf("hada_t%d", i+1); r.begins("hada_t") {
			if halves[i], err = r.tucker(t, a, b); err != nil {
				return nil, 0, err
			}
			continue
		}
		if err := errors.Join(a.fits(rows, b.rows), b.fits(b.rows, columns)); err != nil {
			return nil, 0, err
		}
		halves[i] = func() *matrix { return a.times(b) }
	}
	return func() *matrix { return hadamard(halves[0](), halves[1]()) }, rank, nil
}

// lokr is Kronecker's product of two matrices, each of which may be a product of two of low rank
// (LyCORIS). Where neither is, there is no rank: alpha is not read, but by peft.
func (r *reader) lokr() (func() *matrix, int, error) {
	rows, columns, area := r.sizes()
	rank := 0
	half := func(name string) (whole func() *matrix, height, width int, err error) {
		if r.parts[name] != nil {
			m, err := r.take(name)
			if err != nil {
				return nil, 0, 0, err
			}
			return func() *matrix { return m }, m.rows, m.columns, nil
		}
		m, err := r.takeAll(name+"_a", name+"_b")
		if err != nil {
			return nil, 0, 0, err
		}
		a, b := m[0], m[1]
		if rank == 0 {
			rank = b.rows
		}
		if name == "lokr_w2" && r.parts["lokr_t2"] != nil {
			t, err := r.take("lokr_t2")
			if err != nil {
				return nil, 0, 0, err
			}
			s := r.t.shape()
			want := append([]int{a.rows, b.rows}, s[2:]...)
			if len(s) != 4 || !slices.Equal(t.shape, want) {
				return nil, 0, 0, fmt.Errorf("%s is %v, not %v", printable(t.name), t.shape, want)
			}
			return func() *matrix { return core(t, a, b) },
				a.columns, b.columns * t.shape[2] * t.shape[3], nil
		}
		if err := a.fits(a.rows, b.rows); err != nil {
			return nil, 0, 0, err
		}
		return func() *matrix { return a.times(b) }, a.rows, b.columns, nil
	}
	one, h1, w1, err1 := half("lokr_w1")
	two, h2, w2, err2 := half("lokr_w2")
	if err := errors.Join(err1, err2); err != nil {
		return nil, 0, err
	}
	if h1*h2 != rows || w1*w2 != columns || w2%area != 0 {
		return nil, 0, fmt.Errorf("%s: the product of [%d %d] and [%d %d] is no %v",
			r.t.fullName(), h1, w1, h2, w2, r.t.shape())
	}
	if s := r.l.settings[r.t.network]; rank == 0 && s != nil && r.parts["alpha"] == nil {
		// peft scales what has no rank, too.
		var err error
		if rank, err = lookUp(s.RankPattern, r.t, s.Rank); err != nil {
			return nil, 0, err
		}
	}
	return func() *matrix { return kronecker(one(), two()) }, rank, nil
}

// magnitude reads DoRA's m; nil if there is none.
func (r *reader) magnitude() (*magnitude, error) {
	rows, columns, area := r.sizes()
	if r.parts["lora_magnitude_vector"] != nil { // peft's, one number an output
		m, err := r.take("lora_magnitude_vector")
		if err != nil {
			return nil, err
		}
		if len(m.v) != rows {
			return nil, fmt.Errorf("%s is %v, not [%d]", printable(m.name), m.shape, rows)
		}
		return &magnitude{of: m.v}, nil
	}
	if r.parts["dora_scale"] == nil {
		return nil, nil
	}
	m, err := r.take("dora_scale")
	if err != nil {
		return nil, err
	}
	in := columns / area
	switch {
	case len(m.v) == rows && (m.rows == rows || len(m.shape) == 1):
		return &magnitude{of: m.v}, nil
	case len(m.v) == in && m.rows == 1:
		return &magnitude{of: m.v, columns: true}, nil
	}
	return nil, fmt.Errorf("%s is %v, neither one number for each of %d outputs nor of %d inputs",
		printable(m.name), m.shape, rows, in)
}
