package evaluate_test

import (
	"context"
	"image"
	"image/color"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// dots are pictures of one pixel, of two prompts, as bright as values say.
func dots(values ...uint8) (all []dataset.Sample) {
	for i, v := range values {
		picture := image.NewGray(image.Rect(0, 0, 1, 1))
		picture.SetGray(0, 0, color.Gray{v})
		all = append(all, dataset.Sample{Prompt: []string{"a", "b"}[i/2%2], Image: picture})
	}
	return all
}

func bright(s dataset.Sample) float64 { return float64(s.Image.(*image.Gray).Pix[0]) / 200 }

var brightness = reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
	scores := make([]float64, len(samples))
	for i, s := range samples {
		scores[i] = bright(s)
	}
	return scores, nil
})

func prompt(s dataset.Sample) string { return s.Prompt }

func TestTrial(t *testing.T) {
	pictures := map[string][]dataset.Sample{
		"base":  dots(0, 99, 100, 0), // bad, bad, good, bad
		"tuned": dots(100, 200, 200, 0),
	}
	trial, err := evaluate.Judge(t.Context(), "unseen", brightness, pictures)
	require.NoError(t, err)
	for i, good := range []bool{false, false, true, false} {
		require.Equal(t, good, trial.Good("base", i), i)
	}
	rates := trial.Rates(prompt)
	require.Equal(t, 0.25, rates[evaluate.Everything]["base"].Rate)
	require.Equal(t, 0.75, rates[evaluate.Everything]["tuned"].Rate)
	require.Equal(t, []float64{0, 0.5, 1, 0.5}, []float64{
		rates["a"]["base"].Rate, rates["b"]["base"].Rate,
		rates["a"]["tuned"].Rate, rates["b"]["tuned"].Rate,
	})
	require.Equal(t, 2, rates["a"]["base"].N)

	gain, err := trial.Gain("tuned", "base", 1)
	require.NoError(t, err)
	require.Equal(t, 50.0, gain.Points, "two of four more")
	require.LessOrEqual(t, gain.Low, 50.0)
	require.Equal(t, "+50.0 points (+0.0 to +100.0)",
		evaluate.Gain{Points: 50, Low: 0, High: 100}.String())

	labelled := trial.Labelled("base")
	want := []dataset.Label{dataset.Bad, dataset.Bad, dataset.Good, dataset.Bad}
	require.Equal(t, want, []dataset.Label{
		labelled[0].Label, labelled[1].Label, labelled[2].Label, labelled[3].Label,
	})
	require.Equal(t, dataset.Unlabelled, pictures["base"][0].Label)

	arms := []string{"base", "tuned"}
	titles := map[string]string{"base": "base", "tuned": "the tuned one"}
	table := trial.Table(prompt, []string{"b"}, arms, titles, "a note")
	require.Equal(t, "Alignment, unseen prompts", table.Title)
	require.Equal(t, []string{"prompts", "base", "the tuned one"}, table.Header)
	require.Len(t, table.Rows, 2)
	require.Equal(t, "all", table.Rows[0][0])
	require.Contains(t, table.Rows[0][1], "25 %")
	require.Contains(t, table.Rows[1][2], "50 %")

	grid := trial.Grid(3, arms, titles)
	require.Equal(t, []string{"base", "the tuned one"}, grid.Columns)
	require.Len(t, grid.Rows, 3)
	require.Equal(t, "b", grid.Rows[2].Label)
	require.Equal(t, report.Wrong, grid.Rows[0].Cells[0].Mark)
	require.Equal(t, report.Right, grid.Rows[0].Cells[1].Mark)
	require.Same(t, pictures["tuned"][2].Image, grid.Rows[2].Cells[1].Image)
	require.Len(t, trial.Grid(9, arms, titles).Rows, 4)

	failing := reward.Func(func(context.Context, []dataset.Sample) ([]float64, error) {
		return nil, context.DeadlineExceeded
	})
	_, err = evaluate.Judge(t.Context(), "unseen", failing, pictures)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// eye sees a picture's brightness, turned into a direction.
type eye struct{ reward.Encoder }

func (eye) ImageFeatures(_ context.Context, pictures []image.Image) (*tensor.Dense, error) {
	f := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(len(pictures), 2))
	for i, p := range pictures {
		angle := bright(dataset.Sample{Image: p})
		f.Float32s()[2*i], f.Float32s()[2*i+1] = float32(math.Cos(angle)), float32(math.Sin(angle))
	}
	return f, nil
}

func TestMeasureQuality(t *testing.T) {
	images := func(samples []dataset.Sample) (all []image.Image) {
		for _, s := range samples {
			all = append(all, s.Image)
		}
		return all
	}
	reference := images(dots(10, 50, 90, 130))
	q, err := evaluate.MeasureQuality(t.Context(), eye{}, map[string][]image.Image{
		"same": reference, "other": images(dots(110, 110, 190, 190)),
	}, reference, []string{"x", "x", "y", "y"})
	require.NoError(t, err)
	require.InDelta(t, 0, q.Frechet["same"], 1e-9)
	require.Greater(t, q.Frechet["other"], 0.01)
	require.InDelta(t, 1-math.Cos(40.0/200), q.Diversity["same"], 1e-6,
		"40 of 200 apart in each kind")
	require.InDelta(t, 0, q.Diversity["other"], 1e-6)
	titles := map[string]string{"same": "as drawn", "other": "o"}
	table := q.Table([]string{"same", "other"}, titles, "n")
	require.Equal(t, []string{"", "as drawn", "o"}, table.Header)
	require.Equal(t, []string{"diversity", "0.020", "0.000"}, table.Rows[1])

	one := map[string][]image.Image{"lonely": reference[:1]}
	_, err = evaluate.MeasureQuality(t.Context(), eye{}, one, reference, []string{"x"})
	require.ErrorContains(t, err, "evaluate: lonely: ")
}
