package nn

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

// An adapter adds Scale·B·A·x. For x = (1,0,−1), A = (1,1,2), B = (10,20)ᵀ and Scale ½ that is
// ½·(1−2)·(10,20) = (−5,−10).
func TestLowRankLinear(t *testing.T) {
	l := &Linear{Weight: of([]int{2, 3}, 1, 2, 3, 4, 5, 6)}
	x := of([]int{1, 3}, 1, 0, -1)
	p := l.NewLowRank(1)
	copy(p.A.weight().Float32s(), []float32{1, 1, 2})
	copy(p.B.weight().Float32s(), []float32{10, 20})
	p.Scale = 0.5

	require.NoError(t, Unadapted(l))
	l.Attach(p)
	require.ErrorContains(t, Unadapted(l), "low-rank adapter")
	require.Equal(t, []float32{-2 - 5, -2 - 10}, forward(t, x, l.Forward).Float32s())
	require.Len(t, Parameters(l), 1, "what is attached is not the layer's own")
	l.Attach(p)
	require.Equal(t, []float32{-2 - 10, -2 - 20}, forward(t, x, l.Forward).Float32s())
	l.Detach(p)
	require.Equal(t, []float32{-2, -2}, forward(t, x, l.Forward).Float32s())
	p.Merge(l)
	require.Equal(t, []float32{1 + 5, 2 + 5, 3 + 10, 4 + 10, 5 + 10, 6 + 20}, l.Weight.Float32s())
	require.Equal(t, []float32{-2 - 5, -2 - 10}, forward(t, x, l.Forward).Float32s())
}

// A convolution with an adapter computes the same as one into which the adapter is merged, at any
// stride, kernel and padding. All numbers are whole, so the two results are equal.
func TestLowRankConv2D(t *testing.T) {
	for _, kernel := range []int{1, 3} {
		for _, stride := range []int{1, 2} {
			l := NewConv2D(2, 3, kernel, stride, true)
			l.Conv.Bottom++
			p := l.NewLowRank(2)
			p.Scale = 2
			require.Equal(t, tensor.Shape{2, kernel, kernel, 2}, p.A.weight().Shape())
			require.Equal(t, tensor.Shape{3, 1, 1, 2}, p.B.weight().Shape())
			x := zeros(2, 5, 4, 2)
			for k, d := range []*tensor.Dense{l.Weight, l.Bias, p.A.weight(), p.B.weight(), x} {
				for i := range d.Float32s() {
					d.Float32s()[i] = float32((i*(k+3)+k)%7 - 3)
				}
			}
			without := forward(t, x, l.Forward).Float32s()
			l.Attach(p)
			with := forward(t, x, l.Forward).Float32s()
			require.NotEqual(t, without, with)
			l.Detach(p)
			p.Merge(l)
			require.Equal(t, with, forward(t, x, l.Forward).Float32s())
		}
	}
}

func TestLayers(t *testing.T) {
	var names []string
	for name := range Layers(newNetwork()) {
		names = append(names, name)
	}
	require.Equal(t, []string{
		"patch_embedding", "time_embedding.linear_1",
		"blocks.0.proj", "blocks.0.conv", "blocks.1.proj", "blocks.1.conv",
		"free",
	}, names)
	for name := range Layers(newNetwork()) {
		require.Equal(t, "patch_embedding", name)
		break
	}
}
