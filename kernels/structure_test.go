package kernels_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// Operations that move values. Their definitions read the result's coordinates.

// at is the place of a coordinate in a tensor of shape s.
func at(s []int, index ...int) int {
	i := 0
	for d, k := range index {
		i = i*s[d] + k
	}
	return i
}

// each calls f with the coordinates of every value of a tensor of shape s, in order, and returns
// what f does.
func each(s []int, f func(index []int) float64) []float64 {
	y := make([]float64, tensor.Shape(s).TotalSize())
	for i := range y {
		y[i] = f(kerneltest.Index(s, i))
	}
	return y
}

// Operations of one, two and any number of inputs.
type (
	unaryFunc  = func(x *gorgonia.Node) (*gorgonia.Node, error)
	binaryFunc = func(x, y *gorgonia.Node) (*gorgonia.Node, error)
	operation  = func(in ...*gorgonia.Node) (*gorgonia.Node, error)
)

func unaryOp(f unaryFunc) operation {
	return func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return f(in[0]) }
}

func binaryOp(f binaryFunc) operation {
	return func(in ...*gorgonia.Node) (*gorgonia.Node, error) { return f(in[0], in[1]) }
}

// reshaped is Reshape to these dimensions.
func reshaped(dims ...int) operation {
	return unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
		return kernels.Reshape(x, dims...)
	})
}

// leaves are inputs without values.
func leaves(g *gorgonia.ExprGraph, shapes ...[]int) gorgonia.Nodes {
	var in gorgonia.Nodes
	for _, s := range shapes {
		zeros := tensor.New(tensor.WithShape(s...), tensor.Of(tensor.Float32))
		in = append(in, kernels.Input(g, "x", zeros))
	}
	return in
}

// values runs g and returns the values of n.
func values(t *testing.T, n *gorgonia.Node) []float32 {
	t.Helper()
	m, err := kernels.NewMachine(n.Graph(), kernels.Config{Want: gorgonia.Nodes{n}})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())
	return append([]float32(nil), m.Value(n).Float32s()...)
}

func same(in [][]float64) []float64 { return append([]float64(nil), in[0]...) }

func TestReshapeAndView(t *testing.T) {
	kerneltest.Check(t, kerneltest.Case{
		Op:         reshaped(4, 3),
		Shapes:     [][]int{{2, 6}},
		Definition: same,
	})
	kerneltest.Check(t, kerneltest.Case{
		Op:         reshaped(),
		Shapes:     [][]int{{1, 1}},
		Definition: same,
	})
	kerneltest.Check(t, kerneltest.Case{
		Op:         reshaped(1),
		Shapes:     [][]int{{}},
		Definition: same,
	})
	kerneltest.Check(t, kerneltest.Case{
		Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.View(x, 5, 2, 3)
		}),
		Shapes: [][]int{{13}},
		Definition: func(in [][]float64) []float64 {
			return append([]float64(nil), in[0][5:11]...)
		},
	})
}

func TestReshapeErrors(t *testing.T) {
	x := leaves(gorgonia.NewGraph(), []int{2, 3})[0]
	y, err := kernels.Reshape(x, 2, 3)
	require.NoError(t, err)
	require.Same(t, x, y)
	_, err = kernels.Reshape(x, 2, 2)
	require.ErrorContains(t, err, "(2, 3) and (2, 2) differ in size")
	_, err = kernels.Reshape(x, -2, -3)
	require.ErrorContains(t, err, "not all positive")
	_, err = kernels.Reshape(nil, 2)
	require.ErrorContains(t, err, "input 0 is nil")
	_, err = kernels.View(x, 3, 4)
	require.ErrorContains(t, err, "from value 3 on is not within (2, 3)")
	_, err = kernels.View(x, -1, 4)
	require.Error(t, err)
}

func TestSlice(t *testing.T) {
	s := []int{3, 4, 5}
	for axis := range s {
		for _, r := range [][2]int{{0, 1}, {1, 3}, {0, 3}, {2, s[axis]}, {0, s[axis]}} {
			to := append([]int(nil), s...)
			to[axis] = r[1] - r[0]
			kerneltest.Check(t, kerneltest.Case{
				Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
					return kernels.Slice(x, axis, r[0], r[1])
				}),
				Shapes: [][]int{s},
				Definition: func(in [][]float64) []float64 {
					return each(to, func(i []int) float64 {
						i[axis] += r[0]
						return in[0][at(s, i...)]
					})
				},
			})
		}
	}
}

