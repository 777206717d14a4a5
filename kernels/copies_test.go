package kernels

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// A keeping is a layer, and what machines say of it.
type keeping struct {
	x, w, b *tensor.Dense
	g       *gorgonia.ExprGraph
	y       *gorgonia.Node
}

func newKeeping(t *testing.T) *keeping {
	k := &keeping{x: stairs(3, 6), w: stairs(4, 6), b: stairs(4), g: gorgonia.NewGraph()}
	var err error
	k.y, err = Linear(Input(k.g, "x", k.x), Param(k.g, k.w), Param(k.g, k.b))
	require.NoError(t, err)
	return k
}

// stairs is a tensor of different values.
func stairs(shape ...int) *tensor.Dense {
	x := tensor.New(tensor.WithShape(shape...), tensor.Of(tensor.Float32))
	for i, data := 0, x.Float32s(); i < len(data); i++ {
		data[i] = 1 + float32(i)/8
	}
	return x
}

// machine evaluates the layer. It is closed at the end, if not before.
func (k *keeping) machine(t *testing.T, c Config) *Machine {
	c.Want = gorgonia.Nodes{k.y}
	m, err := NewMachine(k.g, c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, m.Close()) })
	return m
}

// says is what m computes now.
func (k *keeping) says(t *testing.T, m *Machine) []float32 {
	require.NoError(t, m.RunAll())
	return append([]float32(nil), m.Value(k.y).Float32s()...)
}

var copying = Config{Precision: BFloat16, ConstantParameters: true}

// Copies of constant parameters are rounded once, until somebody says that they have changed.
func TestConstantParameters(t *testing.T) {
	k := newKeeping(t)
	plain := k.machine(t, Config{Precision: BFloat16})
	one := k.machine(t, copying)
	c := copying
	c.Want = gorgonia.Nodes{k.y}
	two, err := NewMachine(k.g, c) // which is forgotten
	require.NoError(t, err)
	first := k.says(t, plain)
	require.Equal(t, first, k.says(t, one))
	require.Equal(t, first, k.says(t, two))
	require.Equal(t, plain.Plan().Conversions-1, one.Plan().Conversions)
	require.Equal(t, plain.Plan().Weights+4*6*2, one.Plan().Weights) // the layer adds b in float32
	require.EqualValues(t, 1, roundedCopies.n.Load())

	k.w.Float32s()[7] = 100
	second := k.says(t, plain)
	require.NotEqual(t, first, second)
	require.Equal(t, first, k.says(t, one)) // nobody has said so
	require.NoError(t, Refresh(k.b))
	require.Equal(t, first, k.says(t, one))
	require.NoError(t, Refresh(k.w))
	require.Equal(t, second, k.says(t, one))
	require.Equal(t, second, k.says(t, two))

	// A new machine sees what has changed before it was made.
	k.w.Float32s()[8] = 50
	newer := k.machine(t, copying)
	second = k.says(t, plain)
	require.Equal(t, second, k.says(t, newer))
	require.NoError(t, newer.Close())

	// What a machine changes, another one sees, even if its update fails.
	for _, fails := range []bool{false, true} {
		by := &halving{fails: fails}
		trains, err := NewMachine(k.g, Config{
			Updates: []Update{{Param(k.g, k.w), Param(k.g, k.w), by}}, Precision: BFloat16,
		})
		require.NoError(t, err)
		require.Equal(t, fails, trains.RunAll() != nil)
		require.NoError(t, trains.Close())
		third := k.says(t, plain)
		require.NotEqual(t, second, third)
		require.Equal(t, third, k.says(t, one))
		second = third
	}

	require.NoError(t, one.Close())
	require.Equal(t, second, k.says(t, two))
	two.Cleanup()()
	require.Zero(t, roundedCopies.n.Load())
	require.Empty(t, roundedCopies.all)
}

// A halving halves a parameter, and then fails if it is to.
type halving struct{ fails bool }

func (h *halving) Update(param, _ *tensor.Dense) error {
	for i, data := 0, param.Float32s(); i < len(data); i++ {
		data[i] /= 2
	}
	if h.fails {
		return errors.New("no")
	}
	return nil
}

// Parameters that the machine itself changes are not constant, and nothing is kept in float32.
func TestParametersThatAreNotConstant(t *testing.T) {
	k := newKeeping(t)
	sum := gorgonia.Must(gorgonia.Sum(k.y))
	grads, err := gorgonia.Grad(sum, Param(k.g, k.w))
	require.NoError(t, err)
	c := copying
	c.Updates = []Update{{Param(k.g, k.w), grads[0], &halving{}}}
	m := k.machine(t, c)
	require.Zero(t, roundedCopies.n.Load())
	first := k.says(t, m)
	require.NotEqual(t, first, k.says(t, m))
	c = copying
	c.Precision = Float32
	whole := k.machine(t, c)
	require.Zero(t, roundedCopies.n.Load())
	require.Equal(t, k.machine(t, Config{}).Plan(), whole.Plan())
}

