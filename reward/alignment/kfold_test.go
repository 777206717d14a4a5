package alignment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/measure"
)

// quick learns enough on this world in few passes.
func quick(samples []dataset.Sample) *Training {
	t := training(samples)
	t.Hidden, t.Passes, t.Lambda, t.LR = 16, 20, 0, 1e-2
	return t
}

// Each picture is scored once, by the reward that has not seen its prompt: that of a training on
// the other folds, bit for bit.
func TestFoldsAreUnseen(t *testing.T) {
	samples := labelled(6, 1, things[:4]...)
	k := &KFold{Training: quick(samples), Folds: 4}
	base := *k.Training
	require.NoError(t, base.read(t.Context()))
	require.NoError(t, embedTexts(t.Context(), base.CLIP, promptsOf(base.pool)))
	folds := promptFolds(samples, 4, base.Seed)
	predictions, learned, err := k.try(t.Context(), base, Variant{}, folds, false)
	require.NoError(t, err)
	require.Len(t, predictions, len(samples))
	byID := map[string]Prediction{}
	for _, p := range predictions {
		byID[p.ID] = p
	}
	require.Len(t, byID, len(samples))
	total := 0.0
	for fold := range 4 {
		var rest, test []dataset.Sample
		for i, s := range samples {
			if folds[i] == fold {
				test = append(test, s)
			} else {
				rest = append(rest, s)
			}
		}
		require.Len(t, dataset.Prompts(test), 6)
		require.Len(t, dataset.Prompts(rest), 18)
		alone := quick(rest)
		alone.Seed += uint64(fold)
		train(t, alone)
		total += float64(len(alone.session.train)) / 4
		m, err := alone.Calibrated()
		require.NoError(t, err)
		want, err := m.Predict(t.Context(), dataset.FromSlice(test))
		require.NoError(t, err)
		for _, p := range want {
			require.Equal(t, p, byID[p.ID])
		}
	}
	require.InDelta(t, total, learned, 1e-9)
}

// promptsOf has a place for the embedding of each prompt.
func promptsOf(p *pool) map[string][]float32 {
	for _, s := range p.samples {
		p.texts[s.Prompt] = nil
	}
	return p.texts
}

// Pictures of a prompt are dealt to folds evenly, and one whose prompt was not learned from is not
// called seen.
func TestSeenFolds(t *testing.T) {
	samples := append(labelled(6, 1, things...), labelled(1, 2, "bed")...)
	for i := range samples {
		samples[i].ID = fmt.Sprint("id", i)
	}
	folds := pictureFolds(samples, 3, 1)
	for _, prompt := range dataset.Prompts(samples) {
		count := make([]int, 3)
		for i, s := range samples {
			if s.Prompt == prompt {
				count[folds[i]]++
			}
		}
		require.LessOrEqual(t, slices.Max(count)-slices.Min(count), 1, prompt)
	}
	trainings := 0
	k := &KFold{
		Training: quick(samples), Folds: 3, Seen: true, Done: func() { trainings++ },
	}
	v, err := k.Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, 6, trainings)
	require.Equal(t, 6, k.Trainings())
	require.Equal(t, len(samples), v.Unseen.Labels.N())
	require.Equal(t, 78, v.Unseen.Labels.Prompts)
	// Six prompts have one picture each. Of the others a training holds a few out.
	require.LessOrEqual(t, v.Seen.Labels.Prompts, 72)
	require.Less(t, v.Seen.Labels.N(), 72*6)
	require.Greater(t, v.Seen.Labels.N(), 72*6*3/4)
	require.Nil(t, k.Training.session, "the training was begun")

	t.Logf("unseen %+v, seen %+v", v.Unseen.Pairwise, v.Seen.Pairwise)
	require.Greater(t, v.Unseen.Pairwise.Low, 0.8)
	require.Greater(t, v.Unseen.Gain.Low, 0.05)
	again, err := (&KFold{Training: quick(samples), Folds: 3}).Run(t.Context())
	require.NoError(t, err)
	require.Equal(t, v.Unseen, again.Unseen)
	require.Nil(t, again.Seen)
}

