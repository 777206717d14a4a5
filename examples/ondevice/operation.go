package main

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
)

// An operation is one of package kernels, or several, at fixed shapes.
type operation struct {
	name   string
	of     op
	shapes []tensor.Shape               // of the inputs
	fill   func(input int, x []float32) // changes the values of an input, which are normal
	fixed  []int                        // inputs without a gradient
	// rounded says that operands are results of products with the identity. They are bfloat16 in a
	// machine of that. shifted says that they are, and begin one value behind a multiple of 16
	// bytes.
	rounded, shifted bool

	loose  float64 // makes the tolerance larger, if it is not 0
	least  float64 // is added to the tolerance of each value
	large  bool    // it is not for an emulation
	absent bool    // the emulation does not have its kernels
}

// normal gives an input standard normal values, which are always the same.
func normal(x []float32, name string) { rng.Normal(x, 1, "ondevice "+name, 0, 0) }

// graph is an operation with its gradients.
func (o operation) graph() (*gorgonia.ExprGraph, gorgonia.Nodes, []string, error) {
	g := gorgonia.NewGraph()
	var operands, by gorgonia.Nodes
	names := []string{"result"}
	for i, s := range o.shapes {
		input, x, err := o.operand(g, i, s)
		if err != nil {
			return nil, nil, nil, err
		}
		operands = append(operands, x)
		if !slices.Contains(o.fixed, i) {
			by = append(by, input)
			names = append(names, fmt.Sprintf("gradient by input %d", i))
		}
	}
	out, err := o.of(operands...)
	if err != nil {
		return nil, nil, nil, err
	}
	want := gorgonia.Nodes{out}
	if len(by) == 0 {
		return g, want, names, nil
	}
	loss := out
	if !out.IsScalar() {
		x := make([]float32, out.Shape().TotalSize())
		normal(x, o.name+" cotangent")
		product, err := kernels.Mul(out, kernels.Input(g, "cotangent", dense(out.Shape(), x)))
		if err != nil {
			return nil, nil, nil, err
		}
		if loss, err = kernels.Sum(product); err != nil {
			return nil, nil, nil, err
		}
	}
	grads, err := gorgonia.Grad(loss, by...)
	return g, append(want, grads...), names, err
}

// operand makes input i, and the operand of a shape that is made of it.
func (o operation) operand(
	g *gorgonia.ExprGraph, i int, s tensor.Shape,
) (input, x *gorgonia.Node, err error) {
	name, n := fmt.Sprintf("input %d", i), s.TotalSize()
	offset := 0
	if o.shifted {
		offset = 1
	}
	const columns = 16
	rows := (offset + n + columns - 1) / columns
	values := make([]float32, rows*columns)
	part := values[offset : offset+n : offset+n]
	normal(part, o.name+" "+name)
	if o.fill != nil {
		o.fill(i, part)
	}
	if slices.Contains(o.fixed, i) || !o.rounded && !o.shifted {
		input = kernels.Input(g, name, dense(s, part))
		return input, input, nil
	}
	identity := make([]float32, columns*columns)
	for k := range columns {
		identity[k*columns+k] = 1
	}
	input = kernels.Input(g, name, dense(tensor.Shape{rows, columns}, values))
	one := kernels.Input(g, name+" times", dense(tensor.Shape{columns, columns}, identity))
	if x, err = kernels.Linear(input, one, nil); err != nil {
		return nil, nil, err
	}
	x, err = kernels.View(x, offset, s...)
	return input, x, err
}

func dense(s tensor.Shape, x []float32) *tensor.Dense {
	return tensor.New(tensor.WithShape(s...), tensor.WithBacking(x))
}

// values runs the operation in a machine, twice, and returns the values of the result and of the
// gradients. The second run must give the same bits.
func (o operation) values(c kernels.Config) (all [][]float32, names []string, err error) {
	g, want, names, err := o.graph()
	if err != nil {
		return nil, nil, err
	}
	c.Want = want
	m, err := kernels.NewMachine(g, c)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, m.Close()) }()
	for run := range 2 {
		if err := m.RunAll(); err != nil {
			return nil, nil, err
		}
		for i, n := range want {
			now := floats(m.Value(n))
			if run == 0 {
				all = append(all, now)
				continue
			}
			for k, v := range now {
				if math.Float32bits(v) != math.Float32bits(all[i][k]) {
					const wrong = "%s: value %d is %v in the second run and %v in the first"
					return nil, nil, fmt.Errorf(wrong, names[i], k, v, all[i][k])
				}
			}
		}
		if c.Device == nil {
			break // the processor's bits are tested elsewhere
		}
	}
	if host := m.Plan().Host; host != "" && c.Device != nil {
		return nil, nil, fmt.Errorf("there are no kernels for %s", host)
	}
	return all, names, nil
}

