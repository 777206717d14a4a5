package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

func TestEmbedding(t *testing.T) {
	// Row 2 is hit thrice, row 4 never; 70 columns are more than one part of the gradient sums.
	for _, d := range []int{3, 70} {
		kerneltest.Check(t, kerneltest.Case{
			Op:     binaryOp(kernels.Embedding),
			Shapes: [][]int{{5, d}, {2, 3}},
			Inputs: [][]float32{nil, {2, 0, 2, 3, 2, 1}},
			Definition: func(in [][]float64) []float64 {
				return each([]int{2, 3, d}, func(i []int) float64 {
					return in[0][int(in[1][i[0]*3+i[1]])*d+i[2]]
				})
			},
			NoGrad: []int{1},
		})
	}
}

func TestGatherRows(t *testing.T) {
	s := []int{3, 4, 5}
	kerneltest.Check(t, kerneltest.Case{
		Op:     binaryOp(kernels.GatherRows),
		Shapes: [][]int{s, {3}},
		Inputs: [][]float32{nil, {3, 0, 2}},
		Definition: func(in [][]float64) []float64 {
			return each([]int{3, 5}, func(i []int) float64 {
				return in[0][at(s, i[0], int(in[1][i[0]]), i[1])]
			})
		},
		NoGrad: []int{1},
	})
}

// An index that is no row must not read other memory.
func TestIndicesMustBeRows(t *testing.T) {
	for _, id := range []float32{-1, 5, 0.5, float32(math.NaN()), float32(math.Inf(1)), 1e30} {
		g := gorgonia.NewGraph()
		table := kernels.Input(g, "table", dense([]int{5, 2}, kerneltest.Normal(10, "table")...))
		y, err := kernels.Embedding(table, kernels.Input(g, "ids", dense([]int{2}, 1, id)))
		require.NoError(t, err)
		wrong := fmt.Sprintf("cpu: GatherRows: index 1 is %v, not an integer in 0 to 4", id)
		require.PanicsWithValue(t, wrong, func() { values(t, y) })

		g = gorgonia.NewGraph()
		x := kernels.Input(g, "x", dense([]int{2, 5, 1}, kerneltest.Normal(10, "x")...))
		y, err = kernels.GatherRows(x, kernels.Input(g, "index", dense([]int{2}, 1, id)))
		require.NoError(t, err)
		require.Panics(t, func() { values(t, y) })
	}
}

func TestEmbeddingErrors(t *testing.T) {
	in := leaves(gorgonia.NewGraph(), []int{5, 2}, []int{3, 4, 5}, []int{4}, []int{3})
	_, err := kernels.Embedding(in[1], in[2])
	require.ErrorContains(t, err, "table (3, 4, 5) and ids (4) are not")
	_, err = kernels.GatherRows(in[1], in[2])
	require.ErrorContains(t, err, "x (3, 4, 5) and index (4) are not")
	_, err = kernels.GatherRows(in[0], in[3])
	require.Error(t, err)
	_, err = kernels.TimestepEmbedding(in[0], 8, true, 0)
	require.ErrorContains(t, err, "timesteps (5, 2) are not [N]")
	for dim, shift := range map[int]float64{0: 0, 1: 0, 2: 1, 8: 4, 6: math.NaN()} {
		_, err = kernels.TimestepEmbedding(in[3], dim, true, shift)
		require.Error(t, err)
	}
}

func TestTimestepEmbedding(t *testing.T) {
	for _, c := range []struct {
		dim   int
		flip  bool
		shift float64
	}{{8, true, 0}, {8, false, 1}, {9, true, 0}, {9, false, 0}, {320, true, 0}} {
		half := c.dim / 2
		kerneltest.Check(t, kerneltest.Case{
			Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.TimestepEmbedding(x, c.dim, c.flip, c.shift)
			}),
			Shapes: [][]int{{4}},
			Inputs: [][]float32{{0, 1, 501, 999}},
			Definition: func(in [][]float64) []float64 {
				return each([]int{4, c.dim}, func(i []int) float64 {
					if i[1] == 2*half {
						return 0
					}
					exponent := -float64(i[1]%half) / (float64(half) - c.shift)
					angle := in[0][i[0]] * math.Pow(10000, exponent)
					if (i[1] < half) != c.flip {
						return math.Sin(angle)
					}
					return math.Cos(angle)
				})
			},
			NoGrad: []int{0},
		})
	}
}

// By hand this is get_timestep_embedding(torch.tensor([1., 500.]), 4, flip_sin_to_cos=True,
// downscale_freq_shift=0). The frequencies are 1 and 1/100.
func TestTimestepEmbeddingByHand(t *testing.T) {
	g := gorgonia.NewGraph()
	y, err := kernels.TimestepEmbedding(kernels.Input(g, "t", dense([]int{2}, 1, 500)), 4, true, 0)
	require.NoError(t, err)
	want := []float64{
		0.54030231, 0.99995000, 0.84147098, 0.00999983,
		-0.88384927, 0.28366219, -0.46777181, -0.95892427,
	}
	require.NoError(t, kerneltest.Compare(values(t, y), want, tensor.Shape{2, 4}, 1e-7))
}

