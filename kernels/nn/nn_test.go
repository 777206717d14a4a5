package nn

import (
	"encoding/json"
	"errors"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
)

// A network has one of everything, under names as checkpoints have them.
type network struct {
	Tokens    *Embedding `weight:"token_embedding"`
	Positions *Embedding `weight:"position_embedding"`
	Patches   *Conv2D    `weight:"patch_embedding"`
	Time      *Linear    `weight:"time_embedding.linear_1"`
	Blocks    []block    `weight:"blocks"`
	Norm      *GroupNorm `weight:"norm"`
	Free      *Linear    `weight:"free"`

	Class *tensor.Dense `weight:"class_embedding"`
	Bare  *tensor.Dense `weight:"bare"`
}

type block struct {
	Linear *Linear    `weight:"proj"`
	Conv   *Conv2D    `weight:"conv"`
	Norm   *LayerNorm `weight:"norm"`
}

func newNetwork() *network {
	n := &network{
		Tokens:    NewEmbedding(100, 64),
		Positions: NewEmbedding(50, 64),
		Patches:   NewConv2D(3, 64, 4, 4, false),
		Time:      NewLinear(100, 80, true),
		Norm:      NewGroupNorm(16, 4, 1e-5),
		Free:      NewLinear(10, 20, false),
		Class:     zeros(2000),
		Bare:      zeros(40, 5, 6),
	}
	for range 2 {
		n.Blocks = append(n.Blocks, block{
			Linear: NewLinear(400, 50, true),
			Conv:   NewConv2D(16, 32, 3, 1, true),
			Norm:   NewLayerNorm(24, 1e-5),
		})
	}
	return n
}

func TestNames(t *testing.T) {
	var names []string
	for _, p := range Parameters(newNetwork()) {
		names = append(names, p.Name)
	}
	require.Equal(t, []string{
		"token_embedding.weight", "position_embedding.weight", "patch_embedding.weight",
		"time_embedding.linear_1.weight", "time_embedding.linear_1.bias",
		"blocks.0.proj.weight", "blocks.0.proj.bias",
		"blocks.0.conv.weight", "blocks.0.conv.bias",
		"blocks.0.norm.weight", "blocks.0.norm.bias",
		"blocks.1.proj.weight", "blocks.1.proj.bias",
		"blocks.1.conv.weight", "blocks.1.conv.bias",
		"blocks.1.norm.weight", "blocks.1.norm.bias",
		"norm.weight", "norm.bias", "free.weight", "class_embedding", "bare",
	}, names)
}

// Every tensor of a model is drawn as Init says, which is what PyTorch says. n values have the
// mean's and the variance's standard errors σ/√n and, for an even distribution, σ²·√(0.8/n), for a
// normal one σ²·√(2/n).
func TestInit(t *testing.T) {
	n := newNetwork()
	for _, p := range Parameters(n) {
		for i := range p.Value.Float32s() {
			p.Value.Float32s()[i] = 7 // what was there before must not show
		}
	}
	Init(n, 1)
	even := func(what string, d *tensor.Dense, fanIn int) {
		bound := 1 / math.Sqrt(float64(fanIn))
		x := d.Float32s()
		largest := 0.0
		for _, v := range x {
			largest = max(largest, math.Abs(float64(v)))
		}
		require.LessOrEqual(t, largest, bound*(1+1e-6), what)
		require.Greater(t, largest, bound*(1-10/float64(len(x))), what)
		moments(t, what, x, bound*bound/3, 0.8)
	}
	even("time", n.Time.Weight, 100) // no table, in spite of its name
	even("patches", n.Patches.Weight, 3*4*4)
	even("free", n.Free.Weight, 10)
	for _, b := range n.Blocks {
		even("proj", b.Linear.Weight, 400)
		even("conv", b.Conv.Weight, 16*3*3)
		even("proj's bias", b.Linear.Bias, 400)
		even("conv's bias", b.Conv.Bias, 16*3*3)
		require.Equal(t, make([]float32, 24), b.Norm.Bias.Float32s())
		require.Equal(t, ones(24), b.Norm.Weight.Float32s())
	}
	moments(t, "tokens", n.Tokens.Weight.Float32s(), 1, 2)
	moments(t, "positions", n.Positions.Weight.Float32s(), 1, 2)
	even("bare", n.Bare, 30)
	sevens := slices.Repeat([]float32{7}, 2000)
	require.Equal(t, sevens, n.Class.Float32s(), "a single axis stays as it is")
	require.Equal(t, ones(16), n.Norm.Weight.Float32s())
	require.Equal(t, make([]float32, 16), n.Norm.Bias.Float32s())
	first, second := n.Blocks[0].Linear.Weight, n.Blocks[1].Linear.Weight
	require.NotEqual(t, first.Float32s(), second.Float32s(), "two layers are alike")
}

