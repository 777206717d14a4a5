package diffusion_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/kernels"
)

// linear is a denoiser that can be checked by hand: ε̂ = 2·x + the sample's condition, in all channels.
var linear = diffusion.Func(func(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error) {
	twice, err := kernels.Scale(x, 2)
	if err != nil {
		return nil, err
	}
	row, err := kernels.Reshape(c.Tokens, c.Tokens.Shape()[0], c.Tokens.Shape()[2])
	if err != nil {
		return nil, err
	}
	return kernels.AddTime(twice, row)
})

// tokens is a condition of as many tokens of one number.
func tokens(values ...float32) dataset.Condition {
	return dataset.Condition{Tokens: tensor.New(tensor.WithShape(len(values), 1), tensor.WithBacking(values))}
}

func run(t *testing.T, d diffusion.Denoiser, x, c []float32, at float64) []float32 {
	n := len(c)
	net, err := diffusion.Compile(d, tensor.Shape{n, len(x) / n, 1, 1}, tokens(0))
	require.NoError(t, err)
	defer net.Close()
	copy(net.Condition.Tokens.Float32s(), c)
	eps, err := net.Predict(tensor.New(tensor.WithShape(n, len(x)/n, 1, 1), tensor.WithBacking(x)), at)
	require.NoError(t, err)
	return append([]float32{}, eps.Float32s()...)
}

func TestCompile(t *testing.T) {
	require.Equal(t, []float32{3, 5, 16, 18}, run(t, linear, []float32{1, 2, 3, 4}, []float32{1, 10}, 0))
	_, err := diffusion.Compile(linear, tensor.Shape{2, 1, 1}, tokens(0))
	require.ErrorContains(t, err, "latents (2, 1, 1) are not [N,H,W,C]")
	batch := tokens(1, 2).Batch(3)
	_, err = diffusion.Compile(linear, tensor.Shape{3, 1, 1, 1}, batch)
	require.ErrorContains(t, err, "the condition has tokens float32 (3, 2, 1), not float32 of rank 2")
	net, err := diffusion.Compile(linear, tensor.Shape{1, 1, 1, 1}, tokens(0))
	require.NoError(t, err)
	defer net.Close()
	_, err = net.Predict(tensor.New(tensor.WithShape(2, 1, 1, 1), tensor.Of(tensor.Float32)), 0)
	require.ErrorContains(t, err, "compiled for")
}

func TestGuide(t *testing.T) {
	// With conditions 1 and 10, and 4 without: 2x + 4 + 3·(c - 4).
	want := []float32{2 + 4 - 9, 4 + 4 - 9, 6 + 4 + 18, 8 + 4 + 18}
	one := tokens(4)
	require.InDeltaSlice(t, want, run(t, diffusion.Guide(linear, one, 3), []float32{1, 2, 3, 4}, []float32{1, 10}, 0), 1e-5)
	each := one.Batch(2)
	require.NoError(t, each.Fill(one, tokens(0)))
	want = []float32{2 + 4 - 9, 4 + 4 - 9, 6 + 30, 8 + 30}
	require.InDeltaSlice(t, want, run(t, diffusion.Guide(linear, each, 3), []float32{1, 2, 3, 4}, []float32{1, 10}, 0), 1e-5)

	shape := tensor.Shape{2, 1, 1, 1}
	_, err := diffusion.Compile(diffusion.Guide(linear, tokens(0, 0), 3), shape, one)
	require.ErrorContains(t, err, "unconditional condition's tokens (2, 1) do not fit (2, 1, 1)")
	more := tokens(0)
	more.Sizes = tensor.New(tensor.WithShape(6), tensor.Of(tensor.Float32))
	_, err = diffusion.Compile(diffusion.Guide(linear, more, 3), shape, one)
	require.ErrorContains(t, err, "one has no sizes")
	_, err = diffusion.Compile(diffusion.Guide(linear, one, 3), shape, more)
	require.ErrorContains(t, err, "one has no sizes")
}

