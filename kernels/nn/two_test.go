package nn

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

type perceptron struct {
	First *Linear `weight:"first"`
	Last  *Linear `weight:"last"`
}

func newPerceptron(seed uint64) *perceptron {
	p := &perceptron{First: NewLinear(3, 4, true), Last: NewLinear(4, 2, true)}
	Init(p, seed)
	return p
}

func (p *perceptron) Forward(b *Builder, x *gorgonia.Node) *gorgonia.Node {
	return p.Last.Forward(b, b.Do(kernels.SiLU(p.First.Forward(b, x))))
}

// descent is p ← p − g/2.
type descent struct{}

func (descent) Update(param, grad *tensor.Dense) error {
	for i, g := range grad.Float32s() {
		param.Float32s()[i] -= g / 2
	}
	return nil
}

// Two networks of one architecture, with the same shapes and names, stay two in one graph. One is
// trained to give the results of the other. It becomes the same as if those results were an input,
// and the other network stays as it was. gorgonia would merge inputs of equal name and shape, and
// then the loss would be 0 from the start.
func TestTwoNetworksOfTheSameNamesInOneGraph(t *testing.T) {
	x := of([]int{2, 3}, 1, 0, -1, 0.5, 2, -0.5)
	train := func(p *perceptron, target pass) []float64 {
		g := gorgonia.NewGraph()
		in := kernels.Input(g, "x", x)
		b := On(in)
		y, want := p.Forward(b, in), target(b, in)
		require.NoError(t, b.Err())
		loss, err := kernels.MSE(y, want, nil)
		require.NoError(t, err)
		var nodes gorgonia.Nodes
		for _, q := range Parameters(p) {
			nodes = append(nodes, kernels.Param(g, q.Value))
		}
		grads, err := gorgonia.Grad(loss, nodes...)
		require.NoError(t, err)
		c := kernels.Config{Want: gorgonia.Nodes{loss}, Parameters: Parameters(p)}
		for i := range nodes {
			u := kernels.Update{Param: nodes[i], Grad: grads[i], By: descent{}}
			c.Updates = append(c.Updates, u)
		}
		m, err := kernels.NewMachine(g, c)
		require.NoError(t, err)
		defer m.Close()
		var losses []float64
		for range 20 {
			require.NoError(t, m.RunAll())
			losses = append(losses, m.Scalar(loss))
		}
		return losses
	}
	tuned, reference, alone := newPerceptron(1), newPerceptron(2), newPerceptron(1)
	losses := train(tuned, reference.Forward)
	require.Positive(t, losses[0], "the two are one")
	require.Less(t, losses[19], losses[0]/2)
	untouched := Parameters(newPerceptron(2))
	require.Equal(t, untouched, Parameters(reference), "the one that is not trained")
	answer := forward(t, x, reference.Forward)
	require.Equal(t, losses, train(alone, func(_ *Builder, x *gorgonia.Node) *gorgonia.Node {
		return kernels.Input(x.Graph(), "answer", answer)
	}))
	require.Equal(t, Parameters(alone), Parameters(tuned))
}
