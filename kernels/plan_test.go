package kernels

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
	"pgregory.net/rapid"
)

// half is a view of the second half of its input, a vector.
type half struct{ N int }

func (h half) Shape([]tensor.Shape) (tensor.Shape, error) { return tensor.Shape{h.N - h.N/2}, nil }
func (h half) Alias() int                                 { return h.N / 2 }
func (half) Differentiable(int) []bool                    { return []bool{false} }
func (h half) Eval(_ *Context, dst Tensor, in []Tensor)   { copy(dst.Data, in[0].Data[h.N/2:]) }
func (half) Grad(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return gorgonia.Nodes{nil}, nil
}

// join is x followed by y.
type join struct{ Nx, Ny int }

func (j join) Shape([]tensor.Shape) (tensor.Shape, error) { return tensor.Shape{j.Nx + j.Ny}, nil }
func (join) Differentiable(int) []bool                    { return []bool{false, false} }

func (join) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (j join) Eval(_ *Context, dst Tensor, in []Tensor) {
	copy(dst.Data[:j.Nx], in[0].Data)
	copy(dst.Data[j.Nx:], in[1].Data)
}
func (join) Grad(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, 2), nil
}

// pressed is its input in a type, in a machine of BFloat16.
type pressed struct{ To Precision }

func (pressed) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (pressed) Differentiable(int) []bool                     { return []bool{false} }
func (pressed) Eval(_ *Context, dst Tensor, in []Tensor)      { copy(dst.Data, in[0].Data) }

func (pressed) InPlace() int { return 0 }

func (r pressed) Types(_ Precision, in []Precision) ([]Precision, Precision) { return in, r.To }

func (pressed) Grad(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return gorgonia.Nodes{nil}, nil
}

// randomGraph draws a graph of vectors from rules with views, results in place and foreign
// operations among them, and which nodes are wanted.
func randomGraph(t *rapid.T) (*gorgonia.ExprGraph, gorgonia.Nodes) {
	g := gorgonia.NewGraph()
	nodes := gorgonia.Nodes{variable(g, "a", 8), variable(g, "b", 8), variable(g, "c", 40)}
	pick := func() *gorgonia.Node { return nodes[rapid.IntRange(0, len(nodes)-1).Draw(t, "node")] }
	for i := range rapid.IntRange(1, 40).Draw(t, "size") {
		x, y := pick(), pick()
		nx, ny := x.Shape()[0], y.Shape()[0]
		var n *gorgonia.Node
		var err error
		switch kind := rapid.IntRange(0, 7).Draw(t, "kind"); {
		case kind == 0 && nx > 1:
			n, err = Apply(half{nx}, x)
		case kind == 1 && nx+ny < 200:
			n, err = Apply(join{nx, ny}, x, y)
		case kind == 2 && nx == ny:
			n, err = gorgonia.Add(x, y)
		case kind == 3 && nx == ny:
			n, err = Apply(blend{}, x, y)
		case kind == 4:
			n, err = gorgonia.Tanh(x)
		case kind == 5:
			n, err = Apply(pressed{BFloat16}, x)
		case kind == 6:
			n, err = Apply(pressed{Float32}, x)
		default:
			n, err = Apply(square{}, x)
		}
		if err != nil {
			t.Fatalf("node %d: %v", i, err)
		}
		nodes = append(nodes, n)
	}
	want := gorgonia.Nodes{nodes[len(nodes)-1]}
	for range rapid.IntRange(0, 3).Draw(t, "wanted") {
		want = append(want, pick())
	}
	return g, want
}

// TestMemoryIsNeverOverwritten compares runs in a tight arena, with and without a budget, with the
// plain evaluation of every node into memory of its own.
func TestMemoryIsNeverOverwritten(t *testing.T) {
	for _, p := range []Precision{Float32, BFloat16} {
		t.Run(p.String(), func(t *testing.T) { memoryIsNeverOverwritten(t, p) })
	}
}