func moments(t *testing.T, what string, x []float32, variance, kurtosis float64) {
	t.Helper()
	var mean, square float64
	for _, v := range x {
		mean, square = mean+float64(v)/float64(len(x)), square+float64(v)*float64(v)/float64(len(x))
	}
	n := float64(len(x))
	require.InDelta(t, 0, mean, 5*math.Sqrt(variance/n), what)
	require.InDelta(t, variance, square, 5*variance*math.Sqrt(kurtosis/n), what)
}

func ones(n int) []float32 {
	out := make([]float32, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

// outer is an Initializer that holds one.
type outer struct {
	Inner *inner  `weight:"inner"`
	Free  *Linear `weight:"free"`
}

type inner struct {
	First  *Linear `weight:"first"`
	Second *Linear `weight:"second"`
}

func (m *inner) InitWeights(rand func(name string) *rand.Rand) {
	Normal(m.First.Weight, 1, rand("first.weight"))
	clear(m.Second.Weight.Float32s())
}

func (m *outer) InitWeights(rand func(name string) *rand.Rand) {
	// This is the name that inner has for another tensor.
	Normal(m.Inner.Second.Weight, 1, rand("inner.first.weight"))
}

// Initializers draw over what Init has drawn, the outer over the inner, from sources that the whole
// name decides.
func TestInitializers(t *testing.T) {
	m := &outer{&inner{NewLinear(30, 4, true), NewLinear(30, 4, true)}, NewLinear(10, 20, false)}
	Init(m, 1)
	require.Equal(t, m.Inner.First.Weight.Float32s(), m.Inner.Second.Weight.Float32s())
	moments(t, "first", m.Inner.First.Weight.Float32s(), 1, 2)
	require.NotZero(t, m.Inner.First.Bias.Float32s()[0], "Init's own draw stays")
	n := newNetwork()
	Init(n, 1)
	require.Equal(t, n.Free.Weight.Float32s(), m.Free.Weight.Float32s())
}

// A model comes back from its file as it was; an error says all that does not fit.
func TestSaveAndLoad(t *testing.T) {
	file := filepath.Join(t.TempDir(), "m.safetensors")
	n, read := newNetwork(), newNetwork()
	Init(n, 3)
	require.NoError(t, Save(file, n, 0))
	require.NoError(t, Load(file, read))
	require.Equal(t, Parameters(n), Parameters(read))

	require.NoError(t, Save(file, n, kernels.BFloat16))
	require.NoError(t, Load(file, read))
	require.InDeltaSlice(t, n.Free.Weight.Float32s(), read.Free.Weight.Float32s(), 1.0/256)
	require.NotEqual(t, n.Free.Weight.Float32s(), read.Free.Weight.Float32s())

	other := newNetwork()
	other.Class, other.Free = nil, NewLinear(11, 20, true)
	err := Load(file, other)
	for _, want := range []string{
		"nn: weights: " + file + " does not fit", "class_embedding is not a tensor of this model",
		"free.bias is missing", "free.weight is [20 10], not [20 11]",
	} {
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, Load(file+"x", n), "nn: weights: open ")
	n.Free.Attach(n.Free.NewLowRank(1))
	require.ErrorContains(t, Save(file, n, kernels.Float32), "free has a low-rank adapter")
}

// A clone has the values and none of the memory.
func TestClone(t *testing.T) {
	n := newNetwork()
	Init(n, 3)
	shared := NewLinear(2, 2, false)
	m := map[string]any{
		"n": n, "twice": []Layer{shared, shared, nil}, "list": [1]*Linear{NewLinear(1, 1, true)},
		"nothing": nil, "absent": (*Linear)(nil),
	}
	p := shared.NewLowRank(1)
	shared.Attach(p)
	_, err := Clone(m)
	require.ErrorContains(t, err, "twice.0 has a low-rank adapter")
	shared.Detach(p)
	c, err := Clone(m)
	require.NoError(t, err)
	require.Equal(t, Parameters(m), Parameters(c))
	for i, q := range Parameters(c) {
		require.NotSame(t, Parameters(m)[i].Value, q.Value)
		for k := range q.Value.Float32s() {
			q.Value.Float32s()[k]++
		}
	}
	twice := c["twice"].([]Layer)
	require.Same(t, twice[0], twice[1])
	require.NotSame(t, Layer(shared), twice[0])
	fresh := newNetwork()
	Init(fresh, 3)
	require.Equal(t, Parameters(fresh), Parameters(n), "the original is as it was")
	require.Equal(t, n.Norm.Groups, c["n"].(*network).Norm.Groups)

	// An adapter of one is not the other's, in the memory that a detached one leaves behind either.
	shared.Attach(p)
	require.False(t, twice[0].Attached())
	twice[0].Attach(shared.NewLowRank(2))
	require.Same(t, p, shared.adapters[0])

	l, err := Clone(n.Free)
	require.NoError(t, err)
	require.Equal(t, n.Free.Weight.Float32s(), l.Weight.Float32s())
}

// A tensor's values come from the seed and its name, not from what else is in the model.
func TestInitIsPure(t *testing.T) {
	a, b := newNetwork(), newNetwork()
	Init(a, 1)
	Init(b, 1)
	require.Equal(t, weights.Hash(a), weights.Hash(b))
	alone := &struct {
		Free *Linear `weight:"free"`
	}{NewLinear(10, 20, false)}
	Init(alone, 1)
	require.Equal(t, a.Free.Weight.Float32s(), alone.Free.Weight.Float32s())
	Init(b, 2)
	require.NotEqual(t, a.Free.Weight.Float32s(), b.Free.Weight.Float32s())
	require.NotEqual(t, a.Tokens.Weight.Float32s(), b.Tokens.Weight.Float32s())
}

// A pass adds operations on x to a graph.
type pass func(b *Builder, x *gorgonia.Node) *gorgonia.Node

// forward runs a pass on an input.
func forward(t *testing.T, x *tensor.Dense, f pass) *tensor.Dense {
	t.Helper()
	g := gorgonia.NewGraph()
	in := kernels.Input(g, "x", x)
	b := On(in)
	out, err := b.Result(f(b, in))
	require.NoError(t, err)
	m, err := kernels.NewMachine(g, kernels.Config{Want: gorgonia.Nodes{out}})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	v := m.Value(out)
	return of(v.Shape().Clone(), v.Float32s()...)
}

func of(shape []int, values ...float32) *tensor.Dense {
	data := append([]float32{}, values...)
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
}

// Layers compute what they say, on numbers that one can check in the head.
func TestForward(t *testing.T) {
	l := &Linear{Weight: of([]int{2, 3}, 1, 2, 3, 4, 5, 6), Bias: of([]int{2}, 10, 20)}
	row := of([]int{1, 3}, 1, 0, -1)
	require.Equal(t, []float32{10 + 1 - 3, 20 + 4 - 6}, forward(t, row, l.Forward).Float32s())
	l.Bias = nil
	require.Equal(t, []float32{-2, -2}, forward(t, row, l.Forward).Float32s())

	e := &Embedding{of([]int{3, 2}, 1, 2, 3, 4, 5, 6)}
	require.Equal(t, []float32{5, 6, 1, 2}, forward(t, of([]int{1, 2}, 2, 0), e.Forward).Float32s())

	// The kernel picks the pixel at its left. So the image moves to the right, and a zero comes in.
	c := NewConv2D(1, 1, 3, 1, true)
	c.Weight.Float32s()[3], c.Bias.Float32s()[0] = 1, 0.5
	moved := forward(t, of([]int{1, 2, 2, 1}, 1, 2, 3, 4), c.Forward)
	require.Equal(t, tensor.Shape{1, 2, 2, 1}, moved.Shape())
	require.Equal(t, []float32{0.5, 1.5, 0.5, 3.5}, moved.Float32s())
	strided := forward(t, zeros(1, 4, 6, 2), NewConv2D(2, 5, 3, 2, false).Forward)
	require.Equal(t, tensor.Shape{1, 2, 3, 5}, strided.Shape())

	// Values 1 and 3 have the mean 2 and the variance 1.
	ln := &LayerNorm{of([]int{2}, 2, 4), of([]int{2}, 1, 1), 1e-12}
	near := func(want []float32, x *tensor.Dense, f pass) {
		t.Helper()
		require.InDeltaSlice(t, want, forward(t, x, f).Float32s(), 1e-6)
	}
	near([]float32{-1, 5}, of([]int{1, 2}, 1, 3), ln.Forward)
	gn := &GroupNorm{of([]int{2}, 2, 4), of([]int{2}, 1, 1), 2, 1e-12}
	x := of([]int{1, 2, 1, 2}, 1, 10, 3, 30) // a channel is a group, over two positions
	near([]float32{-1, -3, 3, 5}, x, gn.Forward)
	silu := func(v float64) float32 { return float32(v / (1 + math.Exp(-v))) }
	near([]float32{silu(-1), silu(-3), silu(3), silu(5)}, x, gn.ForwardSiLU)
	near([]float32{silu(-1), silu(2)}, of([]int{2}, -1, 2), silus)
	shift := func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
		time := kernels.Input(x.Graph(), "t", of([]int{1, 2}, 10, 20))
		return b.Add(b.Do(kernels.AddTime(x, time)), b.Reshape(x, 1, 2, 1, 2))
	}
	shifted := forward(t, of([]int{1, 2, 1, 2}, 1, 2, 3, 4), shift)
	require.Equal(t, []float32{12, 24, 16, 28}, shifted.Float32s())
}

func silus(b *Builder, x *gorgonia.Node) *gorgonia.Node { return b.Do(kernels.SiLU(x)) }

// A pass reports its first error. What follows that error has no effect.
func TestBuilderKeepsTheFirstError(t *testing.T) {
	g := gorgonia.NewGraph()
	x := kernels.Input(g, "x", zeros(1, 3))
	b := On(x)
	require.NoError(t, b.Err())
	require.Nil(t, b.Param(nil))
	y := NewLinear(4, 2, true).Forward(b, x) // 3 numbers, not 4
	require.Nil(t, y)
	first := b.Err()
	require.ErrorContains(t, first, "x (1, 3) and w (2, 4)")
	b.Fail(errors.New("another"))
	layers := map[string]pass{
		"linear":     NewLinear(2, 2, true).Forward,
		"conv":       NewConv2D(2, 2, 3, 1, true).Forward,
		"group norm": NewGroupNorm(2, 1, 1e-5).Forward,
		"layer norm": NewLayerNorm(2, 1e-5).Forward,
		"embedding":  NewEmbedding(2, 2).Forward,
		"silu":       silus,
		"add":        func(b *Builder, x *gorgonia.Node) *gorgonia.Node { return b.Add(x, x) },
		"many": func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Do(kernels.Concat(b.Add(x, x), b.Reshape(x, 1)))
		},
		"reshape": func(b *Builder, x *gorgonia.Node) *gorgonia.Node { return b.Reshape(x, 1) },
		"param":   func(b *Builder, x *gorgonia.Node) *gorgonia.Node { return b.Param(zeros(1)) },
		"do": func(b *Builder, x *gorgonia.Node) *gorgonia.Node {
			return b.Do(x, errors.New("another"))
		},
	}
	for name, layer := range layers {
		require.Nil(t, layer(b, y), name)
	}
	require.Equal(t, make(tensor.Shape, 4), b.Shape(y, 4))
	_, err := b.Result(x)
	require.Equal(t, first, err)
}

