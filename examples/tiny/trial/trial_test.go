package trial_test

import (
	"encoding/json"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/examples/tiny/trial"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// Weights are rewards less a share of the mean of their category, in units of that mean. By hand:
// 0.2 and 0.6 have the mean 0.4, so that they weigh 0.5 and 1.5 less the share.
func TestTunings(t *testing.T) {
	all := trial.Tunings(0.25, 0.5, 1, true)
	require.Len(t, trial.Tunings(0.25, 0.5, 1, false), 1)
	var samples []dataset.Sample
	for _, s := range []struct {
		prompt string
		reward float64
	}{{"two circles", 0.2}, {"a blue square", 0.9}, {"two stars", 0.6}, {"a red star", 0.9}} {
		samples = append(samples, dataset.Sample{Prompt: s.prompt, Reward: &s.reward})
		require.NoError(t, shapes.Known(samples[len(samples)-1]))
	}
	want := map[string][]float64{
		"tuned":  {0.25, 0.75, 1.25, 0.75},
		"equal":  {0.75, 0.75, 0.75, 0.75},
		"beta_0": {0.25, 0.75, 1.25, 0.75},
	}
	for _, u := range all {
		weights, err := u.Weights(samples)
		require.NoError(t, err, u.Name)
		if u.Name == "shuffled" {
			require.NotEqual(t, want["tuned"], weights)
			slices.Sort(weights)
			require.InDeltaSlice(t, []float64{0.25, 0.75, 0.75, 1.25}, weights, 1e-12)
			continue
		}
		require.InDeltaSlice(t, want[u.Name], weights, 1e-12, u.Name)
		require.Equal(t, u.Name != "beta_0", u.Beta == 0.5)
	}
	require.Len(t, all, 4)
}

// A model that is the base paints what the base paints, and one of other weights does not.
func TestTrial(t *testing.T) {
	base, err := tiny.Load()
	require.NoError(t, err)
	require.Equal(t, "tiny", base.Name)
	encoder, err := tiny.CLIP()
	require.NoError(t, err)
	defer encoder.Close()
	samples, err := dataset.Collect(t.Context(), tiny.Pretraining(1, 24))
	require.NoError(t, err)
	for i := range samples {
		require.NoError(t, shapes.Known(samples[i]))
		samples[i].Label, err = shapes.Rater{}.Label(samples[i])
		require.NoError(t, err)
	}
	require.ErrorContains(t, shapes.Known(dataset.Sample{Prompt: "a dragon"}), "a dragon")
	training := &alignment.Training{
		CLIP: encoder, Samples: dataset.FromSlice(samples), Hidden: 8, Passes: 1, Seed: 1,
		Perturb: func(string, int, *rand.Rand) ([]string, error) { return nil, nil },
	}
	for _, err := range training.Epochs(t.Context()) {
		require.NoError(t, err)
	}
	seen, unseen, err := shapes.Grammar().Split("heart")
	require.NoError(t, err)
	other, err := base.Clone()
	require.NoError(t, err)
	clear(other.UNet.ConvOut.Weight.Float32s())
	same := base.With("tuned", base.UNet)
	try := &trial.Trial{
		Base: base, Reward: training.Model(), CLIP: encoder,
		Seen: seen, Unseen: unseen, Pictures: 4,
		Tuned: []trial.Tuning{
			{Arm: trial.Arm{Name: "tuned", Title: "tuned", Model: same}, Beta: 2},
			{Arm: trial.Arm{Name: "blind", Title: "a blind one", Model: other}},
		},
		Request: pipeline.Request{Steps: 2, Guidance: 1, Seed: 3, Batch: 4},
	}
	one, err := try.Estimate(t.Context(), 100, 1000)
	require.NoError(t, err)
	none := *try
	none.Request.Steps = 0
	_, err = none.Estimate(t.Context(), 100, 1000)
	require.NoError(t, err, "steps that are left to the model")
	require.Positive(t, one)
	done, drawn := 0, map[uint64]bool{}
	found, err := try.Run(t.Context(), func(n int) { done += n })
	require.NoError(t, err)
	require.Equal(t, 2*4*(4+2), try.Work())
	require.Equal(t, try.Work(), done)
	require.Equal(t, 2.0, found.Beta)
	require.EqualValues(t, 3, found.Seed)

	// Arms have the same noise, the two kinds of prompts and what best-of-n adds other noise.
	for k, one := range found.Trials() {
		for arm, pictures := range one.Pictures {
			for i, p := range pictures {
				from := uint64(k+1)<<32 + uint64(i)
				if arm == "best_of_n" {
					require.Zero(t, (p.Source.Index-from)%4)
					require.Less(t, p.Source.Index-from, uint64(4*trial.BestOf))
					drawn[p.Source.Index-from] = true
				} else {
					require.Equal(t, from, p.Source.Index, arm)
				}
			}
		}
	}
	require.Greater(t, len(drawn), 1, "the base's own are not always the best of four")
	for _, prompts := range []string{"seen", "unseen"} {
		require.Zero(t, found.Gain[prompts].Points)
		require.Contains(t, found.Over[prompts], "blind")
		all := found.Alignment[prompts]["all"]
		require.Equal(t, all["base"], all["tuned"])
		require.Equal(t, 4, all["best_of_n"].N)
		require.Equal(t, 1, found.Alignment[prompts]["count"]["base"].N, "one of each category")
		require.Equal(t, 4, found.Reward[prompts].N)
	}
	require.Equal(t, found.Frechet["base"], found.Frechet["tuned"])
	require.Greater(t, found.Frechet["blind"], found.Frechet["drawn"])
	require.Equal(t, found.Diversity["base"], found.Diversity["tuned"])
	text, err := json.Marshal(found)
	require.NoError(t, err)
	for _, name := range []string{"alignment", "gain", "over", "frechet", "diversity", "reward"} {
		require.Contains(t, string(text), `"`+name+`":{`)
	}

	tables := found.Tables()
	require.Len(t, tables, 4)
	require.Equal(t, "Alignment, unseen prompts", tables[0].Title)
	header := []string{"prompts", "base", "tuned", "best of 4", "a blind one"}
	require.Equal(t, header, tables[0].Header)
	require.Contains(t, tables[0].Note,
		"Tuned − base: +0.0 points (+0.0 to +0.0); tuned − a blind one: ")
	require.Equal(t, "drawn", tables[2].Header[5])
	page := found.Page("A title", "It was tuned.", "go run x")
	require.Contains(t, page.Lead, "It was tuned. On prompts with kinds of things that no label")
	require.NoError(t, page.WriteFile(filepath.Join(t.TempDir(), "report.html")))
	require.Len(t, page.Blocks, 1+2+4)
}