// Without room for copies there are none.
func TestConstantParametersWithoutRoom(t *testing.T) {
	k := newKeeping(t)
	var asked []int64
	c := copying
	c.Room = func(bytes int64) error {
		if asked = append(asked, bytes); len(asked) == 1 {
			return errors.New("full")
		}
		return nil
	}
	m := k.machine(t, c)
	require.Zero(t, roundedCopies.n.Load())
	require.Len(t, asked, 2)
	require.Equal(t, m.Plan().Arena+m.Plan().Workspace, asked[1])
	copies := k.machine(t, copying)
	require.Equal(t, copies.Plan().Arena+copies.Plan().Workspace+4*6*2, asked[0])

	// Where the other memory is another machine's, the copies still need room.
	c.Share, asked = k.machine(t, Config{Precision: BFloat16}), nil
	shares := k.machine(t, c)
	require.Equal(t, []int64{4 * 6 * 2}, asked)
	require.Equal(t, m.Plan().Weights, shares.Plan().Weights)
	require.Equal(t, k.says(t, k.machine(t, Config{Precision: BFloat16})), k.says(t, m))
}

// A layer may use a part of a parameter.
func TestPartsOfConstantParameters(t *testing.T) {
	k := newKeeping(t)
	rows, err := Slice(Param(k.g, k.w), 0, 2, 4)
	require.NoError(t, err)
	k.y, err = Linear(Input(k.g, "x", k.x), rows, nil)
	require.NoError(t, err)
	m := k.machine(t, copying)
	require.EqualValues(t, 1, roundedCopies.n.Load())
	require.Equal(t, k.says(t, k.machine(t, Config{Precision: BFloat16})), k.says(t, m))
}

func TestConstantParametersStayBound(t *testing.T) {
	k := newKeeping(t)
	m := k.machine(t, copying)
	require.NoError(t, gorgonia.Let(Param(k.g, k.w), stairs(4, 6)))
	require.ErrorContains(t, m.RunAll(), "was bound to another tensor after NewMachine")
}

// Machines come and go while another one runs with the same copy.
func TestConstantParametersAtOnce(t *testing.T) {
	k := newKeeping(t)
	want := k.says(t, k.machine(t, Config{Precision: BFloat16}))
	// Each machine has a graph of its own.
	machine := func() (*Machine, *gorgonia.Node) {
		g := gorgonia.NewGraph()
		y, err := Linear(Input(g, "x", k.x), Param(g, k.w), Param(g, k.b))
		require.NoError(t, err)
		c := copying
		c.Want = gorgonia.Nodes{y}
		m, err := NewMachine(g, c)
		require.NoError(t, err)
		return m, y
	}
	reads, said := machine()
	stop, stopped := make(chan struct{}), make(chan error)
	go func() {
		for { // once at least, however late it begins
			if err := reads.RunAll(); err != nil {
				stopped <- err
				return
			}
			select {
			case <-stop:
				stopped <- nil
				return
			default:
			}
		}
	}()
	for range 50 {
		m, y := machine()
		require.NoError(t, m.RunAll())
		require.Equal(t, want, m.Value(y).Float32s())
		require.NoError(t, m.Close())
	}
	close(stop)
	require.NoError(t, <-stopped)
	require.Equal(t, want, reads.Value(said).Float32s())
	require.NoError(t, reads.Close())
	require.Zero(t, roundedCopies.n.Load())
}

// A weighted is 2·x for a parameter x. It takes x in bfloat16.
type weighted struct{ doubled }

func (weighted) Types(p Precision, _ []Precision) ([]Precision, Precision) {
	return []Precision{p}, p
}

func (weighted) EvalTyped(_ *Context, dst Tensor, in []Tensor) {
	for i, x := range in[0].BF16 {
		dst.BF16[i] = NewBF16(x.Float32() * float32(in[0].Type.Size()))
	}
}

// A rule sees that what it gets of a kept copy is bfloat16.
func TestTypeOfConstantParameters(t *testing.T) {
	k := newKeeping(t)
	var err error
	k.y, err = Apply(weighted{}, Param(k.g, k.w))
	require.NoError(t, err)
	for i, x := range k.says(t, k.machine(t, copying)) {
		require.Equal(t, 2*k.w.Float32s()[i], x)
	}
}