func TestInts(t *testing.T) {
	var c struct{ One, Many Ints }
	require.NoError(t, json.Unmarshal([]byte(`{"One": 8, "Many": [5, 10, 20]}`), &c))
	require.Equal(t, []int{8, 8}, []int{c.One.At(0), c.One.At(2)})
	require.Equal(t, []int{5, 20}, []int{c.Many.At(0), c.Many.At(2)})
	require.Error(t, json.Unmarshal([]byte(`{"One": "8"}`), &c))
	require.Error(t, json.Unmarshal([]byte(`{"Many": [1, "8"]}`), &c))
	text, err := json.Marshal(map[string]Ints{"one": {5}, "many": {1, 2}, "none": {}})
	require.NoError(t, err)
	require.JSONEq(t, `{"one": 5, "many": [1, 2], "none": []}`, string(text))
}

func TestDecodeConfig(t *testing.T) {
	type config struct {
		Width  int    `json:"width"`
		Act    string `json:"act"`
		Hidden bool   `json:"hidden,omitempty"`
		Bias   bool   `json:"bias"`
		List   Ints   `json:"list"`
	}
	type file struct {
		config
		Size Ints `json:"size"`
	}
	only := map[string][]any{"kind": {"plain", "simple"}, "drop": {0.0}, "flags": {nil, false}}
	decode := func(text string) (file, error) {
		c := file{config: config{Width: 3, Act: "silu", Bias: true, List: Ints{1, 2, 3}}}
		return c, DecodeConfig([]byte(text), &c, only)
	}
	c, err := decode(`{
		"width": 5, "hidden": true, "list": [4], "size": 7, "flags": [false, false],
		"_class_name": "x", "torch_dtype": "float16", "kind": "simple", "drop": 0.0, "other": [1]
	}`)
	require.NoError(t, err)
	require.Equal(t, file{config{5, "silu", true, true, Ints{4}}, Ints{7}}, c)
	c, err = decode(`{"hidden": null, "bias": null, "flags": null, "size": null}`)
	require.NoError(t, err, "null is false, and the default of what has none")
	require.Equal(t, file{config: config{3, "silu", false, false, Ints{1, 2, 3}}}, c)
	_, err = decode(`{"act": null, "kind": null, "flags": [false, true]}`)
	require.EqualError(t, err, "act: null is not supported\n"+
		"flags: [false, true] is not supported\n"+
		"kind: null is not supported")
	_, err = decode(`{"kind": "fancy", "drop": 0.1, "flags": 1}`)
	require.EqualError(t, err, "drop: 0.1 is not supported\n"+
		"flags: 1 is not supported\n"+
		"kind: \"fancy\" is not supported")
	for text, names := range map[string]string{
		`[`:                  "",
		`{"width": "five"}`:  "width: ",
		`{"list": [[1], 2]}`: "list: ",
	} {
		_, err = decode(text)
		require.ErrorContains(t, err, names, text)
	}
}
