package kernels

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// small is a linear layer, an activation and a loss, with the gradients of the layer's parameters.
func small(
	t *testing.T,
) (g *gorgonia.ExprGraph, want gorgonia.Nodes, nodes map[string]*gorgonia.Node) {
	g = gorgonia.NewGraph()
	must := func(n *gorgonia.Node, err error) *gorgonia.Node {
		require.NoError(t, err)
		return n
	}
	x, w := variable(g, "x", 2, 40), variable(g, "w", 30, 40)
	b, target := variable(g, "b", 30), variable(g, "target", 60)
	linear := must(Linear(x, w, b))
	silu := must(SiLU(linear))
	flat := must(Reshape(silu, 60))
	loss := must(MSE(flat, target, nil))
	grads, err := gorgonia.Grad(loss, w, b)
	require.NoError(t, err)
	return g, append(gorgonia.Nodes{loss, flat}, grads...), map[string]*gorgonia.Node{
		"x": x, "w": w, "b": b,
		"linear": linear, "silu": silu, "flat": flat, "loss": loss,
		"dw": grads[0], "db": grads[1],
	}
}

// The types of a small graph's values, by hand, and the five conversions. x and w are converted for
// the product. flat is converted for the loss; its gradient and its reader after the run read the
// same conversion. The gradient of flat is converted for the operations before it. x is converted
// again for the gradient of w.
func TestTypesByHand(t *testing.T) {
	g, want, nodes := small(t)
	p, err := newProgram(g, want, want, BFloat16)
	require.NoError(t, err)
	for name, want := range map[string]Precision{
		"x": Float32, "w": Float32, "b": Float32,
		"linear": BFloat16, "silu": BFloat16, "flat": BFloat16, "loss": Float32,
		"dw": Float32, "db": Float32,
	} {
		require.Equal(t, want, p.values[p.index[nodes[name]]].typ, name)
	}
	var converted []string
	for i := range p.values {
		if p.converts(i) {
			converted = append(converted, p.values[i].node.Name()+" to "+p.values[i].typ.String())
		}
	}
	require.Len(t, converted, 5, "%v", converted)
	// A product is as dear with a converted weight: 2800 bytes of traffic and 60·40 multiply-adds.
	require.EqualValues(t, valueCost*2800/4+60*40, p.costOf(p.index[nodes["linear"]]))
	// What is read out is converted at once, lest it be held in both types until the end.
	p, err = newProgram(g, append(want, nodes["linear"]), append(want, nodes["linear"]), BFloat16)
	require.NoError(t, err)
	require.Equal(t, p.index[nodes["linear"]]+1, p.out[nodes["linear"]])
	for _, n := range want {
		require.Equal(t, Float32, p.values[p.out[n]].typ)
	}

	m, err := NewMachine(g, Config{Want: want, Precision: BFloat16})
	require.NoError(t, err)
	defer m.Close()
	require.Equal(t, 5, m.Plan().Conversions)
	require.Contains(t, m.Plan().String(), ", 5 of them conversions")
	require.NoError(t, m.RunAll())
	in := func(name string) []float32 { return nodes[name].Value().(*tensor.Dense).Float32s() }
	bf16 := func(x float64) float64 { return float64(NewBF16(float32(x)).Float32()) }
	y := make([]float64, 60) // flat's values
	for i := range y {
		sum := 0.0
		for k := range 40 {
			sum += bf16(float64(in("x")[i/30*40+k])) * bf16(float64(in("w")[i%30*40+k]))
		}
		h := bf16(sum + float64(in("b")[i%30]))
		y[i] = bf16(h / (1 + math.Exp(-h)))
	}
	coarse := 0
	for i, v := range m.Value(nodes["flat"]).Float32s() {
		require.InDelta(t, y[i], v, 0, "value %d", i)
	}
	for _, v := range m.Value(nodes["dw"]).Float32s() {
		if NewBF16(v).Float32() == v {
			coarse++
		}
	}
	require.Less(t, coarse, 120, "of 1200 values of a weight's gradient")
}

