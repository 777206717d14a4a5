package kernels_test

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/kerneltest"
)

// These tests are about what gorgonia does with nodes, and one would not expect.

// collidingNames returns two names whose inputs, vectors of n values, have one 32-bit hash.
func collidingNames(t *testing.T, n int) (a, b string) {
	like := node(gorgonia.NewGraph(), "like", n)
	hash := func(name string) uint32 {
		h := fnv.New32a()
		fmt.Fprintf(h, "%v%v", like.Type(), like.Shape())
		h.Write([]byte(name))
		binary.Write(h, binary.LittleEndian, byte(0))
		return h.Sum32()
	}
	require.Equal(t, like.Hashcode(), hash("like"))
	seen := make(map[uint32]string)
	for i := 0; ; i++ {
		name := fmt.Sprintf("x%016x", uint64(i)*0x9e3779b97f4a7c15)
		if other, ok := seen[hash(name)]; ok {
			return other, name
		}
		seen[hash(name)] = name
	}
}

// Two inputs whose hashes collide are two nodes. But the same operation on each of them would be
// one node to gorgonia.
func TestNodesWithOneHashStayTwo(t *testing.T) {
	na, nb := collidingNames(t, 2)
	g := gorgonia.NewGraph()
	a := kernels.Input(g, na, dense([]int{2}, 1, 2))
	b := kernels.Input(g, nb, dense([]int{2}, 3, 4))
	require.Equal(t, a.Hashcode(), b.Hashcode())
	require.NotSame(t, a, b)

	x, err := kernels.Scale(a, 10)
	require.NoError(t, err)
	y, err := kernels.Scale(b, 10)
	require.NoError(t, err)
	require.NotSame(t, x, y)
	again, err := kernels.Scale(b, 10)
	require.NoError(t, err)
	require.Same(t, y, again)
	require.Equal(t, []float32{10, 20}, values(t, x))
	require.Equal(t, []float32{30, 40}, values(t, y))
}

// An operation with another field is another node; the same one again is the same node.
func TestNodesWithOtherFieldsStayTwo(t *testing.T) {
	g := gorgonia.NewGraph()
	x := leaves(g, []int{1, 4, 4, 4})[0]
	makers := []func() (*gorgonia.Node, error){
		func() (*gorgonia.Node, error) { return kernels.Scale(x, 1) },
		func() (*gorgonia.Node, error) { return kernels.Scale(x, 1+1e-12) },
		func() (*gorgonia.Node, error) { return kernels.SiLU(x) },
		func() (*gorgonia.Node, error) { return kernels.GELU(x) },
		func() (*gorgonia.Node, error) { return kernels.UpsampleNearest(x, 8, 2) },
		func() (*gorgonia.Node, error) { return kernels.UpsampleNearest(x, 2, 8) },
		func() (*gorgonia.Node, error) { return kernels.AveragePool(x, 1) },
		func() (*gorgonia.Node, error) { return kernels.View(x, 0, 16) },
		func() (*gorgonia.Node, error) { return kernels.View(x, 1, 16) },
		func() (*gorgonia.Node, error) { return kernels.View(x, 0, 4, 4) },
		func() (*gorgonia.Node, error) { return kernels.Slice(x, 1, 0, 2) },
		func() (*gorgonia.Node, error) { return kernels.Slice(x, 2, 0, 2) },
		func() (*gorgonia.Node, error) { return kernels.Slice(x, 2, 2, 4) },
		func() (*gorgonia.Node, error) { return kernels.Mean(x, 1) },
		func() (*gorgonia.Node, error) { return kernels.SumAxis(x, 1) },
		func() (*gorgonia.Node, error) { return kernels.SumAxis(x, 2) },
		func() (*gorgonia.Node, error) { return kernels.Concat(x, x) },
		func() (*gorgonia.Node, error) { return kernels.ConcatAxis(2, x, x) },
		func() (*gorgonia.Node, error) { return kernels.Add(x, x) },
		func() (*gorgonia.Node, error) { return kernels.Mul(x, x) },
	}
	seen := make(map[*gorgonia.Node]int)
	for i, make := range makers {
		n, err := make()
		require.NoError(t, err)
		j, ok := seen[n]
		require.False(t, ok, "operations %d and %d are one node", i, j)
		seen[n] = i
		again, err := make()
		require.NoError(t, err)
		require.Same(t, n, again)
	}
}

// gorgonia puts an operation's type back into a pool: one that is kept would change later.
func TestTypesAreMadeAnew(t *testing.T) {
	g := gorgonia.NewGraph()
	x := leaves(g, []int{2, 3})[0]
	n, err := kernels.ReLU(x)
	require.NoError(t, err)
	first := n.Op().Type().String()
	for i := range 50 {
		y, err := kernels.Reshape(x, 1, 2, 3, 1)
		require.NoError(t, err)
		y, err = kernels.Scale(y, float64(i))
		require.NoError(t, err)
		require.Equal(t, 4, y.Dims())
	}
	require.Equal(t, first, n.Op().Type().String())
	require.Equal(t, 2, n.Dims())
	require.NotSame(t, n.Op().Type(), n.Op().Type())
}