// Pooled vectors and sizes are guided as tokens are.
func TestGuideAllParts(t *testing.T) {
	// ε̂ is the pooled number plus ten times the size.
	network := diffusion.Func(func(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error) {
		tens, err := kernels.Scale(c.Sizes, 10)
		if err != nil {
			return nil, err
		}
		sum, err := kernels.Add(c.Pooled, tens)
		if err != nil {
			return nil, err
		}
		return kernels.Reshape(sum, x.Shape()...)
	})
	condition := func(pooled, size float32) dataset.Condition {
		c := tokens(0)
		c.Pooled = tensor.New(tensor.WithShape(1), tensor.WithBacking([]float32{pooled}))
		c.Sizes = tensor.New(tensor.WithShape(1), tensor.WithBacking([]float32{size}))
		return c
	}
	guided := diffusion.Guide(network, condition(1, 2), 2)
	net, err := diffusion.Compile(guided, tensor.Shape{2, 1, 1, 1}, condition(0, 0))
	require.NoError(t, err)
	defer net.Close()
	require.NoError(t, net.Condition.Fill(condition(3, 1), condition(5, 0)))
	eps, err := net.Predict(tensor.New(tensor.WithShape(2, 1, 1, 1), tensor.Of(tensor.Float32)), 0)
	require.NoError(t, err)
	require.Equal(t, []float32{21 + 2*(13-21), 21 + 2*(5-21)}, eps.Float32s())
}

func TestFromVelocity(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) {
		c.TrainSteps, c.TrainedBetas, c.Prediction = new(2), []float64{0.36, 0.4375}, new("v_prediction")
	})
	// √ᾱ·(2x + c) + √(1-ᾱ)·x with √ᾱ = 0.8 and 0.6.
	require.InDeltaSlice(t, []float32{0.8*3 + 0.6, 0.8*5 + 1.2, 0.8*16 + 1.8, 0.8*18 + 2.4}, run(t, s.Denoiser(linear), []float32{1, 2, 3, 4}, []float32{1, 10}, 0), 1e-5)
	require.InDeltaSlice(t, []float32{0.6*3 + 0.8, 0.6*5 + 1.6, 0.6*16 + 2.4, 0.6*18 + 3.2}, run(t, s.Denoiser(linear), []float32{1, 2, 3, 4}, []float32{1, 10}, 1), 1e-5)
	s.Velocity = false
	require.Equal(t, []float32{3}, run(t, s.Denoiser(linear), []float32{1}, []float32{1}, 1))
}

func TestFromClean(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) {
		c.TrainSteps, c.TrainedBetas, c.Prediction = new(2), []float64{0.36, 0.4375}, new("sample")
	})
	// (x - √ᾱ·(2x + c))/√(1-ᾱ) with √ᾱ = 0.8 and √(1-ᾱ) = 0.6, then the other way about.
	require.InDeltaSlice(t, []float32{(1 - 0.8*3) / 0.6, (2 - 0.8*5) / 0.6}, run(t, s.Denoiser(linear), []float32{1, 2}, []float32{1}, 0), 1e-5)
	require.InDeltaSlice(t, []float32{(1 - 0.6*3) / 0.8, (2 - 0.6*5) / 0.8}, run(t, s.Denoiser(linear), []float32{1, 2}, []float32{1}, 1), 1e-5)
}

// ε from v and x is the ε that made x.
func TestVelocityRoundTrip(t *testing.T) {
	s := schedule(t, func(c *diffusion.Config) { c.Prediction = new("v_prediction") })
	x0, e := float32(0.7), float32(-1.3)
	one := func(v float32) *tensor.Dense {
		return tensor.New(tensor.WithShape(1, 1, 1, 1), tensor.WithBacking([]float32{v}))
	}
	for _, at := range []int{0, 500, 999} {
		x, v := one(0), one(0)
		require.NoError(t, s.AddNoise(x, one(x0), one(e), []int{at}))
		require.NoError(t, s.VelocityOf(v, one(x0), one(e), []int{at}))
		net := diffusion.Func(func(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error) {
			return kernels.Input(x.Graph(), "v", v), nil
		})
		got := run(t, diffusion.FromVelocity(net, s), x.Float32s(), []float32{0}, float64(at))
		require.False(t, math.IsNaN(float64(got[0])))
		require.InDelta(t, e, got[0], 1e-6)
	}
}
