package evaluate

import (
	"context"
	"image"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/measure"
)

// angles is an encoder whose features lie in a plane: a picture's at its width in degrees, a
// prompt's at its length.
type angles struct{ most int } // pictures asked for at once

func rows(degrees ...int) *tensor.Dense {
	var v []float32
	for _, d := range degrees {
		sin, cos := math.Sincos(float64(d) * math.Pi / 180)
		v = append(v, float32(cos), float32(sin))
	}
	return tensor.New(tensor.WithShape(len(degrees), 2), tensor.WithBacking(v))
}

func (a *angles) ImageFeatures(_ context.Context, pictures []image.Image) (*tensor.Dense, error) {
	a.most = max(a.most, len(pictures))
	var degrees []int
	for _, p := range pictures {
		degrees = append(degrees, p.Bounds().Dx())
	}
	return rows(degrees...), nil
}

func (a *angles) TextFeatures(_ context.Context, prompts []string) (*tensor.Dense, error) {
	var degrees []int
	for _, p := range prompts {
		degrees = append(degrees, len(p))
	}
	return rows(degrees...), nil
}

// width is a reward: a hundredth of a picture's width.
var width = reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
	var scores []float64
	for _, s := range samples {
		scores = append(scores, float64(s.Image.Bounds().Dx())/100)
	}
	return scores, nil
})

// pictures of widths, two of a prompt: of 30 letters, then 60, then 90.
func pictures(widths ...int) dataset.Dataset {
	var samples []dataset.Sample
	for i, w := range widths {
		prompt := strings.Repeat("x", 30*(1+i/2))
		picture := image.NewGray(image.Rect(0, 0, w, 1))
		samples = append(samples, dataset.Sample{Prompt: prompt, Image: picture})
	}
	return dataset.FromSlice(samples)
}

func scored(t *testing.T, name string, widths ...int) *Arm {
	t.Helper()
	a, err := (&Scorer{Reward: width, CLIP: &angles{}}).Score(t.Context(), name,
		pictures(widths...))
	require.NoError(t, err)
	return a
}

func TestScorer(t *testing.T) {
	e := &angles{}
	a, err := (&Scorer{Reward: width, CLIP: e, Batch: 2}).Score(t.Context(), "base",
		pictures(30, 90, 60, 120, 90))
	require.NoError(t, err)
	require.Equal(t, 2, e.most)
	require.Len(t, a.Samples, 5)
	require.InDeltaSlice(t, []float64{100, 50, 100, 50, 100}, a.Scores[CLIPScore], 1e-4)
	require.Equal(t, []float64{0.3, 0.9, 0.6, 1.2, 0.9}, a.Scores[Reward])
	for i, s := range a.Samples {
		require.Nil(t, s.Image)
		require.Equal(t, a.Scores[Reward][i], *s.Reward)
	}
	require.InDelta(t, 0.78, a.Mean(Reward), 1e-12)
	d, err := a.Diversity()
	require.NoError(t, err)
	// 1 − cos 60°; the third prompt has one picture.
	require.InDeltaSlice(t, []float64{0.5, 0.5}, d, 1e-6)

	plain, err := (&Scorer{}).Score(t.Context(), "plain", pictures(30))
	require.NoError(t, err)
	require.Empty(t, plain.Scores)
	require.Nil(t, plain.Features)
	_, err = (&Scorer{CLIP: e}).Score(t.Context(), "none",
		dataset.FromSlice([]dataset.Sample{{ID: "7", Prompt: "x"}}))
	require.ErrorContains(t, err, `sample "7" (x) of none has no picture`)
	short := reward.Func(func(context.Context, []dataset.Sample) ([]float64, error) {
		return nil, nil
	})
	_, err = (&Scorer{Reward: short}).Score(t.Context(), "short", pictures(1))
	require.ErrorContains(t, err, "0 scores for 1 samples")
}

func TestBestOf(t *testing.T) {
	base := scored(t, "base", 30, 90, 60, 120)
	more := scored(t, "more", 40, 80, 60, 10, 31, 91, 61, 121)
	more.Samples[4].Prompt, more.Samples[5].Prompt = more.Samples[0].Prompt, more.Samples[0].Prompt
	more.Samples[6].Prompt, more.Samples[7].Prompt = more.Samples[2].Prompt, more.Samples[2].Prompt
	best, choice, err := BestOf("best", Reward, base, more.Slice(0, 4), more.Slice(4, 8))
	require.NoError(t, err)
	require.Equal(t, []int{1, 2, 2, 2}, choice)
	require.Equal(t, []float64{0.4, 0.91, 0.61, 1.21}, best.Scores[Reward])
	require.Equal(t, more.Features[5], best.Features[1])
	require.Equal(t, more.Scores[CLIPScore][7], best.Scores[CLIPScore][3])
	_, choice, err = BestOf("best", Reward, base, base)
	require.NoError(t, err)
	require.Equal(t, []int{0, 0, 0, 0}, choice, "of equals the first")
	_, _, err = BestOf("best", Reward, base, more)
	require.ErrorContains(t, err, "base has 4 samples and more 8")
	_, _, err = BestOf("best", Reward, base, more.Slice(2, 6))
	require.ErrorContains(t, err, "place 0 is of ")
	_, _, err = BestOf("best", "beauty", base)
	require.ErrorContains(t, err, `0 scores "beauty"`)
	_, _, err = BestOf("best", Reward)
	require.Error(t, err)
}

