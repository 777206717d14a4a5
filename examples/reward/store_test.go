package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/feedback"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// judged is a store of n pictures, each judged by three people: one errs now and then, one says
// good of everything, and one never errs.
func judged(t *testing.T, n int) (db string) {
	file := labelled(t, n)
	db = filepath.Join(filepath.Dir(file), "labels.db")
	store, err := feedback.Open(t.Context(), feedback.Config{Path: db})
	require.NoError(t, err)
	all, err := dataset.Collect(t.Context(), dataset.File{Path: file, Images: true})
	require.NoError(t, err)
	bare, err := dataset.Collect(t.Context(), dataset.File{Path: file})
	require.NoError(t, err)
	for i := range bare {
		bare[i].Label = dataset.Unlabelled
	}
	_, err = store.Add(t.Context(), dataset.FromSlice(bare), "")
	require.NoError(t, err)
	for rater, says := range map[string]func(dataset.Sample) (dataset.Label, error){
		"errs":  shapes.Rater{ErrorRate: 0.2, Seed: 3}.Label,
		"kind":  func(dataset.Sample) (dataset.Label, error) { return dataset.Good, nil },
		"right": shapes.Rater{}.Label,
	} {
		_, err := store.AddRater(t.Context(), rater)
		require.NoError(t, err)
		for i, s := range all {
			label, err := says(s)
			require.NoError(t, err)
			_, err = store.Judge(t.Context(), feedback.Judgement{
				Answer: fmt.Sprint(rater, i), Rater: rater, Picture: s.ID, Label: label,
			})
			require.NoError(t, err)
		}
	}
	require.NoError(t, store.Close())
	return db
}

// What raters say in a store is learned from, as an aggregation has it. Tried on folds, with all
// that can be asked for, it is in the report.
func TestStore(t *testing.T) {
	db := judged(t, 120)
	try := func(args ...string) (r alignment.Report, page string) {
		out := filepath.Join(t.TempDir(), "reward")
		o, err := parse(append([]string{
			"-db", db, "-out", out, "-hidden", "16", "-cache", db + ".safetensors",
		}, args...))
		require.NoError(t, err)
		require.NoError(t, run(t.Context(), o))
		text, err := os.ReadFile(filepath.Join(out, "report.json"))
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(text, &r))
		text, err = os.ReadFile(filepath.Join(out, "report.html"))
		require.NoError(t, err)
		return r, string(text)
	}
	majority, page := try("-calibrate=false")
	require.Equal(t, 1.0, majority.Temperature)
	require.NotContains(t, page, "Learning curve")
	soft, _ := try("-aggregate", "mean", "-calibrate=false")
	require.Equal(t, majority.Train, soft.Train)
	require.NotEqual(t, majority.HeldOut.Reliability, soft.HeldOut.Reliability)

	balanced, _ := try("-balance", "-calibrate=false")
	require.NotEqual(t, majority.HeldOut.Reliability, balanced.HeldOut.Reliability)

	r, page := try("-aggregate", "dawid-skene", "-folds", "2", "-ablate", "-curve")
	require.Less(t, r.Train.Good+r.Test.Good, majority.Train.Good+majority.Test.Good,
		"the one who says good of everything is believed")
	require.Equal(t, 120, r.KFold.Unseen.Labels.N())
	require.NotNil(t, r.KFold.Seen)
	require.Len(t, r.KFold.Variants, 4)
	for _, want := range []string{
		"Learning curve", "Reliability", "Other trainings", "ore labels would help", "λ = 0",
		"CLIP similarity, unseen prompts",
	} {
		require.Contains(t, page, want)
	}

	o, err := parse([]string{"-db", filepath.Join(t.TempDir(), "none.db"), "-out", t.TempDir()})
	require.NoError(t, err)
	require.ErrorIs(t, run(t.Context(), o), os.ErrNotExist)
	require.NoFileExists(t, o.db)
}