// Slices of gorgonia's own become one node if they begin a multiple of 256 apart. Those of Slice
// stay two.
func TestSlicesStayTwo(t *testing.T) {
	for _, axis := range []int{0, 1} {
		g := gorgonia.NewGraph()
		x := dense([]int{512, 512}, kerneltest.Normal(512*512, "x")...)
		n := kernels.Input(g, "x", x)
		a, err := kernels.Slice(n, axis, 0, 256)
		require.NoError(t, err)
		b, err := kernels.Slice(n, axis, 256, 512)
		require.NoError(t, err)
		require.NotSame(t, a, b)
		again, err := kernels.Slice(n, axis, 256, 512)
		require.NoError(t, err)
		require.Same(t, b, again)
		first := x.Float32s()[0]
		second := x.Float32s()[at([]int{512, 512}, 256*(1-axis), 256*axis)]
		require.Equal(t, first, values(t, a)[0])
		require.Equal(t, second, values(t, b)[0])
	}
}

func TestSplitAndConcat(t *testing.T) {
	// A split into parts, put together in another order.
	s := []int{2, 3, 6}
	to := []int{1, 2, 0} // sizes 1, 2, 3 → 2, 3, 1
	kerneltest.Check(t, kerneltest.Case{
		Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
			p, err := kernels.Split(x, 2, 1, 2, 3)
			if err != nil {
				return nil, err
			}
			return kernels.Concat(p[to[0]], p[to[1]], p[to[2]])
		}),
		Shapes: [][]int{s},
		Definition: func(in [][]float64) []float64 {
			return each(s, func(i []int) float64 { return in[0][at(s, i[0], i[1], (i[2]+1)%6)] })
		},
	})
	for axis, shapes := range [][][]int{
		{{1, 4, 2}, {3, 4, 2}},
		{{2, 1, 3}, {2, 4, 3}, {2, 2, 3}},
		{{3, 2, 5}, {3, 2, 1}},
	} {
		kerneltest.Check(t, kerneltest.Case{
			Op: func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.ConcatAxis(axis, in...)
			},
			Shapes:     shapes,
			Definition: func(in [][]float64) []float64 { return concatenated(axis, shapes, in) },
		})
	}
	// An input that is there twice has two parts in its gradient.
	kerneltest.Check(t, kerneltest.Case{
		Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
			return kernels.Concat(x, x)
		}),
		Shapes: [][]int{{2, 3}},
		Definition: func(in [][]float64) []float64 {
			return each([]int{2, 6}, func(i []int) float64 {
				return in[0][at([]int{2, 3}, i[0], i[1]%3)]
			})
		},
	})
}

// concatenated is the definition of ConcatAxis.
func concatenated(axis int, shapes [][]int, in [][]float64) []float64 {
	to := append([]int(nil), shapes[0]...)
	for _, s := range shapes[1:] {
		to[axis] += s[axis]
	}
	return each(to, func(i []int) float64 {
		k := 0
		for i[axis] >= shapes[k][axis] {
			i[axis] -= shapes[k][axis]
			k++
		}
		return in[k][at(shapes[k], i...)]
	})
}

// Rows longer than a part of the parallel copy, and more of them than one part has.
func TestConcatOfLongRows(t *testing.T) {
	const n, m = 20000, 3
	g := gorgonia.NewGraph()
	a := dense([]int{2, n}, kerneltest.Normal(2*n, "a")...)
	b := dense([]int{2, m}, kerneltest.Normal(2*m, "b")...)
	y, err := kernels.Concat(kernels.Input(g, "a", a), kernels.Input(g, "b", b))
	require.NoError(t, err)
	var want []float32
	for i := range 2 {
		want = append(want, a.Float32s()[i*n:(i+1)*n]...)
		want = append(want, b.Float32s()[i*m:(i+1)*m]...)
	}
	require.Equal(t, want, values(t, y))
}