// Labels that mean nothing are not predicted, whatever is learned by heart: a reward
// that had seen what it is tried on would be right nearly always.
func TestChanceIsChance(t *testing.T) {
	samples := labelled(8, 1, things[:6]...)
	for i := range samples {
		samples[i].Label = dataset.Bad
		if rngOf(8, i).IntN(2) == 0 {
			samples[i].Label = dataset.Good
		}
	}
	training := quick(samples)
	training.HeldOut = 0 // learns by heart
	v, err := (&KFold{Training: training, Seen: true}).Run(t.Context())
	require.NoError(t, err)
	for _, s := range []Skill{v.Unseen, *v.Seen} {
		t.Logf("%+v %+v %+v", s.Accuracy, s.AUC, s.Pairwise)
		for _, e := range []measure.Estimate{s.Accuracy, s.AUC, s.Pairwise, s.CLIPPairwise} {
			require.InDelta(t, 0.5, e.Value, 0.1)
		}
	}
}

// A variant learns from the pictures of the lowest rank of either kind, the larger share from those
// of the smaller one too, with as many steps.
func TestReduce(t *testing.T) {
	rank := []int{3, 0, 5, 1, 4, 2}
	samples := labelled(1, 1, "cup")
	for i := range samples {
		samples[i].Label = dataset.Good
	}
	samples[4].Label = dataset.Bad
	reduced := func(share float64) *Training {
		training := training(samples)
		training.pool = &pool{samples: samples, features: make([][]float32, 6)}
		training.reduce([]int{0, 1, 2, 4, 5}, rank, share)
		return training
	}
	ids := func(t *Training) (ids []string) {
		for _, s := range t.pool.samples {
			ids = append(ids, s.ID)
		}
		return ids
	}
	require.Equal(t, []string{"id1", "id4"}, ids(reduced(0.25)))
	require.Equal(t, []string{"id1", "id4", "id5"}, ids(reduced(0.5)))
	require.Equal(t, []string{"id0", "id1", "id2", "id4", "id5"}, ids(reduced(1)))
	require.Equal(t, 240, reduced(0.25).Passes)
	require.Equal(t, 32, reduced(0.25).Wait)
	require.Zero(t, reduced(1).Passes)
}

// A learning curve that still rises says that more labels would help, and one that has ended says
// that it is not to be seen. Variants of the same name are tried once.
func TestCurveAndAblations(t *testing.T) {
	run := func(training *Training, variants ...Variant) *Validation {
		k := &KFold{Training: training, Folds: 3, Variants: variants}
		trainings := 0
		k.Done = func() { trainings++ }
		v, err := k.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, k.Trainings(), trainings)
		return v
	}
	v := run(quick(labelled(4, 1, things...)), append(Curve(), Ablations()...)...)
	require.Len(t, v.Variants, 4)
	names := []string{}
	for _, trial := range v.Variants {
		names = append(names, trial.Name)
		t.Logf("%-20s %.0f %.3f %+v", trial.Name, trial.Learned, trial.Skill.Pairwise.Value,
			trial.Difference)
		require.InDelta(t, trial.Share*v.Learned, trial.Learned, 0.1*v.Learned)
		require.InDelta(t, trial.Skill.Pairwise.Value-v.Unseen.Pairwise.Value,
			trial.Difference.Value, 1e-12)
		require.Equal(t, trial.Name == "λ = 0", trial.Changed)
	}
	require.Equal(t, []string{
		"1/8 of the labels", "1/4 of the labels", "1/2 of the labels", "λ = 0",
	}, names)
	require.Zero(t, v.Variants[3].Difference.Value, "λ was 0")
	t.Log(v.More())
	require.Contains(t, v.More(), "More labels would help: from ")
	require.Empty(t, run(quick(labelled(4, 1, things[:4]...))).More())

	many := run(quick(labelled(20, 1, things...)), Curve()[2])
	t.Log(many.More())
	require.Contains(t, many.More(), "not to be seen")
	many.Variants[0].Difference = measure.Estimate{Value: 0.2, Low: 0.1, High: 0.3}
	require.Contains(t, many.More(), "did not help")
}