// floats returns a copy of values.
func floats(d *tensor.Dense) []float32 {
	if d.IsScalar() {
		if v, ok := d.Data().(float32); ok {
			return []float32{v}
		}
	}
	return append([]float32(nil), d.Float32s()...)
}

// check compares what a device computes with what the processor does.
func (o operation) check(d kernels.Device, p kernels.Precision) (r outcome) {
	got, names, err := o.values(kernels.Config{Device: d, Precision: p})
	if err != nil {
		return outcome{Wrong: "on the device: " + err.Error()}
	}
	want, _, err := o.values(kernels.Config{Precision: p})
	if err != nil {
		return outcome{Wrong: "on the processor: " + err.Error()}
	}
	t := toleranceOf(p)
	if o.loose > 0 {
		t = t.times(o.loose)
	}
	t.least = o.least
	for i := range want {
		r.compare(names[i], t, got[i], want[i])
	}
	return r
}

// compare adds a comparison to what is shown.
func (r *outcome) compare(what string, t tolerance, got, want []float32) {
	e, wrong := t.compare(got, want)
	r.Worst = max(r.Worst, number(e))
	if wrong != "" && r.Wrong == "" {
		r.Wrong = what + ": " + wrong
	}
}

// A tolerance says how far values may be from others: each by
//
//	each·(|w| + rms) + rounding·(|w| + largest) + least
//
// and all n together, in the Euclidean norm, by together·norm + √n·least.
type tolerance struct{ each, rounding, together, least float64 }

// toleranceOf returns the tolerance of operations. In float32 it is twice the hundred roundings
// that package kerneltest allows, since both sides may be off. In bfloat16 a result is rounded
// by 2⁻⁸ at most, and so may be what it is a sum of, on both sides in other directions.
func toleranceOf(p kernels.Precision) tolerance {
	const float = 200.0 / (1 << 24)
	if p == kernels.BFloat16 {
		return tolerance{each: float, rounding: 2.0 / (1 << 8), together: 2.0 / (1 << 8)}
	}
	return tolerance{each: float, together: float}
}

func (t tolerance) times(a float64) tolerance {
	return tolerance{a * t.each, a * t.rounding, a * t.together, t.least}
}

// compare returns the largest error relative to what is allowed, and says what is wrong, if it is
// above 1.
func (t tolerance) compare(got, want []float32) (worst float64, wrong string) {
	if len(got) != len(want) {
		return math.Inf(1), fmt.Sprintf("%d values, not %d", len(got), len(want))
	}
	const nothing = math.SmallestNonzeroFloat32 // so that 0 of 0 is allowed
	squares, largest, off := 0.0, 0.0, 0.0
	for _, w := range want {
		squares += float64(w) * float64(w)
		largest = max(largest, math.Abs(float64(w)))
	}
	rms := math.Sqrt(squares / float64(max(1, len(want))))
	at := 0
	for i, w := range want {
		d := math.Abs(float64(got[i]) - float64(w))
		if got[i] == w {
			d = 0 // infinities too
		}
		off += d * d
		a := math.Abs(float64(w))
		e := d / (t.each*(a+rms) + t.rounding*(a+largest) + t.least + nothing)
		if math.IsNaN(e) {
			e = math.Inf(1)
		}
		if e > worst {
			worst, at = e, i
		}
	}
	if !(worst <= 1) {
		wrong = fmt.Sprintf("value %d is %v, on the processor %v: %.3g times what is allowed",
			at, got[at], want[at], worst)
	}
	least := math.Sqrt(float64(len(want))) * t.least
	all := math.Sqrt(off) / (t.together*math.Sqrt(squares) + least + nothing)
	if math.IsNaN(all) {
		all = math.Inf(1)
	}
	if wrong == "" && !(all <= 1) {
		wrong = fmt.Sprintf("all values together are off by %.3g times what is allowed", all)
	}
	return max(worst, all), wrong
}