func TestSliceAndConcatErrors(t *testing.T) {
	in := leaves(gorgonia.NewGraph(), []int{2, 3}, []int{2, 4}, []int{3, 3}, []int{2})
	for _, r := range [][3]int{{2, 0, 1}, {-1, 0, 1}, {0, 1, 1}, {0, -1, 1}, {1, 2, 4}} {
		_, err := kernels.Slice(in[0], r[0], r[1], r[2])
		require.ErrorContains(t, err, "kernels: Slice: ")
	}
	_, err := kernels.Slice(nil, 0, 0, 1)
	require.ErrorContains(t, err, "is nil")
	_, err = kernels.Split(in[0], 1, 1, 1)
	require.ErrorContains(t, err, "sizes [1 1] add up to 2, axis 1 of (2, 3) has 3")
	_, err = kernels.Split(in[0], 2, 1, 1)
	require.ErrorContains(t, err, "no axis 2")
	_, err = kernels.Split(nil, 2)
	require.Error(t, err)
	_, err = kernels.Concat()
	require.ErrorContains(t, err, "no inputs")
	_, err = kernels.Concat(nil, in[0])
	require.ErrorContains(t, err, "input 0 is nil")
	_, err = kernels.Concat(in[0], nil)
	require.ErrorContains(t, err, "input 1 is nil")
	_, err = kernels.Concat(in[0], in[2])
	require.ErrorContains(t, err, "(2, 3) and (3, 3) differ beside axis 1")
	_, err = kernels.Concat(in[0], in[3])
	require.Error(t, err)
	y, err := kernels.Concat(in[0], in[1])
	require.NoError(t, err)
	require.Equal(t, tensor.Shape{2, 7}, y.Shape())
	y, err = kernels.Concat(in[0])
	require.NoError(t, err)
	require.Same(t, in[0], y)
}

func TestUpsampleNearest(t *testing.T) {
	for _, c := range []struct{ h, w, toH, toW int }{
		{2, 3, 4, 6}, {3, 2, 5, 3}, {4, 5, 7, 9}, {5, 4, 3, 4}, {3, 3, 8, 2}, {2, 2, 2, 2},
	} {
		s, to := []int{2, c.h, c.w, 3}, []int{2, c.toH, c.toW, 3}
		kerneltest.Check(t, kerneltest.Case{
			Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
				if c.toH == 2*c.h && c.toW == 2*c.w {
					return kernels.UpsampleNearest2x(x)
				}
				return kernels.UpsampleNearest(x, c.toH, c.toW)
			}),
			Shapes: [][]int{s},
			Definition: func(in [][]float64) []float64 {
				return each(to, func(i []int) float64 {
					y := math.Floor(float64(i[1]) * float64(c.h) / float64(c.toH))
					x := math.Floor(float64(i[2]) * float64(c.w) / float64(c.toW))
					return in[0][at(s, i[0], int(y), int(x), i[3])]
				})
			},
		})
	}
}

func TestAveragePool(t *testing.T) {
	for _, c := range []struct{ h, w, k int }{
		{4, 6, 2}, {5, 7, 2}, {6, 3, 3}, {3, 2, 1}, {4, 4, 4},
	} {
		s, to := []int{2, c.h, c.w, 3}, []int{2, c.h / c.k, c.w / c.k, 3}
		kerneltest.Check(t, kerneltest.Case{
			Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
				return kernels.AveragePool(x, c.k)
			}),
			Shapes: [][]int{s},
			Definition: func(in [][]float64) []float64 {
				return each(to, func(i []int) (mean float64) {
					for u := range c.k {
						for v := range c.k {
							mean += in[0][at(s, i[0], c.k*i[1]+u, c.k*i[2]+v, i[3])]
						}
					}
					return mean / float64(c.k*c.k)
				})
			},
		})
	}
}

func TestResampleErrors(t *testing.T) {
	in := leaves(gorgonia.NewGraph(), []int{2, 3}, []int{1, 2, 3, 4})
	_, err := kernels.UpsampleNearest2x(in[0])
	require.ErrorContains(t, err, "(2, 3) is not [N,H,W,C]")
	_, err = kernels.UpsampleNearest2x(nil)
	require.ErrorContains(t, err, "is nil")
	_, err = kernels.UpsampleNearest(in[1], 0, 3)
	require.ErrorContains(t, err, "0×3")
	_, err = kernels.AveragePool(in[0], 2)
	require.ErrorContains(t, err, "(2, 3) is not [N,H,W,C]")
	for _, k := range []int{0, -1, 3} {
		_, err = kernels.AveragePool(in[1], k)
		require.ErrorContains(t, err, "do not fit")
	}
}