func memoryIsNeverOverwritten(t *testing.T, precision Precision) {
	rapid.Check(t, func(t *rapid.T) {
		g, want := randomGraph(t)
		plain := evaluate(t, g, precision)
		m, err := NewMachine(g, Config{Want: want, Precision: precision})
		if err != nil {
			t.Fatal(err)
		}
		check := func(m *Machine) {
			defer m.Close()
			for range 2 {
				if err := m.RunAll(); err != nil {
					t.Fatal(err)
				}
			}
			for _, n := range want {
				want, got := valueBits(plain[n]), valueBits(m.Value(n))
				require.Equal(t, want, got, "node %d: %s", n.ID(), n.Name())
			}
		}
		check(m)
		percent := rapid.Int64Range(30, 100).Draw(t, "budget")
		budget := 1 + m.Plan().Activations*percent/100
		m, err = NewMachine(g, Config{Want: want, ActivationBytes: budget, Precision: precision})
		if err == nil {
			if m.Plan().Activations > budget {
				t.Fatalf("activations take %d of %d bytes", m.Plan().Activations, budget)
			}
			check(m)
		} else if percent == 100 {
			t.Fatal(err)
		}
	})
}

// evaluate runs Do of every node. Values and results that are bfloat16 in a machine of this
// precision are rounded.
func evaluate(
	t *rapid.T, g *gorgonia.ExprGraph, precision Precision,
) map[*gorgonia.Node]gorgonia.Value {
	values := make(map[*gorgonia.Node]gorgonia.Value)
	types := make(map[*gorgonia.Node]Precision)
	for _, n := range g.AllNodes() {
		if n.Op() == nil {
			values[n] = n.Value()
			continue
		}
		var in []gorgonia.Value
		var inTypes []Precision
		for it := g.From(n.ID()); it.Next(); {
			c := it.Node().(*gorgonia.Node)
			in, inTypes = append(in, values[c]), append(inTypes, types[c])
		}
		takes, gives := typesForTest(n, precision, inTypes)
		for i := range in {
			in[i] = rounded(in[i], takes[i])
		}
		v, err := n.Op().Do(in...)
		if err != nil {
			t.Fatal(err)
		}
		values[n], types[n] = rounded(v, gives), gives
	}
	return values
}

func typesForTest(n *gorgonia.Node, p Precision, in []Precision) ([]Precision, Precision) {
	switch rule := RuleOf(n).(type) {
	case Aliaser:
		return in, in[0]
	case Typer:
		if p == BFloat16 {
			return rule.Types(p, in)
		}
	case nil:
		if len(in) == 2 { // gorgonia.Add
			return alike(in)
		}
	}
	return make([]Precision, len(in)), Float32
}

// rounded returns a copy of v, rounded to p.
func rounded(v gorgonia.Value, p Precision) gorgonia.Value {
	d := v.(*tensor.Dense).Clone().(*tensor.Dense)
	if p == BFloat16 {
		x := d.Float32s()
		for i := range x {
			x[i] = NewBF16(x[i]).Float32()
		}
	}
	return d
}

func TestPlace(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 60).Draw(t, "n")
		buffers := make([]buffer, n)
		for i := range buffers {
			first := rapid.IntRange(0, 50).Draw(t, "first")
			size := rapid.IntRange(1, 500).Draw(t, "size")
			life := rapid.IntRange(0, 20).Draw(t, "life")
			buffers[i] = buffer{size: size, first: first, last: first + life}
		}
		end := place(buffers)
		for i, a := range buffers {
			if a.offset%alignment != 0 || a.offset < 0 || a.offset+a.size > end {
				t.Fatalf("buffer %d at %d of %d", i, a.offset, end)
			}
			for j, b := range buffers[:i] {
				apart := a.last < b.first || b.last < a.first
				if !apart && a.offset < b.offset+b.size && b.offset < a.offset+a.size {
					t.Fatalf("buffers %d %+v and %d %+v overlap", i, a, j, b)
				}
			}
		}
	})
}

// By hand, two buffers of 128 bytes that never live at the same time share memory. One of 64 that
// lives at the same time as both lies behind them.
func TestPlaceByHand(t *testing.T) {
	buffers := []buffer{
		{size: 128, first: 0, last: 1},
		{size: 40, first: 1, last: 2},
		{size: 128, first: 2, last: 3},
	}
	require.Equal(t, 192, place(buffers))
	for i, offset := range []int{0, 128, 0} {
		require.Equal(t, offset, buffers[i].offset)
	}
}