func TestKFoldsThatCannotBe(t *testing.T) {
	samples := labelled(2, 1, "cup")
	for want, k := range map[string]*KFold{
		"alignment: 7 folds of 6 prompts": {Training: quick(samples), Folds: 7},
		"alignment: 1 folds of 6 prompts": {Training: quick(samples), Folds: 1},
		"no CLIP":                         {Training: &Training{}},
		"no sample is labelled":           {Training: quick(nil)},
		"alignment: third: a share of 1.5 of the pictures": {
			Training: quick(samples), Folds: 2, Variants: []Variant{{Name: "third", Share: 1.5}},
		},
		"alignment: fold 1 of 2: ": {
			Training: &Training{CLIP: fakeCLIP{}, Samples: dataset.FromSlice(samples), LR: -1},
			Folds:    2,
		},
	} {
		_, err := k.Run(t.Context())
		require.ErrorContains(t, err, want)
	}
	begun := quick(samples)
	train(t, begun)
	_, err := (&KFold{Training: begun}).Run(t.Context())
	require.ErrorContains(t, err, "begun already")
	single := quick(labelled(1, 1, things[:2]...))
	_, err = (&KFold{Training: single, Folds: 2, Seen: true}).Run(t.Context())
	require.ErrorContains(t, err, "no prompt has two pictures")
}

// The page has all numbers, and those that are not known as dashes.
func TestReport(t *testing.T) {
	estimate := func(v float64) measure.Estimate {
		return measure.Estimate{Value: v, Low: v - 0.02, High: v + 0.02, N: 40}
	}
	skill := Skill{
		Labels: Count{3, 30, 20}, Accuracy: estimate(0.71), AUC: estimate(0.82),
		Pairwise: estimate(0.9), CLIPAUC: estimate(0.61), CLIPPairwise: estimate(0.55),
		Reliability: measure.Reliability{ECE: 0.031, Bins: []measure.Bin{
			{Score: 0.3, Good: measure.NewRate(1, 4)}, {Score: 0.8, Good: measure.NewRate(3, 4)},
		}},
		Uncalibrated: measure.Reliability{ECE: 0.123},
	}
	unknown := measure.Estimate{Value: math.NaN(), Low: math.Inf(-1), High: math.Inf(1)}
	r := &Report{
		Samples: "there/labels.db", CLIP: "0123456789abcdef", Lambda: 0.5, Temperature: 1.5,
		Train: Count{10, 100, 90}, Test: Count{3, 30, 20}, HeldOut: skill,
	}
	r.HeldOut.AUC = unknown
	r.HeldOut.CLIPPairwise = measure.Estimate{Value: 0.5, Low: math.Inf(-1), High: math.Inf(1)}
	table := r.Tables()[0]
	require.Equal(t, [][]string{
		{"reward", "50", "71 % (69–73)", "–", "40", "90 % (88–92)"},
		{"CLIP similarity", "50", "", "0.61 (0.59–0.63)", "0", "50 %"},
	}, table.Rows)
	require.Contains(t, table.Note, "100 labels good and 90 bad of 10 prompts")
	half := Trial{Name: "1/2 of the labels", Share: 0.5, Learned: 80, Skill: skill}
	half.Difference = measure.Estimate{Value: -0.05, Low: -0.08, High: -0.02}
	r.KFold = &Validation{Folds: 5, Learned: 160, Unseen: skill, Seen: &skill,
		Variants: []Trial{half, {Name: "λ = 0", Changed: true, Share: 1, Skill: skill}}}
	tables := r.Tables()
	require.Len(t, tables, 3)
	require.Len(t, tables[1].Rows, 4)
	require.Equal(t, []string{
		"1/2 of the labels", "80", "71 % (69–73)", "0.82 (0.80–0.84)", "90 % (88–92)",
		"-5.0 (-8.0 to -2.0)",
	}, tables[2].Rows[0])
	more := "More labels would help: from 80 labels to 160 the pairwise accuracy rose by " +
		"+5.0 (+2.0 to +8.0) points."
	require.Contains(t, tables[2].Note, more)
	unsure := *r.KFold
	unsure.Variants = []Trial{half, {Name: "other", Changed: true, Share: 0.75}}
	require.Equal(t, more, unsure.More(), "another training is not on the curve")
	unsure.Variants[0].Difference.High = 0.01
	require.Contains(t, unsure.More(), "not to be seen")
	var page bytes.Buffer
	require.NoError(t, r.Page().WriteHTML(&page))
	for _, want := range []string{
		"A reward of labels.db", "Learning curve", "Reliability", "Pairwise accuracy",
		"error is 0.031. Without calibration it is 0.123. The reward&#39;s temperature is 1.50.",
		"in 90 % (88–92) of the cases, and CLIP&#39;s similarity in 55 % (53–57)",
		"5 folds of unseen prompts",
	} {
		require.Contains(t, page.String(), want)
	}
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.Contains(t, string(text), `"auc":{"value":null,"low":null,"high":null,"n":0}`)
}