// A value that is read several times has several gradients, which gorgonia adds. One of them is
// itself the gradient of the output.
func TestFanOut(t *testing.T) {
	kerneltest.Check(t, kerneltest.Case{
		Op: unaryOp(func(x *gorgonia.Node) (*gorgonia.Node, error) {
			y, err := kernels.Mul(x, x)
			if err != nil {
				return nil, err
			}
			z, err := kernels.Scale(y, 3)
			if err != nil {
				return nil, err
			}
			if y, err = kernels.Add(y, z); err != nil {
				return nil, err
			}
			if y, err = kernels.Add(y, x); err != nil {
				return nil, err
			}
			return kernels.Mul(y, x)
		}),
		Shapes: [][]int{{2, 3}},
		Definition: func(in [][]float64) []float64 {
			return each([]int{6}, func(i []int) float64 {
				x := in[0][i[0]]
				return (4*x*x + x) * x
			})
		},
	})
}

// Operations of gorgonia's own go between ours.
func TestOperationsOfGorgonia(t *testing.T) {
	kerneltest.Check(t, kerneltest.Case{
		Op: binaryOp(func(x, y *gorgonia.Node) (*gorgonia.Node, error) {
			h, err := kernels.Reshape(x, 2, 3)
			if err != nil {
				return nil, err
			}
			if h, err = gorgonia.HadamardProd(h, y); err != nil {
				return nil, err
			}
			return kernels.SumAxis(h, 1)
		}),
		Shapes: [][]int{{6}, {2, 3}},
		Definition: func(in [][]float64) []float64 {
			return each([]int{2}, func(i []int) (sum float64) {
				for k := range 3 {
					sum += in[0][3*i[0]+k] * in[1][3*i[0]+k]
				}
				return sum
			})
		},
	})
}

// A small network in both machines: a convolution, a norm, attention, a linear layer and a loss.
// Every Check tests that gorgonia's machine and Machine agree to the last bit. Here the graph has
// many operations.
func TestNetworkInBothMachines(t *testing.T) {
	const n, h, c, heads = 2, 4, 8, 2
	shapes := [][]int{
		{n, h, h, 3}, {c, 3, 3, 3}, {c}, {c}, {c}, {3 * c, c}, {3, c}, {3},
		{n, h, h, 3}, {n}, {n, c},
	}
	op := func(in ...*gorgonia.Node) (*gorgonia.Node, error) {
		x, err := kernels.Conv2D(in[0], in[1], in[2], kernels.Same(3))
		must := func(y *gorgonia.Node, e error) *gorgonia.Node {
			if err == nil {
				err = e
			}
			return y
		}
		x = must(kernels.AddTime(x, in[10]))
		x = must(kernels.GroupNorm(x, in[3], in[4], 2, 1e-5, kernels.SiLUActivation))
		tokens := must(kernels.Reshape(x, n, h*h, c))
		qkv, e := kernels.Split(must(kernels.Linear(tokens, in[5], nil)), 2, c, c, c)
		if e != nil {
			return nil, e
		}
		a := must(kernels.Attention(qkv[0], qkv[1], qkv[2], kernels.AttentionOptions{Heads: heads}))
		y := must(kernels.Linear(must(kernels.Add(a, tokens)), in[6], in[7]))
		y = must(kernels.Reshape(y, n, h, h, 3))
		loss := must(kernels.MSE(y, in[8], in[9]))
		return loss, err
	}
	// Other tests compare the gradients of the operations with definitions. Here a step against the
	// gradient must lower the loss by as much as the gradient says.
	g := gorgonia.NewGraph()
	nodes := make([]*gorgonia.Node, len(shapes))
	inputs := make([]*tensor.Dense, len(shapes))
	for i, s := range shapes {
		size, name := tensor.Shape(s).TotalSize(), fmt.Sprint("network ", i)
		inputs[i] = dense(s, kerneltest.Normal(size, name)...)
		nodes[i] = kernels.Input(g, fmt.Sprint("in ", i), inputs[i])
	}
	loss, err := op(nodes...)
	require.NoError(t, err)
	grads, err := gorgonia.Grad(loss, nodes[:8]...)
	require.NoError(t, err)
	m, err := kernels.NewMachine(g, kernels.Config{Want: append(gorgonia.Nodes{loss}, grads...)})
	require.NoError(t, err)
	defer m.Close()
	require.NoError(t, m.RunAll())

	var read []gorgonia.Value
	for range append(grads, loss) {
		read = append(read, nil)
	}
	for i, n := range append(gorgonia.Nodes{loss}, grads...) {
		gorgonia.Read(n, &read[i])
	}
	tape := gorgonia.NewTapeMachine(g)
	defer tape.Close()
	require.NoError(t, tape.RunAll())
	require.Equal(t, []float32{float32(*read[0].(*gorgonia.F32))}, m.Value(loss).Float32s())
	for i := range grads {
		want := read[i+1].(*tensor.Dense).Float32s()
		require.Equal(t, want, m.Value(grads[i]).Float32s(), "gradient %d", i)
	}

	before := m.Scalar(loss)
	const step = 1e-4
	promised := 0.0
	for i := range grads {
		w, d := inputs[i].Float32s(), m.Value(grads[i]).Float32s()
		for k := range w {
			promised += step * float64(d[k]) * float64(d[k])
			w[k] -= step * d[k]
		}
	}
	require.NoError(t, m.RunAll())
	require.InEpsilon(t, promised, before-m.Scalar(loss), 0.02)
}