// Two pictures of a prompt that differ alike are one piece of news: the interval is that of the
// prompts.
func TestCompareIsClusteredByPrompt(t *testing.T) {
	base := scored(t, "base", 30, 30, 60, 60, 90, 90)
	tuned := scored(t, "tuned", 40, 40, 80, 80, 120, 120)
	d, err := Compare(base, tuned, Reward, 1)
	require.NoError(t, err)
	require.InDelta(t, 0.2, d.Mean, 1e-12)
	want, err := measure.Paired(base.Scores[Reward], tuned.Scores[Reward],
		[]string{"a", "a", "b", "b", "c", "c"}, 1)
	require.NoError(t, err)
	require.Equal(t, want, d)
	naive, err := measure.Paired(base.Scores[Reward], tuned.Scores[Reward], nil, 1)
	require.NoError(t, err)
	require.NotEqual(t, naive, d)

	one, err := Compare(base.Slice(0, 2), tuned.Slice(0, 2), Reward, 1)
	require.NoError(t, err)
	require.False(t, math.IsInf(one.High, 1), "of one prompt, the interval is about its pictures")
	_, err = Compare(base, tuned, "good", 1)
	require.ErrorContains(t, err, `0 scores "good"`)
	_, err = Compare(base, tuned.Slice(0, 2), Reward, 1)
	require.ErrorContains(t, err, "6 samples")
}

func TestFrechet(t *testing.T) {
	base := scored(t, "base", 30, 34, 60, 55, 90, 97, 20, 28)
	tuned := scored(t, "tuned", 40, 41, 80, 77, 120, 111, 50, 60)
	d, err := Frechet(tuned, base, 1)
	require.NoError(t, err)
	want, err := measure.FrechetFeatures(tuned.Features, base.Features)
	require.NoError(t, err)
	require.Equal(t, want, d.Distance)
	require.Less(t, d.Low, want)
	require.Greater(t, d.High, want)
}

func TestSummarize(t *testing.T) {
	base, tuned := scored(t, "base", 30, 90, 60, 120), scored(t, "tuned", 30, 100, 60, 130)
	tuned.Title = "tuned well"
	best, _, err := BestOf("best", Reward, base, tuned)
	require.NoError(t, err)
	require.Equal(t, [][2]int{{1, 0}, {2, 0}, {1, 2}}, Pairs(3, true))
	require.Equal(t, [][2]int{{1, 0}, {2, 0}}, Pairs(3, false))
	r, err := Summarize([]*Arm{base, tuned, best}, Pairs(3, true), 1)
	require.NoError(t, err)
	require.InDelta(t, 0.75, *r.Arms[0].Reward, 1e-12)
	require.InDelta(t, 75, r.Arms[0].CLIPScore, 1e-4)
	require.InDelta(t, 0.5, *r.Arms[0].Diversity, 1e-6)
	require.Len(t, r.Differences, 3)
	require.InDelta(t, 0.05, r.Differences[0].Reward.Mean, 1e-12)
	require.InDelta(t, 0.5-math.Cos(70*math.Pi/180), r.Differences[0].Diversity.Mean, 1e-6)
	require.Equal(t, 2, r.Differences[0].Diversity.N)
	require.Zero(t, r.Differences[2].Reward.Mean)

	require.Equal(t, "By the reward, tuned well is better than base.", r.Verdict())
	tables := r.Tables("Of two prompts.")
	require.Equal(t, []string{"tuned well", "0.800", "67.10", "0.658"}, tables[1].Rows[1])
	require.Equal(t, "tuned well − base", tables[0].Rows[0][0])
	require.True(t, strings.HasPrefix(tables[0].Rows[0][1], "+0.050 (+0.050 to +0.050)"),
		tables[0].Rows[0][1])
	require.Equal(t, "reward, tuned well − base", r.Figures()[0].Name)
	require.Len(t, r.Charts(), 2)

	for i := range r.Arms {
		r.Arms[i].Reward = nil
	}
	for i := range r.Differences {
		r.Differences[i].Reward = nil
	}
	require.Equal(t, []string{"tuned well", "67.10", "0.658"}, r.Tables("")[1].Rows[1])
	require.Len(t, r.Charts(), 1)
	require.Equal(t, "By CLIP's score, tuned well is worse than base.", r.Verdict())
	base.Scores = nil
	_, err = Summarize([]*Arm{base}, nil, 1)
	require.ErrorContains(t, err, `base has no scores "clip_score"`)
}
