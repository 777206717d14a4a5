package alignment

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
)

// Weights have the mean 1, and with balance either kind has half of their sum.
func TestWeights(t *testing.T) {
	weights := func(balance bool, of ...example) (out []float64) {
		require.True(t, weigh(of, balance))
		for _, e := range of {
			out = append(out, e.weight)
		}
		return out
	}
	good := func(w float64) example { return example{good: true, weight: w} }
	bad := func(w float64) example { return example{weight: w} }
	require.InDeltaSlice(t, []float64{1.5, 0.5, 1, 1},
		weights(false, good(3), bad(1), bad(2), bad(2)), 1e-15)
	require.InDeltaSlice(t, []float64{2, 2. / 3, 2. / 3, 2. / 3},
		weights(true, good(1), bad(1), bad(1), bad(1)), 1e-15)
	require.InDeltaSlice(t, []float64{2, 0.4, 0.8, 0.8},
		weights(true, good(3), bad(1), bad(2), bad(2)), 1e-15)
	require.InDeltaSlice(t, []float64{0.75, 2.25, 0}, // all that count are of one kind
		weights(true, bad(1), bad(3), good(0)), 1e-15)
	require.False(t, weigh([]example{good(0)}, false))
	require.True(t, weigh(nil, true))
	require.Equal(t, 3.0, ByJudgements(dataset.Sample{Judgements: 3}))
	require.Equal(t, 1.0, ByJudgements(dataset.Sample{}))
}

// Labels as they are, soft ones of samples that nobody judged, and weights that are all the same
// are one training, bit for bit.
func TestHardLabelsStayWhatTheyAre(t *testing.T) {
	head := func(change func(*Training)) []float64 {
		training := training(labelled(3, 1, things[:4]...))
		training.Passes = 3
		change(training)
		train(t, training)
		return vector(training.Model().head)
	}
	want := head(func(*Training) {})
	require.Equal(t, want, head(func(t *Training) { t.Soft = true }))
	require.Equal(t, want, head(judged), "judgements alone change nothing")
	same := head(func(t *Training) { t.Weight = func(dataset.Sample) float64 { return 7 } })
	require.InDeltaSlice(t, want, same, 1e-4)
	require.NotEqual(t, want, head(func(t *Training) { judged(t); t.Soft = true }))
	require.NotEqual(t, want, head(func(t *Training) { judged(t); t.Weight = ByJudgements }))
}

// What people do not agree on the reward is not sure of: its scores are the shares.
func TestSoftLabelsAreLearned(t *testing.T) {
	samples := labelled(12, 1, things...)
	for i := range samples {
		samples[i].Judgements = 5
		if samples[i].Good = 0.2; samples[i].Label == dataset.Good {
			samples[i].Good = 0.8
		}
	}
	means := func(soft bool) (good, bad float64) {
		training := training(samples)
		training.Soft, training.Lambda = soft, 0
		train(t, training)
		others := labelled(12, 2, others...)
		scores, err := training.Model().Score(t.Context(), others)
		require.NoError(t, err)
		n := 0.0
		for i, s := range others {
			if s.Label == dataset.Good {
				good, n = good+scores[i], n+1
			} else {
				bad += scores[i]
			}
		}
		return good / n, bad / (float64(len(others)) - n)
	}
	good, bad := means(true)
	t.Logf("soft: good %.3f, bad %.3f", good, bad)
	require.InDelta(t, 0.8, good, 0.06)
	require.InDelta(t, 0.2, bad, 0.06)
	good, bad = means(false)
	t.Logf("hard: good %.3f, bad %.3f", good, bad)
	require.Greater(t, good, 0.88)
	require.Less(t, bad, 0.12)
}

// Where one label of ten is good, and the pictures say little, scores are near a tenth. Balanced,
// they are near a half.
func TestBalanceIsLearned(t *testing.T) {
	samples := labelled(10, 1, things...)
	for i := range samples {
		samples[i].Label = dataset.Bad
		if i%10 == 3 {
			samples[i].Label = dataset.Good
		}
	}
	mean := func(balance bool) (mean float64) {
		training := training(samples)
		training.Lambda, training.Balance, training.HeldOut, training.Passes = 0, balance, 0, 10
		training.LR = 1e-3
		train(t, training)
		others := labelled(10, 2, others...)
		scores, err := training.Model().Score(t.Context(), others)
		require.NoError(t, err)
		for _, s := range scores {
			mean += s / float64(len(scores))
		}
		return mean
	}
	plain, balanced := mean(false), mean(true)
	t.Logf("plain %.3f, balanced %.3f", plain, balanced)
	require.Less(t, plain, 0.25)
	require.InDelta(t, 0.5, balanced, 0.1)
}

func TestWeightsThatAreNone(t *testing.T) {
	for want, weight := range map[string]float64{
		"alignment: sample id0: its Weight is -1":     -1,
		"alignment: sample id0: its Weight is NaN":    math.NaN(),
		"alignment: sample id0: its Weight is +Inf":   math.Inf(1),
		"alignment: the Weight of all 22 labels is 0": 0,
	} {
		training := training(labelled(2, 1, "cup", "box"))
		training.Weight = func(dataset.Sample) float64 { return weight }
		for _, err := range training.Epochs(t.Context()) {
			require.ErrorContains(t, err, want)
		}
	}
}

// Without a Perturb, wrong prompts are the others of the samples, as many as there are.
func TestOtherPromptsByDefault(t *testing.T) {
	examples := func(change func(*session)) []example {
		s := &session{Training: *training(labelled(2, 1, "cup"))}
		s.Prompts = 8
		change(s)
		examples, err := s.embed(t.Context())
		require.NoError(t, err)
		require.Equal(t, 6, s.Prompts)
		return examples
	}
	want := examples(func(s *session) {
		s.Perturb, s.Prompts = dataset.OtherPrompts(dataset.Prompts(labelled(2, 1, "cup"))), 6
	})
	require.Equal(t, want, examples(func(s *session) { s.Perturb = nil }))
	one := training(labelled(2, 1, "cup")[:2])
	one.Perturb, one.HeldOut = nil, 0
	for _, err := range one.Epochs(t.Context()) {
		require.EqualError(t, err, `alignment: all labels are of one prompt, "red cup": `+
			"there is none to tell it from")
	}
}