// Which types rules take and give. b is bfloat16, f float32.
func TestTypesOfRules(t *testing.T) {
	const b, f = BFloat16, Float32
	type types = []Precision
	for _, c := range []struct {
		rule  Typer
		in    types
		takes types
		gives Precision
	}{
		// Products take b and give it; a bias is f, and so is the gradient of a weight.
		{linear{Bias: true}, types{f, f, f}, types{b, b, f}, b},
		{linear{}, types{b, f}, types{b, b}, b},
		{linearInputGrad{}, types{f, f}, types{b, b}, b},
		{linearWeightGrad{}, types{f, b}, types{b, b}, f},
		{columnSums{}, types{f}, types{b}, f},
		{conv2D{Bias: true}, types{f, f, f}, types{b, b, f}, b},
		{convInputGrad{}, types{f, f}, types{b, b}, b},
		{convWeightGrad{}, types{f, f}, types{b, b}, f},
		{attention{Masked: true}, types{f, f, f, f}, types{b, b, b, f}, b},
		{attentionGrad{Masked: true}, types{b, b, b, f, f}, types{b, b, b, f, b}, b},
		{attentionGrad{}, types{b, b, b, f}, types{b, b, b, b}, b},
		// A norm's parameters and their gradients are f.
		{norm{}, types{f, f, f}, types{b, f, f}, b},
		{normInputGrad{}, types{b, f, f, f}, types{b, f, f, b}, b},
		{normParamGrad{}, types{b, f, f, b}, types{b, f, f, b}, f},
		// A table is not converted as a whole; ids and indices are f.
		{embedding{}, types{f, f}, types{f, f}, b},
		{embeddingGrad{}, types{b, f}, types{b, f}, f},
		{gatherRows{}, types{b, f}, types{b, f}, b},
		{gatherRowsGrad{}, types{f, f}, types{f, f}, f},
		// Sums are f.
		{sumAll{}, types{b}, types{b}, f},
		{sumAxis{}, types{b}, types{b}, f},
		{spread{}, types{b, f}, types{b, f}, b},
	} {
		takes, gives := c.rule.Types(b, c.in)
		require.Equal(t, c.takes, takes, "%T", c.rule)
		require.Equal(t, c.gives, gives, "%T", c.rule)
	}
	// Others follow what they are given.
	for _, rule := range []Typer{
		unary{}, unaryGrad{}, geglu{}, gegluGrad{}, add{}, sub{}, mul{}, scale{}, sum{}, concat{},
		slice{}, pad{}, unview{}, repeat{}, addRepeated{},
		upsample{}, upsampleGrad{}, averagePool{}, averagePoolGrad{},
	} {
		for _, c := range []struct{ in, takes types }{
			{types{f, f}, types{f, f}}, {types{f, b}, types{b, b}}, {types{b, b}, types{b, b}},
		} {
			takes, gives := rule.Types(b, c.in)
			require.Equal(t, c.takes, takes, "%T", rule)
			require.Equal(t, c.takes[0], gives, "%T", rule)
		}
	}
	// Losses, and what needs all of float32, know nothing else.
	for _, rule := range []Rule{
		mse{}, mseGrad{}, l1{}, l1Grad{}, crossEntropy{}, crossEntropyGrad{}, l2Normalize{},
		l2NormalizeGrad{}, timestepEmbedding{},
	} {
		_, ok := rule.(Typer)
		require.False(t, ok, "%T", rule)
	}
}

