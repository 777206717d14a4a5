package alignment

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/measure"
)

// byHeart is a training that learns noise by heart, so that its model is too sure. A quarter of the
// labels are wrong.
func byHeart() *Training {
	t := training(wrongly(labelled(6, 1, things...)))
	t.Lambda, t.HeldOut, t.Passes, t.LR = 0, 0, 60, 1e-2
	return t
}

// wrongly has the opposite label for every fourth sample.
func wrongly(samples []dataset.Sample) []dataset.Sample {
	for i := range samples {
		if i%4 == 2 {
			samples[i].Label = dataset.Good + dataset.Bad - samples[i].Label
		}
	}
	return samples
}

// Calibrated on some prompts, rewards are nearer to the probabilities on others. Their order and
// their side of a half stay, and the temperature is saved.
func TestCalibration(t *testing.T) {
	training := byHeart()
	train(t, training)
	m := training.Model()
	require.Equal(t, 1.0, m.Temperature())
	calibrated, err := m.Calibrate(t.Context(),
		dataset.FromSlice(wrongly(labelled(12, 2, "bed", "cat", "egg"))))
	require.NoError(t, err)
	require.Greater(t, calibrated.Temperature(), 1.3)
	require.Equal(t, 1.0, m.Temperature(), "the model itself has changed")
	require.NotEqual(t, m.Hash(), calibrated.Hash())

	others := wrongly(labelled(20, 3, "ink", "oak", "tin"))
	predictions, err := calibrated.Predict(t.Context(), dataset.FromSlice(others))
	require.NoError(t, err)
	skill, err := NewSkill(predictions, 1)
	require.NoError(t, err)
	t.Logf("T %.2f, ECE %.3f before, %.3f after", calibrated.Temperature(),
		skill.Uncalibrated.ECE, skill.Reliability.ECE)
	require.Less(t, skill.Reliability.ECE, skill.Uncalibrated.ECE-0.03)

	before, err := m.Score(t.Context(), others)
	require.NoError(t, err)
	after, err := calibrated.Score(t.Context(), others)
	require.NoError(t, err)
	logits, err := Presigmoid{m}.Score(t.Context(), others)
	require.NoError(t, err)
	good := columnsOf(predictions).good
	for i := range others {
		require.InDelta(t, sigmoid(logits[i]/calibrated.Temperature()), after[i], 1e-15)
		require.Equal(t, before[i] >= 0.5, after[i] >= 0.5)
		require.Equal(t, after[i], predictions[i].Score)
		require.Equal(t, logits[i], predictions[i].Logit)
	}
	first, err := measure.AUC(before, good)
	require.NoError(t, err)
	second, err := measure.AUC(after, good)
	require.NoError(t, err)
	require.Equal(t, first, second)

	dir := t.TempDir()
	require.NoError(t, calibrated.Save(dir))
	again, err := Load(dir, training.CLIP)
	require.NoError(t, err)
	require.Equal(t, calibrated.Temperature(), again.Temperature())
	require.Equal(t, calibrated.Hash(), again.Hash())
	loaded, err := again.Score(t.Context(), others)
	require.NoError(t, err)
	require.Equal(t, after, loaded)
	require.NoError(t, replace("config.json", `"temperature": `, `"temperature": -`)(dir))
	_, err = Load(dir, training.CLIP)
	require.ErrorContains(t, err, filepath.Join(dir, "config.json")+": the temperature is -")
	text, err := os.ReadFile(filepath.Join(dir, "config.json"))
	require.NoError(t, err)
	require.Contains(t, string(text), `"product": true,`)
	_, err = m.Calibrate(t.Context(), dataset.FromSlice(nil))
	require.ErrorIs(t, err, dataset.ErrNoLabels)
}

// Calibrated is Calibrate on what a training has held out.
func TestCalibratedOnHeldOut(t *testing.T) {
	samples := labelled(6, 1, things[:4]...)
	training := training(samples)
	_, err := training.Calibrated()
	require.ErrorContains(t, err, "or has not begun")
	train(t, training)
	got, err := training.Calibrated()
	require.NoError(t, err)
	held := map[string]bool{}
	for _, e := range training.session.heldOut {
		held[e.prompt] = true
	}
	want, err := training.Model().Calibrate(t.Context(), dataset.Filter(
		dataset.FromSlice(samples), func(s dataset.Sample) bool { return held[s.Prompt] }))
	require.NoError(t, err)
	require.Equal(t, want.Temperature(), got.Temperature())
	require.NotEqual(t, 1.0, got.Temperature())
	none := byHeart()
	none.Passes = 1
	train(t, none)
	_, err = none.Calibrated()
	require.ErrorContains(t, err, "holds nothing out")
}

// The score before the sigmoid is log(r/(1−r)), any reward.Model's, and no sample's neighbours'.
func TestPresigmoid(t *testing.T) {
	m := trained(t)
	var p reward.Model = Presigmoid{m}
	samples := labelled(2, 7, "cup", "egg")
	scores, err := m.Score(t.Context(), samples)
	require.NoError(t, err)
	logits, err := p.Score(t.Context(), samples)
	require.NoError(t, err)
	for i, r := range scores {
		require.InDelta(t, math.Log(r/(1-r)), logits[i], 1e-9)
	}
	alone, err := p.Score(t.Context(), samples[3:4])
	require.NoError(t, err)
	require.Equal(t, logits[3:4], alone)
	require.NotEqual(t, m.Hash(), Presigmoid{m}.Hash())
	samples[1].Image = nil
	_, err = p.Score(t.Context(), samples)
	require.ErrorContains(t, err, "no picture")
}
