package reward

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
)

func TestTransforms(t *testing.T) {
	rewards := []float64{0.2, 1, 0.6}
	e := math.E
	for name, c := range map[string]struct {
		t    Transform
		want []float64
	}{
		"raw":       {Raw, rewards},
		"minmax":    {MinMax, []float64{0, 1, 0.5}},
		"threshold": {Threshold(0.6), []float64{0, 1, 1}},
		"softmax":   {Softmax(0.4), []float64{3 / (1 + e*e + e), 3 * e * e / (1 + e*e + e), 3 * e / (1 + e*e + e)}},
		"shift":     {Shift(-0.5), []float64{0, 0.5, 0.1}},
		"constant":  {Constant(0.3), []float64{0.3, 0.3, 0.3}},
	} {
		got, err := c.t(slices.Clone(rewards))
		require.NoError(t, err, name)
		require.InDeltaSlice(t, c.want, got, 1e-12, name)
		_, err = c.t([]float64{1, math.NaN(), 0})
		require.Error(t, err, name)
		none, err := c.t(nil)
		require.NoError(t, err, name)
		require.Empty(t, none, name)
	}
	_, err := MinMax([]float64{2, 2})
	require.ErrorContains(t, err, "all are 2")
	_, err = Softmax(0)(rewards)
	require.ErrorContains(t, err, "temperature 0")
	large, err := Softmax(1e-3)([]float64{1000, 999})
	require.NoError(t, err)
	require.InDeltaSlice(t, []float64{2, 0}, large, 1e-12)
}

func TestShuffledKeepsTheWeightsAndMovesThem(t *testing.T) {
	var rewards []float64
	for i := range 100 {
		rewards = append(rewards, float64(i))
	}
	got, err := Shuffled(Shift(1), 1)(rewards)
	require.NoError(t, err)
	again, err := Shuffled(Shift(1), 1)(rewards)
	require.NoError(t, err)
	other, err := Shuffled(Shift(1), 2)(rewards)
	require.NoError(t, err)
	require.Equal(t, got, again)
	require.NotEqual(t, got, other)
	stayed := 0
	for i, w := range got {
		if w == rewards[i]+1 {
			stayed++
		}
	}
	require.Less(t, stayed, 10)
	slices.Sort(got)
	require.Equal(t, 1.0, got[0])
	require.Equal(t, 100.0, got[99])
	require.Len(t, slices.Compact(got), 100)
}

// byID scores a sample by the number that is its ID, and notes how many it was asked for at once.
type byID struct{ asked []int }

func (m *byID) Score(_ context.Context, samples []dataset.Sample) ([]float64, error) {
	m.asked = append(m.asked, len(samples))
	var scores []float64
	for _, s := range samples {
		v, err := strconv.ParseFloat(s.ID, 64)
		if err != nil {
			return nil, err
		}
		scores = append(scores, v)
	}
	return scores, nil
}

func numbered(prompts string, ids ...string) (samples []dataset.Sample) {
	for i, id := range ids {
		samples = append(samples, dataset.Sample{ID: id, Prompt: string(prompts[i])})
	}
	return samples
}

func TestBestOf(t *testing.T) {
	best, err := BestOf(t.Context(), &byID{}, numbered("ababaabb", "1", "3", "7", "5", "9", "9.0", "4", "2"), 2)
	require.NoError(t, err)
	got := ""
	for _, s := range best {
		got += s.Prompt + s.ID + " "
		require.Equal(t, s.ID, strconv.Itoa(int(*s.Reward)))
	}
	require.Equal(t, "a7 b5 a9 b4 ", got)
	_, err = BestOf(t.Context(), &byID{}, numbered("aaa", "1", "2", "3"), 2)
	require.ErrorContains(t, err, `1 samples left over of prompt "a"`)
	_, err = BestOf(t.Context(), &byID{}, nil, 0)
	require.ErrorContains(t, err, "best of 0")
}

func TestSumAndBatched(t *testing.T) {
	samples := numbered("aaaaa", "1", "2", "3", "4", "5")
	m := &byID{}
	scores, err := Sum(Weighted{Batched(m, 2), 2}, Weighted{&byID{}, -0.5}).Score(t.Context(), samples)
	require.NoError(t, err)
	require.Equal(t, []float64{1.5, 3, 4.5, 6, 7.5}, scores)
	require.Equal(t, []int{2, 2, 1}, m.asked)
	_, err = Batched(m, 0).Score(t.Context(), samples)
	require.Error(t, err)
}

func TestScored(t *testing.T) {
	m := &byID{}
	got, err := dataset.Collect(t.Context(), Scored(dataset.FromSlice(numbered("aaa", "1", "2", "3")), m, 2))
	require.NoError(t, err)
	require.Equal(t, []int{2, 1}, m.asked)
	for i, s := range got {
		require.Equal(t, float64(i+1), *s.Reward)
	}
	_, err = dataset.Collect(t.Context(), Scored(dataset.FromSlice(numbered("a", "x")), m, 2))
	require.ErrorIs(t, err, strconv.ErrSyntax)
	for range Scored(dataset.FromSlice(numbered("aaa", "1", "2", "3")), m, 2).All(t.Context()) {
		break
	}
}

// A model that breaks its contract is found out.
func TestModelsAreHeldToTheirContract(t *testing.T) {
	short := Func(func(context.Context, []dataset.Sample) ([]float64, error) { return []float64{1}, nil })
	nan := Func(func(_ context.Context, s []dataset.Sample) ([]float64, error) {
		return slices.Repeat([]float64{math.NaN()}, len(s)), nil
	})
	broken := errors.New("broken")
	fails := Func(func(context.Context, []dataset.Sample) ([]float64, error) { return nil, broken })
	samples := numbered("aa", "1", "2")
	for m, want := range map[*Func]string{&short: "1 scores for 2 samples", &nan: `"1" (a) NaN`, &fails: "broken"} {
		_, err := Sum(Weighted{*m, 1}).Score(t.Context(), samples)
		require.ErrorContains(t, err, want)
		_, err = Batched(*m, 2).Score(t.Context(), samples)
		require.ErrorContains(t, err, want)
		_, err = BestOf(t.Context(), *m, samples, 2)
		require.ErrorContains(t, err, want)
		_, err = dataset.Collect(t.Context(), Scored(dataset.FromSlice(samples), *m, 2))
		require.ErrorContains(t, err, want)
	}
}
