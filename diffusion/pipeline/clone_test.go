package pipeline

import (
	"image"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A clone paints the same pictures, and what is done to its networks is not done to the original's.
func TestClone(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	r := Request{Prompts: []string{"two green circles"}, Steps: 2, Guidance: 2, Seed: 1}
	paint := func(p *Pipeline) []float32 {
		all, err := dataset.Collect(t.Context(), p.Generate(r))
		require.NoError(t, err)
		return all[0].Latent.Float32s()
	}
	c, err := p.Clone()
	require.NoError(t, err)
	before := paint(p)
	require.Equal(t, before, paint(c))
	for _, part := range []any{c.UNet, c.VAE, c.Text} {
		for _, q := range nn.Parameters(part) {
			clear(q.Value.Float32s())
		}
	}
	require.Equal(t, before, paint(p))
	require.NotEqual(t, before, paint(c))

	_, err = p.With("mine", own{16, 4}).Clone()
	require.ErrorContains(t, err, "a pipeline.own is not copied")

	p.UNet.ConvIn.Attach(p.UNet.ConvIn.NewLowRank(1))
	_, err = p.Clone()
	require.ErrorContains(t, err, "low-rank adapter")
}

// Decode makes the pictures that Generate makes of the same latents; EncodeImages the latents that
// Encode makes of pictures.
func TestDecodeAndEncodeImages(t *testing.T) {
	p, err := Load("../../examples/tiny/model")
	require.NoError(t, err)
	r := Request{
		Prompts: []string{"two green circles", "one red star"},
		Steps:   2, Guidance: 1, Seed: 1, Batch: 2,
	}
	made, err := dataset.Collect(t.Context(), p.Generate(r))
	require.NoError(t, err)
	shape := made[0].Latent.Shape()
	latents := tensor.New(tensor.Of(tensor.Float32),
		tensor.WithShape(append([]int{2}, shape...)...))
	var pictures []image.Image
	for i, s := range made {
		copy(latents.Float32s()[i*shape.TotalSize():], s.Latent.Float32s())
		pictures = append(pictures, s.Image)
	}
	decoded, err := p.Decode(t.Context(), latents)
	require.NoError(t, err)
	require.Equal(t, pictures, decoded)

	encoded, err := p.EncodeImages(t.Context(), pictures)
	require.NoError(t, err)
	for i := range made {
		made[i].Latent, made[i].Condition = nil, dataset.Condition{}
	}
	want, err := dataset.Collect(t.Context(), p.Encode(dataset.FromSlice(made), EncodeOptions{}))
	require.NoError(t, err)
	require.Equal(t, tensor.Shape(append([]int{2}, shape...)), encoded.Shape())
	for i, s := range want {
		n := shape.TotalSize()
		require.Equal(t, s.Latent.Float32s(), encoded.Float32s()[i*n:(i+1)*n])
	}
	require.NotEqual(t, want[0].Latent.Float32s(), want[1].Latent.Float32s())

	// The VAE's own latents are those divided by scaling_factor: where both are twice as large, the
	// pictures are the same.
	p.VAE.Config.ScalingFactor *= 2
	for i := range latents.Float32s() {
		latents.Float32s()[i] *= 2
	}
	decoded, err = p.Decode(t.Context(), latents)
	require.NoError(t, err)
	require.Equal(t, pictures, decoded)
	once := encoded.Clone().(*tensor.Dense).Float32s()
	encoded, err = p.EncodeImages(t.Context(), pictures)
	require.NoError(t, err)
	for i, v := range once {
		require.Equal(t, 2*v, encoded.Float32s()[i])
	}

	wrong := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(1, 8, 8, 3))
	_, err = p.Decode(t.Context(), wrong)
	require.ErrorContains(t, err, "(1, 8, 8, 3), not float32 [N,h,w,4]")
	_, err = p.EncodeImages(t.Context(), nil)
	require.ErrorContains(t, err, "no pictures")
}