// Of several gaps the smallest that holds a buffer takes it, and of equal gaps the first.
func TestPlaceFitsBest(t *testing.T) {
	buffers := []buffer{
		{size: 512, first: 0, last: 1},
		{size: 448, first: 0, last: 0}, // in step 1 a gap of 448 bytes from 512 on
		{size: 384, first: 0, last: 1},
		{size: 320, first: 0, last: 0}, // in step 1 a gap of 320 bytes from 1344 on
		{size: 320, first: 0, last: 1},
		{size: 320, first: 0, last: 0}, // in step 1 a gap of 320 bytes from 1984 on
		{size: 256, first: 0, last: 1},
		{size: 256, first: 1, last: 1}, // the first gap of 320 bytes, of which it leaves 64
		{size: 64, first: 1, last: 1},  // these 64 bytes
		{size: 64, first: 1, last: 1},  // the other gap of 320 bytes
	}
	require.Equal(t, 2560, place(buffers))
	for i, offset := range []int{0, 512, 960, 1344, 1664, 1984, 2304, 1344, 1600, 1984} {
		require.Equal(t, offset, buffers[i].offset, "buffer %d", i)
	}
}

// descent is gradient descent, which notes the order of updates.
type descent struct {
	rate  float32
	order []*tensor.Dense
	fail  bool
}

func (d *descent) Update(param, grad *tensor.Dense) error {
	if d.fail {
		return errors.New("no")
	}
	d.order = append(d.order, param)
	p, g := param.Float32s(), grad.Float32s()
	for i := range p {
		p[i] -= d.rate * g[i]
	}
	return nil
}

func TestUpdatesHappenWhereGradientsAppear(t *testing.T) {
	const depth, n = 6, 1000
	train := func(consume bool, budget int64) ([]uint32, Plan) {
		g, loss, params := stacked(t, depth, n)
		grads, err := gorgonia.Grad(loss, params...)
		require.NoError(t, err)
		sgd := &descent{rate: 0.01}
		c := Config{Want: gorgonia.Nodes{loss}, ActivationBytes: budget}
		for i := range params {
			if consume {
				c.Updates = append(c.Updates, Update{params[i], grads[i], sgd})
			} else {
				c.Want = append(c.Want, grads[i])
			}
		}
		m, err := NewMachine(g, c)
		require.NoError(t, err)
		defer m.Close()
		for range 3 {
			require.NoError(t, m.RunAll())
			for i := range params {
				if !consume {
					param := params[i].Value().(*tensor.Dense)
					require.NoError(t, sgd.Update(param, m.Value(grads[i])))
				}
			}
		}
		require.Len(t, sgd.order, 3*depth)
		bits := valueBits(m.Value(loss))
		for _, p := range params {
			bits = append(bits, valueBits(p.Value())...)
		}
		return bits, m.Plan()
	}
	after, _ := train(false, 0)
	during, plan := train(true, 0)
	require.Equal(t, after, during)
	budgeted, plan := train(true, plan.Activations/2)
	require.Equal(t, after, budgeted)
	require.Positive(t, plan.Recomputed)
}

// Of twenty gradients only one lives at a time when updates consume them.
func TestUpdatesFreeGradients(t *testing.T) {
	const params, n = 20, 1024
	g := gorgonia.NewGraph()
	var loss *gorgonia.Node
	var ws gorgonia.Nodes
	for i := range params {
		w := variable(g, fmt.Sprint("w", i), n)
		s, err := Apply(square{}, w)
		require.NoError(t, err)
		s, err = Apply(total{}, s)
		require.NoError(t, err)
		if loss != nil {
			s, err = gorgonia.Add(loss, s)
			require.NoError(t, err)
		}
		ws, loss = append(ws, w), s
	}
	grads, err := gorgonia.Grad(loss, ws...)
	require.NoError(t, err)
	kept, err := NewMachine(g, Config{Want: grads})
	require.NoError(t, err)
	defer kept.Close()
	require.GreaterOrEqual(t, kept.Plan().Arena, int64(params*n*4))
	c := Config{Want: gorgonia.Nodes{loss}}
	for i := range ws {
		c.Updates = append(c.Updates, Update{ws[i], grads[i], &descent{}})
	}
	freed, err := NewMachine(g, c)
	require.NoError(t, err)
	defer freed.Close()
	require.Less(t, freed.Plan().Arena, int64(4*n*4))
	require.Equal(t, int64(params*n*4), freed.Plan().Weights)
}

