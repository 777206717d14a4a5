package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// convolved runs a machine that wants a convolution of pictures of side×side, with its gradients.
func convolved(t *testing.T, side int, c Config) (results [][]float32, plan Plan) {
	t.Helper()
	g := gorgonia.NewGraph()
	x, b := variable(g, "x", 2, side, side, 32), variable(g, "b", 64)
	w := Param(g, tensor.New(tensor.WithShape(64, 3, 3, 32), tensor.Of(tensor.Float32)))
	factors := variable(g, "factors", 2, side, side, 64)
	y, err := Conv2D(x, w, b, Same(3))
	require.NoError(t, err)
	r := rand.New(rand.NewPCG(1, 2))
	for _, n := range g.AllNodes() {
		if n.Value() != nil {
			for i := range n.Value().Data().([]float32) {
				n.Value().Data().([]float32)[i] = float32(r.NormFloat64())
			}
		}
	}
	product, err := Mul(y, factors)
	require.NoError(t, err)
	loss, err := Sum(product)
	require.NoError(t, err)
	c.Want, err = gorgonia.Grad(loss, x, w, b)
	require.NoError(t, err)
	c.Want = append(c.Want, y)
	m, err := NewMachine(g, c)
	require.NoError(t, err)
	defer func() { require.NoError(t, m.Close()) }()
	require.NoError(t, m.RunAll())
	for _, n := range c.Want {
		results = append(results, slices.Clone(m.Value(n).Float32s()))
	}
	return results, m.Plan()
}

// apart is the distance of y from x, relative to x.
func apart(x, y []float32) float64 {
	var difference, size float64
	for i, v := range x {
		d := float64(v) - float64(y[i])
		difference, size = difference+d*d, size+float64(v)*float64(v)
	}
	return math.Sqrt(difference / size)
}

// With Config.Winograd large convolutions are done by other kernels, up to their error. Their
// workspace is in the plan. Nothing else changes.
func TestWinograd(t *testing.T) {
	plain, plan := convolved(t, 16, Config{})
	fast, larger := convolved(t, 16, Config{Winograd: true})
	for i, name := range []string{"dx", "dw", "db", "y"} {
		e := apart(plain[i], fast[i])
		require.True(t, e <= 3e-6, "%s: relative difference %g", name, e)
		require.Equal(t, name == "db", e == 0, "%s: relative difference %g", name, e)
	}
	g := cpu.Conv{N: 2, H: 16, W: 16, In: 32, Out: 64, KH: 3, KW: 3, Stride: 1,
		Top: 1, Bottom: 1, Left: 1, Right: 1}
	most := max(g.WinogradForwardWorkspace(nil), g.WinogradInputGradWorkspace(nil),
		g.WinogradWeightGradWorkspace(nil))
	require.EqualValues(t, 4*most, larger.Workspace)
	require.NotEqual(t, plan.Workspace, larger.Workspace)

	// Where there are few tiles nothing changes.
	for _, c := range []struct {
		side      int
		precision Precision
	}{{12, Float32}, {28, BFloat16}} {
		plain, plan = convolved(t, c.side, Config{Precision: c.precision})
		same, samePlan := convolved(t, c.side, Config{Precision: c.precision, Winograd: true})
		require.Equal(t, plain, same, c.precision)
		require.Equal(t, plan, samePlan, c.precision)
	}
}

// In bfloat16, too, Winograd's algorithm computes in float32. It takes the weights as they are: so
// results are nearer to those in float32.
func TestWinogradInBFloat16(t *testing.T) {
	exact, _ := convolved(t, 32, Config{})
	plain, plan := convolved(t, 32, Config{Precision: BFloat16})
	fast, larger := convolved(t, 32, Config{Precision: BFloat16, Winograd: true})
	g := cpu.Conv{N: 2, H: 32, W: 32, In: 32, Out: 64, KH: 3, KW: 3, Stride: 1}
	g.Top, g.Bottom, g.Left, g.Right = 1, 1, 1, 1
	require.EqualValues(t, 4*max(g.WinogradForwardWorkspace(nil), g.WinogradInputGradWorkspace(nil),
		g.WinogradWeightGradWorkspace(nil)), larger.Workspace)
	require.NotEqual(t, plan.Workspace, larger.Workspace)
	constant := Config{Precision: BFloat16, ConstantParameters: true}
	_, copies := convolved(t, 32, constant)
	require.Equal(t, plan.Weights+2*64*9*32, copies.Weights)
	constant.Winograd = true
	same, none := convolved(t, 32, constant)
	require.Equal(t, fast, same)
	require.Equal(t, larger.Weights, none.Weights, "nothing reads a copy of the weights")
	for i, name := range []string{"dx", "dw", "db", "y"} {
		far, near := apart(exact[i], plain[i]), apart(exact[i], fast[i])
		switch t.Logf("%s: %.2g, with Winograd %.2g", name, far, near); name {
		case "db":
			require.Equal(t, plain[i], fast[i])
		case "dw": // of rounded operands, and not rounded itself
			require.InDelta(t, far, near, 1e-4)
		default:
			require.Less(t, near, 0.9*far, name)
		}
	}
}

// Results that are kept are not taken for those of another arithmetic.
func TestWinogradIsNamed(t *testing.T) {
	require.Equal(t, "float32", Config{}.Arithmetic())
	require.Equal(t, "float32 with Winograd", Config{Winograd: true}.Arithmetic())
	half := Config{Winograd: true, Precision: BFloat16}
	require.Equal(t, "bfloat16 with Winograd", half.Arithmetic())
	device := Config{Winograd: true, Device: Planning(nil)}
	require.Equal(t, "float32 on planned device", device.Arithmetic())
}
