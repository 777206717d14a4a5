package label

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/alignment"
)

// A Learner learns rewards of a store's labels, for Config.Train.
type Learner struct {
	CLIP     alignment.CLIP
	Pictures dataset.Dataset // of the store, whose uncertain ones are wanted
	Folder   string          // of the database: files of samples are relative to it
	HeldOut  float64         // share of the prompts to test on; 0 is a fifth
	Seed     uint64
}

// Train learns a reward, by Eq. 1 of Lee et al. 2023, of labels of some of the prompts, and tests
// it on those of the others. Uncertain are all pictures, those first whose reward is nearest ½.
// Labels of too few prompts are an error.
func (l Learner) Train(ctx context.Context, labels dataset.Dataset) (Reward, error) {
	labelled, err := alignment.Labelled(ctx, labels)
	if err != nil {
		return Reward{}, err
	}
	rest, test, err := dataset.SplitPrompts(labelled, cmp.Or(l.HeldOut, 0.2), l.Seed)
	if err != nil {
		return Reward{}, err
	}
	training := alignment.Training{
		CLIP: l.CLIP, Samples: l.seen(rest), Product: true, HeldOut: 0.15, Seed: l.Seed,
	}
	defer training.Close()
	if len(dataset.Prompts(rest)) > 1 {
		training.Lambda = 0.5
	}
	for _, err := range training.Epochs(ctx) {
		if err != nil {
			return Reward{}, err
		}
	}
	model := training.Model()
	is, err := model.Evaluate(ctx, l.seen(test))
	if err != nil {
		return Reward{}, err
	}
	reward := Reward{Right: int(math.Round(is.Accuracy.Accuracy * float64(is.N))), N: is.N}
	reward.Uncertain, err = l.uncertain(ctx, model)
	return reward, err
}

// seen are samples with their pictures, one at a time.
func (l Learner) seen(samples []dataset.Sample) dataset.Dataset {
	return dataset.WithImages(dataset.FromSlice(samples), l.Folder)
}

// uncertain orders the pictures by how near ½ a model's score is.
func (l Learner) uncertain(ctx context.Context, model *alignment.Model) ([]string, error) {
	type scored struct {
		id     string
		doubts float64
	}
	var all []scored
	withFile := dataset.Filter(l.Pictures, func(s dataset.Sample) bool { return s.File != "" })
	for s, err := range dataset.WithImages(withFile, l.Folder).All(ctx) {
		if err != nil {
			return nil, err
		}
		scores, err := model.Score(ctx, []dataset.Sample{s})
		if err != nil {
			return nil, err
		}
		all = append(all, scored{s.ID, math.Abs(scores[0] - 0.5)})
	}
	slices.SortStableFunc(all, func(a, b scored) int { return cmp.Compare(a.doubts, b.doubts) })
	ids := make([]string, len(all))
	for i, s := range all {
		ids[i] = s.id
	}
	return ids, nil
}