func TestErrorsNameTheNode(t *testing.T) {
	g := gorgonia.NewGraph()
	x := variable(g, "x", 4)
	y, err := Apply(square{}, x)
	require.NoError(t, err)
	z := gorgonia.NewVector(g, tensor.Float32, gorgonia.WithShape(4), gorgonia.WithName("unbound"))
	w, err := Apply(blend{}, y, z)
	require.NoError(t, err)
	m, err := NewMachine(g, Config{Want: gorgonia.Nodes{w}, WatchNaN: true})
	require.NoError(t, err)
	defer m.Close()
	require.ErrorContains(t, m.RunAll(), "input unbound (4) has no value")
	require.NoError(t, gorgonia.Let(z, tensor.New(tensor.WithBacking([]float32{1, 2, 3, 4}))))
	require.NoError(t, m.RunAll())
	x.Value().(*tensor.Dense).Float32s()[2] = 1e30
	err = m.RunAll()
	require.ErrorContains(t, err, "square")
	require.ErrorContains(t, err, "value 2 is +Inf")

	other := gorgonia.NewGraph()
	_, err = NewMachine(other, Config{Want: gorgonia.Nodes{w}})
	require.ErrorContains(t, err, "not, or no longer, a node of the graph")
	long := Update{x, variable(g, "long", 5), &descent{}}
	_, err = NewMachine(g, Config{Want: gorgonia.Nodes{w}, Updates: []Update{long}})
	require.ErrorContains(t, err, "x is (4), its gradient long is (5)")
	m, err = NewMachine(g, Config{Updates: []Update{{x, y, &descent{fail: true}}}})
	require.NoError(t, err)
	require.ErrorContains(t, m.RunAll(), "update of x (4): no")
	require.NoError(t, m.Close())
	require.NoError(t, m.Close())
	require.ErrorContains(t, m.RunAll(), "closed")
}

// Inputs, constants and views of them can be wanted, rebound and read by foreign operations.
func TestInputsAndViews(t *testing.T) {
	g := gorgonia.NewGraph()
	x := variable(g, "x", 6)
	v, err := Apply(half{6}, x)
	require.NoError(t, err)
	vv, err := Apply(half{3}, v)
	require.NoError(t, err)
	tanh, err := gorgonia.Tanh(vv)
	require.NoError(t, err)
	two := g.Constant(gorgonia.NewF32(2))
	double, err := gorgonia.HadamardProd(two, vv)
	require.NoError(t, err)
	m, err := NewMachine(g, Config{Want: gorgonia.Nodes{x, v, vv, tanh, two, double}})
	require.NoError(t, err)
	defer m.Close()
	for i := range 3 {
		data := ramp(6, float64(i))
		require.NoError(t, gorgonia.Let(x, tensor.New(tensor.WithBacking(data))))
		require.NoError(t, m.RunAll())
		require.Equal(t, data, m.Value(x).Float32s())
		require.Equal(t, data[3:], m.Value(v).Float32s())
		require.Equal(t, data[4:], m.Value(vv).Float32s())
		require.Equal(t, []float32{2 * data[4], 2 * data[5]}, m.Value(double).Float32s())
		require.InDelta(t, data[5], 0.5*m.Value(double).Float32s()[1], 0)
		require.Equal(t, 2.0, m.Scalar(two))
	}
	require.Nil(t, m.Value(variable(g, "unknown", 1)))
}

func TestRunsAllocateNothing(t *testing.T) {
	g, loss, params := stacked(t, 6, 300)
	grads, err := gorgonia.Grad(loss, params...)
	require.NoError(t, err)
	sgd := &descent{rate: 0.01, order: make([]*tensor.Dense, 0, 1<<16)}
	c := Config{Want: gorgonia.Nodes{loss}, ActivationBytes: 9000, WatchNaN: true, Profile: true}
	for i := range params {
		c.Updates = append(c.Updates, Update{params[i], grads[i], sgd})
	}
	m, err := NewMachine(g, c)
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	require.Positive(t, m.Plan().Recomputed)
	allocs := testing.AllocsPerRun(10, func() {
		if err := m.RunAll(); err != nil {
			t.Fatal(err)
		}
	})
	require.Zero(t, allocs)
	calls := 0
	for _, o := range m.Profile() {
		calls += o.Calls
	}
	require.Equal(t, 12*(m.Plan().Steps+len(params)), calls, fmt.Sprint(m.Profile()))
}

func BenchmarkStepOverhead(b *testing.B) {
	g, loss, params := stacked(b, 200, 1)
	grads, err := gorgonia.Grad(loss, params...)
	require.NoError(b, err)
	m, err := NewMachine(g, Config{Want: append(gorgonia.Nodes{loss}, grads...)})
	require.NoError(b, err)
	defer m.Close()
	for b.Loop() {
		if err := m.RunAll(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*m.Plan().Steps), "ns/step")
}
