package kernels

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels/internal/cpu"
)

// convolved runs a machine that wants a convolution of pictures of side×side, with its gradients.
func convolved(t *testing.T, side int, c Config) (results [][]float32, plan Plan) {
	t.Helper()
	g := gorgonia.NewGraph()
	x, w, b := variable(g, "x", 2, side, side, 32), variable(g, "w", 64, 3, 3, 32),
		variable(g, "b", 64)
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

// With Config.Winograd large convolutions are done by other kernels, up to their error. Their
// workspace is in the plan. Nothing else changes.
func TestWinograd(t *testing.T) {
	plain, plan := convolved(t, 16, Config{})
	fast, larger := convolved(t, 16, Config{Winograd: true})
	for i, name := range []string{"dx", "dw", "db", "y"} {
		var difference, size float64
		for j, v := range plain[i] {
			d := float64(v) - float64(fast[i][j])
			difference, size = difference+d*d, size+float64(v)*float64(v)
		}
		e := math.Sqrt(difference / size)
		require.True(t, e <= 3e-6, "%s: relative difference %g", name, e)
		require.Equal(t, name == "db", e == 0, "%s: relative difference %g", name, e)
	}
	g := cpu.Conv{N: 2, H: 16, W: 16, In: 32, Out: 64, KH: 3, KW: 3, Stride: 1,
		Top: 1, Bottom: 1, Left: 1, Right: 1}
	most := max(g.WinogradForwardWorkspace(nil), g.WinogradInputGradWorkspace(nil),
		g.WinogradWeightGradWorkspace(nil))
	require.EqualValues(t, 4*most, larger.Workspace)
	require.NotEqual(t, plan.Workspace, larger.Workspace)

	for name, c := range map[string]struct {
		side   int
		config Config
	}{
		"few tiles": {12, Config{}}, "bfloat16": {16, Config{Precision: BFloat16}},
	} {
		plain, plan = convolved(t, c.side, c.config)
		c.config.Winograd = true
		same, samePlan := convolved(t, c.side, c.config)
		require.Equal(t, plain, same, name)
		require.Equal(t, plan, samePlan, name)
	}
}

// Results that are kept are not taken for those of another arithmetic.
func TestWinogradIsNamed(t *testing.T) {
	require.Equal(t, "float32", Config{}.Arithmetic())
	require.Equal(t, "float32 with Winograd", Config{Winograd: true}.Arithmetic())
	require.Equal(t, "bfloat16", Config{Winograd: true, Precision: BFloat16}.Arithmetic())
	device := Config{Winograd: true, Device: Planning(nil)}
	require.Equal(t, "float32 on planned device", device.Arithmetic())
}