func TestLabelled(t *testing.T) {
	of := func(labels ...dataset.Label) dataset.Dataset {
		var samples []dataset.Sample
		for _, l := range labels {
			samples = append(samples, dataset.Sample{Label: l, File: "a.png"})
		}
		return dataset.FromSlice(samples)
	}
	got, err := Labelled(t.Context(), of(dataset.Good, dataset.Skip, dataset.Bad))
	require.NoError(t, err)
	require.Len(t, got, 2)
	_, err = Labelled(t.Context(), of(dataset.Bad, dataset.Skip))
	require.EqualError(t, err, "alignment: 0 of 1 labels are good: both kinds are needed")
	_, err = Labelled(t.Context(), of(dataset.Skip))
	require.ErrorIs(t, err, dataset.ErrNoLabels)
	_, err = Labelled(t.Context(), dataset.FromSlice([]dataset.Sample{
		{ID: "a", Label: dataset.Good, File: "a.png"}, {ID: "b"},
		{ID: "c", Prompt: "a dog", Label: dataset.Bad},
	}))
	require.EqualError(t, err, `alignment: sample c ("a dog") has a label and no picture`)
}

// What is learned beside a fold has both kinds of labels, of two prompts at least; what cannot be
// dealt is known without a picture.
func TestFoldsHaveBothKinds(t *testing.T) {
	var samples []dataset.Sample
	for i := range 30 {
		label := dataset.Good
		if i%10 < 3 {
			label = dataset.Bad
		}
		samples = append(samples, dataset.Sample{Prompt: fmt.Sprint(i % 10), Label: label})
	}
	for seed := range uint64(20) {
		bad := map[int]map[string]bool{}
		for i, fold := range promptFolds(samples, 5, seed) {
			if samples[i].Label == dataset.Bad {
				if bad[fold] == nil {
					bad[fold] = map[string]bool{}
				}
				bad[fold][samples[i].Prompt] = true
			}
		}
		for _, prompts := range bad {
			require.Len(t, prompts, 1, "of three bad prompts two are outside")
		}
	}
	require.NoError(t, (&KFold{}).Check(samples))
	require.ErrorContains(t, (&KFold{Folds: 11}).Check(samples), "11 folds of 10 prompts")
	err := (&KFold{}).Check(samples[2:10])
	require.ErrorContains(t, err, "of 8 prompts, 7 have pictures labelled good and 1 have pictures")
	require.NoError(t, (&KFold{}).Check(samples[1:10]))
}
