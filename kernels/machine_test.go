package kernels

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// square is x², a rule for these tests.
type square struct{}

func (square) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (square) InPlace() int                                  { return 0 }
func (square) Differentiable(int) []bool                     { return []bool{true} }

func (square) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (square) Eval(_ *Context, dst Tensor, in []Tensor) {
	for i, x := range in[0].Data {
		dst.Data[i] = x * x
	}
}
func (square) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(squareGrad{}, in[0], dout)
	return gorgonia.Nodes{dx}, err
}

// squareGrad is 2·x·dy.
type squareGrad struct{}

func (squareGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (squareGrad) InPlace() int                                  { return 1 }
func (squareGrad) Differentiable(int) []bool                     { return []bool{false, false} }
func (squareGrad) Eval(_ *Context, dst Tensor, in []Tensor) {
	for i, x := range in[0].Data {
		dst.Data[i] = 2 * x * in[1].Data[i]
	}
}
func (squareGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// ramp returns n values between -1 and 1 that look random.
func ramp(n int, seed float64) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(math.Sin(float64(i+1)*(seed+1.7)) * math.Cos(float64(i)*0.37+seed))
	}
	return x
}

// variable adds an input with a value.
func variable(g *gorgonia.ExprGraph, name string, shape ...int) *gorgonia.Node {
	data := ramp(tensor.Shape(shape).TotalSize(), float64(len(g.AllNodes())))
	v := tensor.New(tensor.WithShape(shape...), tensor.WithBacking(data))
	return gorgonia.NewTensor(
		g, tensor.Float32, len(shape),
		gorgonia.WithShape(shape...), gorgonia.WithName(name), gorgonia.WithValue(v),
	)
}

// mixed builds a small network of gorgonia's operations and ours, and returns its loss and
// parameters.
func mixed(t *testing.T) (g *gorgonia.ExprGraph, loss *gorgonia.Node, params gorgonia.Nodes) {
	g = gorgonia.NewGraph()
	x := variable(g, "x", 3, 4)
	w1, w2, b := variable(g, "w1", 4, 5), variable(g, "w2", 5, 5), variable(g, "b", 3, 5)
	must := func(n *gorgonia.Node, err error) *gorgonia.Node {
		require.NoError(t, err)
		return n
	}
	h := must(gorgonia.Add(must(gorgonia.Mul(x, w1)), b))
	h = must(Apply(square{}, must(gorgonia.Tanh(h))))
	r := must(gorgonia.Mul(h, w2))
	h = must(gorgonia.Add(h, must(gorgonia.Sigmoid(r))))
	squares := must(gorgonia.Sum(must(Apply(square{}, h))))
	mean := must(gorgonia.Mean(must(gorgonia.HadamardProd(r, h))))
	loss = must(gorgonia.Add(squares, mean))
	return g, loss, gorgonia.Nodes{w1, w2, b, x}
}

func valueBits(v gorgonia.Value) []uint32 {
	var data []float32
	switch v := v.(type) {
	case *gorgonia.F32:
		data = []float32{float32(*v)}
	case *tensor.Dense:
		data = v.Float32s()
	}
	bits := make([]uint32, len(data))
	for i, x := range data {
		bits[i] = math.Float32bits(x)
	}
	return bits
}

func TestMachineAgreesWithTapeMachine(t *testing.T) {
	g, loss, params := mixed(t)
	grads, err := gorgonia.Grad(loss, params...)
	require.NoError(t, err)
	want := append(gorgonia.Nodes{loss}, grads...)

	m, err := NewMachine(g, Config{Want: want})
	require.NoError(t, err)
	defer m.Close()
	var got [][]uint32
	for range 3 { // what one run leaves in the arena must not matter to the next
		require.NoError(t, m.RunAll())
		got = nil
		for _, n := range want {
			v := m.Value(n)
			require.True(t, n.Shape().Eq(v.Shape()), "%v %v", n.Shape(), v.Shape())
			got = append(got, valueBits(v))
		}
	}

	read := make([]gorgonia.Value, len(want))
	for i, n := range want {
		gorgonia.Read(n, &read[i])
	}
	tape := gorgonia.NewTapeMachine(g)
	defer tape.Close()
	require.NoError(t, tape.RunAll())
	for i, n := range want {
		require.Equal(t, valueBits(read[i]), got[i], fmt.Sprintf("%d: %s", i, n.Name()))
	}
	_, err = NewMachine(g, Config{Want: want})
	require.ErrorContains(t, err, "gorgonia.Read is not supported")
}
