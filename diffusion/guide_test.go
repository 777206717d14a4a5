package diffusion_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/kernels"
)

// linear is a denoiser that can be checked by hand: it says 2·x + the sample's condition, in all
// channels.
var linear = diffusion.Func(func(
	x, t *gorgonia.Node, c diffusion.Condition,
) (*gorgonia.Node, error) {
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
	return dataset.Condition{
		Tokens: tensor.New(tensor.WithShape(len(values), 1), tensor.WithBacking(values)),
	}
}

func run(t *testing.T, d diffusion.Denoiser, x, c []float32, at float64) []float32 {
	n := len(c)
	net, err := diffusion.Compile(d, tensor.Shape{n, len(x) / n, 1, 1}, tokens(0))
	require.NoError(t, err)
	defer net.Close()
	copy(net.Condition.Tokens.Float32s(), c)
	said, err := net.Predict(tensor.New(tensor.WithShape(n, len(x)/n, 1, 1), tensor.WithBacking(x)),
		at)
	require.NoError(t, err)
	return append([]float32{}, said.Float32s()...)
}

func TestCompile(t *testing.T) {
	require.Equal(t, []float32{3, 5, 16, 18},
		run(t, linear, []float32{1, 2, 3, 4}, []float32{1, 10}, 0))
	_, err := diffusion.Compile(linear, tensor.Shape{2, 1, 1}, tokens(0))
	require.ErrorContains(t, err, "latents (2, 1, 1) are not [N,H,W,C]")
	batch := tokens(1, 2).Batch(3)
	_, err = diffusion.Compile(linear, tensor.Shape{3, 1, 1, 1}, batch)
	require.ErrorContains(t, err,
		"the condition has tokens float32 (3, 2, 1), not float32 of rank 2")
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
	require.InDeltaSlice(t, want,
		run(t, diffusion.Guide(linear, one, 3), []float32{1, 2, 3, 4}, []float32{1, 10}, 0), 1e-5)
	each := one.Batch(2)
	require.NoError(t, each.Fill(one, tokens(0)))
	want = []float32{2 + 4 - 9, 4 + 4 - 9, 6 + 30, 8 + 30}
	require.InDeltaSlice(t, want,
		run(t, diffusion.Guide(linear, each, 3), []float32{1, 2, 3, 4}, []float32{1, 10}, 0), 1e-5)

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
	// It says the pooled number plus ten times the size.
	network := diffusion.Func(func(
		x, t *gorgonia.Node, c diffusion.Condition,
	) (*gorgonia.Node, error) {
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
	said, err := net.Predict(tensor.New(tensor.WithShape(2, 1, 1, 1), tensor.Of(tensor.Float32)), 0)
	require.NoError(t, err)
	require.Equal(t, []float32{21 + 2*(13-21), 21 + 2*(5-21)}, said.Float32s())
}

// A network that is compiled as it is is read as what its schedule says that it predicts: DDIM's
// only step ends at x̂₀.
func TestCompiledNetworksAreRead(t *testing.T) {
	x, c := []float32{1, 2}, []float32{1}
	for p, want := range map[string][]float32{ // √ᾱ = 0.6, √(1-ᾱ) = 0.8; the network says 2x + 1
		"epsilon":      {(1 - 0.8*3) / 0.6, (2 - 0.8*5) / 0.6},
		"v_prediction": {0.6*1 - 0.8*3, 0.6*2 - 0.8*5},
		"sample":       {3, 5},
	} {
		s := schedule(t, func(k *diffusion.Config) {
			k.TrainSteps, k.TrainedBetas, k.Prediction = new(1), []float64{0.64}, &p
			k.StepsOffset, k.SetAlphaToOne = nil, nil
		})
		net, err := diffusion.Compile(linear, tensor.Shape{1, 2, 1, 1}, tokens(0))
		require.NoError(t, err)
		defer net.Close()
		copy(net.Condition.Tokens.Float32s(), c)
		start := tensor.New(tensor.WithShape(1, 2, 1, 1), tensor.WithBacking(x))
		last, err := diffusion.Last(diffusion.DDIM(t.Context(), net.Predict, s, start,
			diffusion.SampleOptions{Steps: 1}))
		require.NoError(t, err)
		require.InDeltaSlice(t, want, last.Latent.Float32s(), 1e-6, p)
	}
}