// Attention in a machine of BFloat16 is that of package cpu to bfloat16 values.
func TestAttentionInBFloat16(t *testing.T) {
	const lq, lk, heads, d = 9, 20, 2, 8
	g := gorgonia.NewGraph()
	q, dout := variable(g, "q", 1, lq, heads*d), variable(g, "dout", 1, lq, heads*d)
	k, v := variable(g, "k", 1, lk, heads*d), variable(g, "v", 1, lk, heads*d)
	y, err := Attention(q, k, v, AttentionOptions{Heads: heads})
	require.NoError(t, err)
	packed, err := Apply(attentionGrad{Heads: heads}, q, k, v, dout)
	require.NoError(t, err)
	m, err := NewMachine(g, Config{Want: gorgonia.Nodes{y, packed}, Precision: BFloat16})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())

	s := cpu.AttentionShape{N: 1, Heads: heads, Lq: lq, Lk: lk, D: d}
	in := func(n *gorgonia.Node) (half []uint16) {
		half = make([]uint16, n.Shape().TotalSize())
		cpu.ToBF16s(nil, half, n.Value().(*tensor.Dense).Float32s())
		return half
	}
	out, grads := make([]uint16, lq*heads*d), make([]uint16, (lq+2*lk)*heads*d)
	ws := make([]float32, s.WorkspaceBF16(nil))
	cpu.AttentionBF16(nil, s, out, in(q), in(k), in(v), nil, ws)
	dq, dk, dv := grads[:lq*heads*d], grads[lq*heads*d:(lq+lk)*heads*d], grads[(lq+lk)*heads*d:]
	cpu.AttentionGradBF16(nil, s, dq, dk, dv, in(q), in(k), in(v), nil, in(dout), ws)
	for n, want := range map[*gorgonia.Node][]uint16{y: out, packed: grads} {
		for i, x := range m.Value(n).Float32s() {
			require.Equal(t, cpu.FromBF16(want[i]), x)
		}
	}
}

// In a Float32 machine nothing is converted, whatever rules could do.
func TestFloat32ConvertsNothing(t *testing.T) {
	g, want, _ := small(t)
	m, err := NewMachine(g, Config{Want: want})
	require.NoError(t, err)
	defer m.Close()
	require.Zero(t, m.Plan().Conversions)
}

func TestMachinesOfBFloat16(t *testing.T) {
	g, want, nodes := small(t)
	_, err := NewMachine(g, Config{Want: want, Precision: Float16})
	require.ErrorContains(t, err, "computes in float32 or bfloat16, not float16")
	sgd := &descent{rate: 0.1, order: make([]*tensor.Dense, 0, 1000)}
	m, err := NewMachine(g, Config{
		Want: want[:1], Precision: BFloat16, WatchNaN: true, Profile: true,
		Updates: []Update{{nodes["w"], nodes["dw"], sgd}, {nodes["b"], nodes["db"], sgd}},
	})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	before := m.Scalar(nodes["loss"])
	require.Zero(t, testing.AllocsPerRun(10, func() { err = m.RunAll() }))
	require.NoError(t, err)
	require.Less(t, m.Scalar(nodes["loss"]), before)

	// What is too large for bfloat16 is found in it, and named.
	b := nodes["b"].Value().(*tensor.Dense).Float32s()
	b[7] = math.MaxFloat32
	err = m.RunAll()
	require.ErrorContains(t, err, "linear")
	require.ErrorContains(t, err, "value 7 is +Inf")
}

// doubled is 2x in the type that x has, by a body for each.
type doubled struct{ Wrong string }

func (doubled) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (doubled) Differentiable(int) []bool                     { return []bool{false} }
func (doubled) Eval(_ *Context, dst Tensor, in []Tensor) {
	for i, x := range in[0].Data {
		dst.Data[i] = 2 * x
	}
}

func (doubled) EvalTyped(c *Context, dst Tensor, in []Tensor) {
	if c.Precision() != BFloat16 || len(c.Workspace()) > 0 {
		panic("not the context of a bfloat16 machine that widens nothing")
	}
	for i, x := range in[0].BF16 {
		dst.BF16[i] = NewBF16(2*x.Float32() + 1024) // shows that it was here
	}
}

func (d doubled) Types(_ Precision, in []Precision) ([]Precision, Precision) {
	switch d.Wrong {
	case "type":
		return in, Float16
	case "number":
		return nil, BFloat16
	}
	return in, in[0]
}

