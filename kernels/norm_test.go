package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// normalized is the definition of group norm on x [n,p,c], scale [c] and shift [c].
func normalized(n, p, c, groups int, eps float64, silu bool) func(in [][]float64) []float64 {
	return func(in [][]float64) []float64 {
		x, out := in[0], make([]float64, n*p*c)
		width := c / groups
		for s := range n {
			for g := range groups {
				var sum, square float64
				each := func(f func(i, channel int)) {
					for at := range p {
						for k := range width {
							f((s*p+at)*c+g*width+k, g*width+k)
						}
					}
				}
				count := float64(p * width)
				each(func(i, _ int) { sum += x[i] })
				each(func(i, _ int) { square += (x[i] - sum/count) * (x[i] - sum/count) })
				each(func(i, channel int) {
					y := (x[i] - sum/count) / math.Sqrt(square/count+eps)
					y = y*in[1][channel] + in[2][channel]
					if silu {
						y /= 1 + math.Exp(-y)
					}
					out[i] = y
				})
			}
		}
		return out
	}
}

func TestGroupNorm(t *testing.T) {
	for _, c := range []struct{ n, h, w, c, groups int }{
		{2, 3, 3, 8, 4}, {1, 2, 5, 12, 3}, {3, 1, 1, 6, 1}, {1, 20, 20, 4, 2},
	} {
		for _, act := range []kernels.Activation{kernels.Identity, kernels.SiLUActivation} {
			silu := act == kernels.SiLUActivation
			t.Run(fmt.Sprintf("%+v %v", c, act), func(t *testing.T) {
				kerneltest.Check(t, kerneltest.Case{
					Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
						return kernels.GroupNorm(in[0], in[1], in[2], c.groups, 1e-5, act)
					},
					Shapes:     [][]int{{c.n, c.h, c.w, c.c}, {c.c}, {c.c}},
					Definition: normalized(c.n, c.h*c.w, c.c, c.groups, 1e-5, silu),
				})
			})
		}
	}
}

func TestLayerNorm(t *testing.T) {
	for _, act := range []kernels.Activation{kernels.Identity, kernels.SiLUActivation} {
		kerneltest.Check(t, kerneltest.Case{
			Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.LayerNorm(in[0], in[1], in[2], 1e-5, act)
			},
			Shapes:     [][]int{{2, 5, 20}, {20}, {20}},
			Definition: normalized(10, 1, 20, 1, 1e-5, act == kernels.SiLUActivation),
		})
	}
}

func TestActivationsAreNamed(t *testing.T) {
	require.Equal(t, "identity", kernels.Identity.String())
	require.Equal(t, "silu", kernels.SiLUActivation.String())
	require.Equal(t, "Activation(7)", kernels.Activation(7).String())
	require.Zero(t, kernels.Identity)
}

func TestNormsRefuse(t *testing.T) {
	g := gorgonia.NewGraph()
	x := kernels.Input(g, "x", dense([]int{1, 2, 4}, make([]float32, 8)...))
	c := kernels.Input(g, "c", dense([]int{4}, make([]float32, 4)...))
	for _, groups := range []int{-1, 0, 3} {
		_, err := kernels.GroupNorm(x, c, c, groups, 1e-5, kernels.Identity)
		require.ErrorContains(t, err, fmt.Sprint(groups, " groups"))
	}
	_, err := kernels.GroupNorm(x, c, c, 2, 1e-5, 7)
	require.ErrorContains(t, err, "norms have no Activation(7)")
	_, err = kernels.LayerNorm(x, c, c, 1e-5, 7)
	require.ErrorContains(t, err, "norms have no Activation(7)")
	_, err = kernels.LayerNorm(x, c, c, 0, kernels.Identity)
	require.ErrorContains(t, err, "eps is 0")
}
