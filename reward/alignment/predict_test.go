package alignment

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/measure"
)

// By hand: of prompt a there are the pairs 0.9 over 0.2 and 0.9 over 0.9, of b 0.3 under 0.4. The
// similarity ranks the first and the last well, and the second badly. c has no pair.
func TestSkill(t *testing.T) {
	predictions := []Prediction{
		{Prompt: "a", Good: true, Score: 0.9, Logit: math.Log(4), Similarity: 0.5},
		{Prompt: "a", Score: 0.2, Logit: -math.Log(4), Similarity: 0.1},
		{Prompt: "a", Score: 0.9, Logit: math.Log(4), Similarity: 0.8},
		{Prompt: "b", Good: true, Score: 0.3, Similarity: 0.8},
		{Prompt: "b", Score: 0.4, Similarity: 0.2},
		{Prompt: "c", Good: true, Score: 0.6, Similarity: 0.3},
	}
	s, err := NewSkill(predictions, 1)
	require.NoError(t, err)
	require.Equal(t, Count{Prompts: 3, Good: 3, Bad: 3}, s.Labels)
	require.Equal(t, 6, s.Labels.N())
	require.Equal(t, 4.0/6, s.Accuracy.Value) // 0.9 bad and 0.3 good are wrong
	require.Equal(t, 0.5, s.Pairwise.Value)   // (1 + ½ + 0)/3
	require.Equal(t, 3, s.Pairwise.N)
	require.InDelta(t, 2.0/3, s.CLIPPairwise.Value, 1e-15)
	require.InDelta(t, -1.0/6, s.Gain.Value, 1e-15) // (0 + ½ − 1)/3
	// Of 9 pairs over all prompts: 0.9 over 0.2, 0.4, and as 0.9; 0.3 over 0.2; 0.6 over 0.2, 0.4.
	require.InDelta(t, 5.5/9, s.AUC.Value, 1e-15)
	require.InDelta(t, 6.5/9, s.CLIPAUC.Value, 1e-15)
	reliability, err := measure.NewReliability([]float64{0.9, 0.2, 0.9, 0.3, 0.4, 0.6},
		[]bool{true, false, false, true, false, true}, 10)
	require.NoError(t, err)
	require.Equal(t, reliability, s.Reliability)
	raw, err := measure.NewReliability([]float64{0.8, 0.2, 0.8, 0.5, 0.5, 0.5},
		[]bool{true, false, false, true, false, true}, 10)
	require.NoError(t, err)
	require.InDelta(t, raw.ECE, s.Uncalibrated.ECE, 1e-12)

	same, err := NewSkill(predictions[5:], 1)
	require.NoError(t, err)
	require.True(t, math.IsNaN(same.AUC.Value) && math.IsNaN(same.Pairwise.Value))
	text, err := json.Marshal(same)
	require.NoError(t, err)
	require.Contains(t, string(text), `"auc":{"value":null`)
	_, err = NewSkill(nil, 1)
	require.ErrorContains(t, err, "no scores")
}

func TestCountLabels(t *testing.T) {
	require.Equal(t, Count{Prompts: 2, Good: 1, Bad: 2}, CountLabels([]dataset.Sample{
		{Prompt: "a", Label: dataset.Good}, {Prompt: "a", Label: dataset.Bad},
		{Prompt: "b", Label: dataset.Bad}, {Prompt: "c", Label: dataset.Skip}, {Prompt: "d"},
	}))
}