func (doubled) Grad(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return gorgonia.Nodes{nil}, nil
}

// EvalTyped is called where a tensor is bfloat16, and Eval where none is. Types that no machine has
// are refused.
func TestTypedEvaler(t *testing.T) {
	g := gorgonia.NewGraph()
	x := variable(g, "x", 100)
	xs := x.Value().(*tensor.Dense).Float32s()
	whole, err := Apply(doubled{}, x)
	require.NoError(t, err)
	half, err := Apply(pressed{BFloat16}, x)
	require.NoError(t, err)
	half, err = Apply(doubled{}, half)
	require.NoError(t, err)
	m, err := NewMachine(g, Config{Want: gorgonia.Nodes{whole, half}, Precision: BFloat16})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	for i, x := range xs {
		require.Equal(t, 2*x, m.Value(whole).Float32s()[i])
		rounded := NewBF16(2*NewBF16(x).Float32() + 1024).Float32()
		require.Equal(t, rounded, m.Value(half).Float32s()[i])
	}
	for _, wrong := range []string{"type", "number"} {
		n, err := Apply(doubled{Wrong: wrong}, x)
		require.NoError(t, err)
		_, err = NewMachine(g, Config{Want: gorgonia.Nodes{n}, Precision: BFloat16})
		require.ErrorContains(t, err, "for its 1 inputs and gives", wrong)
	}
}

// The float32 copies for a rule lie apart from each other and from what the rule asks for itself.
// All of it is within the machine's workspace.
func TestWidenedCopies(t *testing.T) {
	g := gorgonia.NewGraph()
	x, y := variable(g, "x", 101), variable(g, "y", 101)
	px, err := Apply(pressed{BFloat16}, x)
	require.NoError(t, err)
	py, err := Apply(pressed{BFloat16}, y)
	require.NoError(t, err)
	z, err := Apply(blend{}, px, py) // wants a workspace of as many values as x has
	require.NoError(t, err)
	m, err := NewMachine(g, Config{Want: gorgonia.Nodes{z}, Precision: BFloat16})
	require.NoError(t, err)
	defer m.Close()
	require.EqualValues(t, 4*align(4*101), m.Plan().Workspace)
	require.NoError(t, m.RunAll())
	b := func(x float32) float32 { return NewBF16(x).Float32() }
	xs, ys := x.Value().(*tensor.Dense).Float32s(), y.Value().(*tensor.Dense).Float32s()
	for i, got := range m.Value(z).Float32s() {
		u, v := b(xs[i]), b(ys[i])
		require.InDelta(t, b(0.5*u+0.4*v+0.1*u*v), got, 0x1p-7*math.Abs(float64(got)))
	}
}

// A result overwrites an input of its own type only. Here four values are bfloat16 and float32 in
// turns, and each is computed from the one before. Two neighbours live at a time.
func TestInPlaceOfOneType(t *testing.T) {
	g := gorgonia.NewGraph()
	n := variable(g, "x", 1000)
	for _, to := range []Precision{BFloat16, Float32, BFloat16, Float32} {
		var err error
		n, err = Apply(pressed{to}, n)
		require.NoError(t, err)
	}
	const half, whole = 2048, 4032 // 2000 and 4000, aligned
	m, err := NewMachine(g, Config{Want: gorgonia.Nodes{n}, Precision: BFloat16})
	require.NoError(t, err)
	defer m.Close()
	require.EqualValues(t, half+whole, m.Plan().Live)
	require.EqualValues(t, half+whole, m.Plan().Activations)
	p, err := newProgram(g, gorgonia.Nodes{n}, gorgonia.Nodes{n}, BFloat16)
	require.NoError(t, err)
	// Without need nothing but what is overwritten is dropped: here nothing is.
	require.Equal(t, half+whole+half, p.peak(p.order(), p.kept(nil)))
}
