package tiny_test

import (
	"image/color"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/kernels"
)

// made are pictures of the miniature with their latents, from noise that is always the same.
func made(t *testing.T, machine kernels.Config) []dataset.Sample {
	t.Helper()
	p, err := tiny.Load()
	require.NoError(t, err)
	p.Machine = machine
	samples, err := dataset.Collect(t.Context(), p.Generate(pipeline.Request{
		Prompts:   []string{"two green circles", "a red square", "three blue triangles"},
		PerPrompt: 4, Steps: 25, Guidance: 2, Seed: 1,
	}))
	require.NoError(t, err)
	return samples
}

// In bfloat16 the miniature makes all but the same pictures from the same noise, and its updates
// have all but the same losses. The README says how near they are.
func TestBFloat16(t *testing.T) {
	half := kernels.Config{Precision: kernels.BFloat16}
	want, got := made(t, kernels.Config{}), made(t, half)
	require.Len(t, got, len(want))
	var off, size, levels, values, most float64
	for i, w := range want {
		for j, v := range w.Latent.Float32s() {
			d := float64(got[i].Latent.Float32s()[j] - v)
			off, size = off+d*d, size+float64(v)*float64(v)
		}
		bounds := w.Image.Bounds()
		require.Equal(t, bounds, got[i].Image.Bounds())
		for y := bounds.Min.Y; y < bounds.Max.Y; y++ {
			for x := bounds.Min.X; x < bounds.Max.X; x++ {
				a := color.NRGBAModel.Convert(w.Image.At(x, y)).(color.NRGBA)
				b := color.NRGBAModel.Convert(got[i].Image.At(x, y)).(color.NRGBA)
				for _, pair := range [][2]uint8{{a.R, b.R}, {a.G, b.G}, {a.B, b.B}} {
					apart := math.Abs(float64(pair[0]) - float64(pair[1]))
					levels, values, most = levels+apart, values+1, max(most, apart)
				}
			}
		}
	}
	latents := math.Sqrt(off / size)
	t.Logf("latents differ by %.2g; values of pictures by %.2g of 255 in the mean, %g at most",
		latents, levels/values, most)
	require.Positive(t, latents, "float32 twice")
	require.Less(t, latents, 0.03)
	require.Less(t, levels/values, 1.5)

	losses, _ := tuned(t, kernels.Config{})
	rounded, _ := tuned(t, half)
	for i, loss := range losses {
		t.Logf("update %d: loss %.6f, in bfloat16 %.6f", i, loss, rounded[i])
		require.InEpsilon(t, loss, rounded[i], 0.003)
	}
}