func TestMeanSumAndRepeat(t *testing.T) {
	s := []int{3, 4, 5}
	for axis := range s {
		to := append([]int(nil), s...)
		to = append(to[:axis], to[axis+1:]...)
		for name, op := range map[string]func(*gorgonia.Node, int) (*gorgonia.Node, error){
			"mean": kernels.Mean, "sum": kernels.SumAxis,
		} {
			scale := 1.0
			if name == "mean" {
				scale = 1 / float64(s[axis])
			}
			kerneltest.Check(t, kerneltest.Case{
				Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
					return op(x, axis)
				}),
				Shapes: [][]int{s},
				Definition: func(in [][]float64) []float64 {
					return each(to, func(i []int) (sum float64) {
						full := append(append(append([]int(nil), i[:axis]...), 0), i[axis:]...)
						for k := range s[axis] {
							full[axis] = k
							sum += scale * in[0][at(s, full...)]
						}
						return sum
					})
				},
			})
		}
	}
	for axis := range 3 {
		s := []int{3, 4}
		to := append(append(append([]int(nil), s[:axis]...), 2), s[axis:]...)
		kerneltest.Check(t, kerneltest.Case{
			Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.Repeat(x, axis, 2)
			}),
			Shapes: [][]int{s},
			Definition: func(in [][]float64) []float64 {
				return each(to, func(i []int) float64 {
					return in[0][at(s, append(append([]int(nil), i[:axis]...), i[axis+1:]...)...)]
				})
			},
		})
	}
	kerneltest.Check(t, kerneltest.Case{
		Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.Mean(x, 0)
		}),
		Shapes: [][]int{{4}},
		Definition: func(in [][]float64) []float64 {
			x := in[0]
			return []float64{(x[0] + x[1] + x[2] + x[3]) / 4}
		},
	})
}

func TestAddTimeAndPositions(t *testing.T) {
	x := []int{2, 3, 2, 70}
	kerneltest.Check(t, kerneltest.Case{
		Op:     binaryOp(kernels.AddTime),
		Shapes: [][]int{x, {2, 70}},
		Definition: func(in [][]float64) []float64 {
			return each(x, func(i []int) float64 {
				return in[0][at(x, i...)] + in[1][i[0]*70+i[3]]
			})
		},
		Gradient: func(_ [][]float64, dy []float64) [][]float64 {
			dt := each([]int{2, 70}, func(i []int) (sum float64) {
				for p := range 6 {
					sum += dy[(i[0]*6+p)*70+i[1]]
				}
				return sum
			})
			return [][]float64{dy, dt}
		},
	})
	x = []int{2, 4, 3}
	kerneltest.Check(t, kerneltest.Case{
		Op:     binaryOp(kernels.AddTime),
		Shapes: [][]int{x, {2, 3}},
		Definition: func(in [][]float64) []float64 {
			return each(x, func(i []int) float64 { return in[0][at(x, i...)] + in[1][i[0]*3+i[2]] })
		},
	})
	kerneltest.Check(t, kerneltest.Case{
		Op:     binaryOp(kernels.AddPositions),
		Shapes: [][]int{x, {4, 3}},
		Definition: func(in [][]float64) []float64 {
			return each(x, func(i []int) float64 { return in[0][at(x, i...)] + in[1][i[1]*3+i[2]] })
		},
	})
}

// A sum of many values is accumulated in float64: 2²⁴ ones and more would not grow in float32.
func TestSumIsAccumulatedInFloat64(t *testing.T) {
	x := make([]float32, 3001)
	x[0] = 1 << 24
	for i := range 3000 {
		x[i+1] = 1
	}
	g := gorgonia.NewGraph()
	y, err := kernels.SumAxis(kernels.Input(g, "x", dense([]int{3001}, x...)), 0)
	require.NoError(t, err)
	require.Equal(t, []float32{1<<24 + 3000}, values(t, y))
}

func TestReduceErrors(t *testing.T) {
	in := leaves(gorgonia.NewGraph(), []int{2, 3, 4}, []int{3, 4}, []int{2, 4}, []int{2, 3, 4})
	for _, axis := range []int{-1, 3} {
		_, err := kernels.Mean(in[0], axis)
		require.ErrorContains(t, err, "has no axis")
		_, err = kernels.SumAxis(in[0], axis)
		require.ErrorContains(t, err, "has no axis")
	}
	_, err := kernels.Repeat(in[0], 4, 2)
	require.Error(t, err)
	_, err = kernels.Repeat(in[0], 0, 0)
	require.Error(t, err)
	_, err = kernels.AddTime(in[0], in[1])
	require.ErrorContains(t, err, "(3, 4) does not fit (2, 3, 4)")
	_, err = kernels.AddTime(in[0], in[3])
	require.Error(t, err)
	_, err = kernels.AddPositions(in[0], in[2])
	require.Error(t, err)
	_, err = kernels.AddTime(in[0], in[2])
	require.NoError(t, err)
	_, err = kernels.AddPositions(in[0], in[1])
	require.NoError(t, err)
}
