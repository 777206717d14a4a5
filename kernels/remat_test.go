package kernels

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"
)

// blend is 0.5·x + 0.4·y + 0.1·x·y. It is within ±1 if x and y are. Its gradients read both
// inputs.
type blend struct{}

func (blend) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (blend) Workspace(c *Context, in []tensor.Shape) int   { return 4 * in[0].TotalSize() }
func (blend) Differentiable(int) []bool                     { return []bool{true, true} }

func (blend) Types(_ Precision, in []Precision) ([]Precision, Precision) { return alike(in) }

func (blend) Eval(c *Context, dst Tensor, in []Tensor) {
	ws := c.Workspace()
	copy(ws, in[0].Data)
	for i, y := range in[1].Data {
		dst.Data[i] = 0.5*ws[i] + 0.4*y + 0.1*ws[i]*y
	}
}
func (blend) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(blendGrad{0.5}, in[1], dout)
	if err != nil {
		return nil, err
	}
	dy, err := Apply(blendGrad{0.4}, in[0], dout)
	return gorgonia.Nodes{dx, dy}, err
}

// blendGrad is (a + 0.1·other)·dy.
type blendGrad struct{ A float32 }

func (blendGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }
func (blendGrad) Differentiable(int) []bool                     { return []bool{false, false} }
func (g blendGrad) Eval(_ *Context, dst Tensor, in []Tensor) {
	for i, x := range in[0].Data {
		dst.Data[i] = (g.A + 0.1*x) * in[1].Data[i]
	}
}
func (blendGrad) Grad(in gorgonia.Nodes, _, _ *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, len(in)), nil
}

// total is Σ x, a scalar, and fill its gradient.
type total struct{}

func (total) Shape([]tensor.Shape) (tensor.Shape, error) { return tensor.ScalarShape(), nil }
func (total) Differentiable(int) []bool                  { return []bool{true} }
func (total) Eval(_ *Context, dst Tensor, in []Tensor) {
	dst.Data[0] = 0
	for _, x := range in[0].Data {
		dst.Data[0] += x
	}
}
func (total) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := Apply(fill{in[0].Shape().TotalSize()}, dout)
	return gorgonia.Nodes{dx}, err
}

type fill struct{ N int }

func (f fill) Shape([]tensor.Shape) (tensor.Shape, error) { return tensor.Shape{f.N}, nil }
func (fill) Differentiable(int) []bool                    { return []bool{false} }
func (fill) Eval(_ *Context, dst Tensor, in []Tensor) {
	for i := range dst.Data {
		dst.Data[i] = in[0].Data[0]
	}
}
func (fill) Grad(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return gorgonia.Nodes{nil}, nil
}

// stacked is a chain of depth layers, with a skip connection from each layer to its mirror image.
// It is like a UNet.
func stacked(
	t testing.TB, depth, n int,
) (g *gorgonia.ExprGraph, loss *gorgonia.Node, params gorgonia.Nodes) {
	g = gorgonia.NewGraph()
	h := variable(g, "x", n)
	var skips gorgonia.Nodes
	for i := range depth {
		w := variable(g, fmt.Sprint("w", i), n)
		params = append(params, w)
		var err error
		if i < depth/2 {
			skips = append(skips, h)
		} else if len(skips) > 0 {
			h, err = Apply(blend{}, h, skips[len(skips)-1])
			require.NoError(t, err)
			skips = skips[:len(skips)-1]
		}
		h, err = Apply(blend{}, h, w)
		require.NoError(t, err)
		h, err = Apply(square{}, h)
		require.NoError(t, err)
	}
	loss, err := Apply(total{}, h)
	require.NoError(t, err)
	return g, loss, params
}

func TestBudget(t *testing.T) {
	g, loss, params := stacked(t, 40, 1000)
	grads, err := gorgonia.Grad(loss, params...)
	require.NoError(t, err)
	want := append(gorgonia.Nodes{loss}, grads...)
	run := func(budget int64) ([][]uint32, Plan) {
		m, err := NewMachine(g, Config{Want: want, ActivationBytes: budget})
		require.NoError(t, err)
		defer m.Close()
		require.NoError(t, m.RunAll())
		var bits [][]uint32
		for _, n := range want {
			bits = append(bits, valueBits(m.Value(n)))
		}
		return bits, m.Plan()
	}
	base, plan := run(0)
	for _, bits := range base {
		require.NotZero(t, bits[0]&0x7f800000, "a value is zero")
		require.NotEqual(t, uint32(0x7f800000), bits[0]&0x7f800000, "a value is not finite")
	}
	require.Zero(t, plan.Recomputed)
	for _, percent := range []int64{100, 75, 50, 25} {
		budget := plan.Activations * percent / 100
		got, p := run(budget)
		require.Equal(t, base, got)
		require.LessOrEqual(t, p.Activations, budget)
		require.Equal(t, percent < 100, p.Recomputed > 0)
		require.Less(t, float64(p.Arena), 1.1*float64(p.Live))
	}
	_, err = NewMachine(g, Config{Want: want, ActivationBytes: 8000})
	require.ErrorContains(t, err, "the least that can be met")
}
