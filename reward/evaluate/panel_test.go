package evaluate

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/reward"
)

// A Panel's metrics are means over the pictures that the network, as it is by then, makes of the
// request, which are the same as long as the network is.
func TestPanel(t *testing.T) {
	model, err := tiny.Load()
	require.NoError(t, err)
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer func() { require.NoError(t, encoder.Close()) }()
	network, err := nn.Clone(model.UNet)
	require.NoError(t, err)
	red := reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
		out := make([]float64, len(samples))
		for i, s := range samples {
			r, _, _, _ := s.Image.At(0, 0).RGBA()
			out[i] = float64(r)
		}
		return out, nil
	})
	even := 0
	half := reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
		out := make([]float64, len(samples))
		for i := range samples {
			out[i] = float64(even % 2)
			even++
		}
		return out, nil
	})
	p := &Panel{
		Model: model.With("tuned", network), CLIP: encoder,
		Judges: map[string]reward.Model{"red": red, "half": half},
		Request: pipeline.Request{
			Prompts: []string{"a red star", "two blue circles"}, PerPrompt: 2, Steps: 2,
			Guidance: 1, Seed: 3,
		},
	}
	got, err := p.Judge(t.Context(), 0)
	require.NoError(t, err)
	pictures, err := dataset.Collect(t.Context(), model.Generate(p.Request))
	require.NoError(t, err)
	scores, err := red(t.Context(), pictures)
	require.NoError(t, err)
	arm, err := (&Scorer{CLIP: encoder}).Score(t.Context(), "base", dataset.FromSlice(pictures))
	require.NoError(t, err)
	apart, err := arm.Diversity()
	require.NoError(t, err)
	require.Len(t, apart, 2)
	require.InDelta(t, (scores[0]+scores[1]+scores[2]+scores[3])/4, got["red"], 1e-9)
	require.Equal(t, 0.5, got["half"])
	require.InDelta(t, arm.Mean(CLIPScore), got[CLIPScore], 1e-9)
	require.InDelta(t, (apart[0]+apart[1])/2, got[Diversity], 1e-12)
	require.Len(t, got, 4)

	again, err := p.Judge(t.Context(), 10)
	require.NoError(t, err)
	require.Equal(t, got, again)
	nn.Init(network, 5)
	tuned, err := p.Judge(t.Context(), 20)
	require.NoError(t, err)
	require.NotEqual(t, got["red"], tuned["red"])
	require.NotEqual(t, got[Diversity], tuned[Diversity])

	p.Request.PerPrompt = 1
	p.Judges = nil
	got, err = p.Judge(t.Context(), 0)
	require.NoError(t, err)
	require.Contains(t, got, CLIPScore)
	require.Len(t, got, 1, "one picture of a prompt is not diverse")
	broken := errors.New("broken")
	p.Judges = map[string]reward.Model{"red": reward.Func(func(
		context.Context, []dataset.Sample,
	) ([]float64, error) {
		return nil, broken
	})}
	_, err = p.Judge(t.Context(), 0)
	require.ErrorIs(t, err, broken)
	require.ErrorContains(t, err, "red: ")
	p.Request.Prompts = nil
	_, err = p.Judge(t.Context(), 0)
	require.Error(t, err)
}
