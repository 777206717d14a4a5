package alignment

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/internal/split"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A KFold says how good the reward of a training is, from all labels that there are: the prompts
// are dealt into folds, and each picture is scored by a reward that was trained on the labels of
// the other folds.
type KFold struct {
	// Training is what is tried, again and again; it must not have begun. With a HeldOut above 0
	// each reward is calibrated on what it holds out of its folds.
	Training *Training
	Folds    int // 0 is 5
	// Seen says that as many trainings again are to be made with the pictures dealt into folds
	// instead of the prompts. They say what the reward is worth on new pictures of prompts that it
	// has seen.
	Seen bool
	// Variants are tried on the same folds of prompts. Of those with the same name one is.
	Variants []Variant
	// Done, unless nil, is called after each training. There are Trainings.
	Done func()
}

// A Variant is another training than the one in question, or one on fewer labels.
type Variant struct {
	Name string
	// Share is the share of the pictures that are learned from, of the good ones and of the bad
	// ones, above 0. 0 is all: nothing can be learned from none. Where one share is larger than
	// another it has the other's pictures. All trainings make about as many steps: the fewer
	// pictures there are, the more passes are made, and waited for.
	Share float64
	// Change, unless nil, changes the training.
	Change func(*Training)
}

// Ablations are what a training does without prompt classification, and what with half of the
// pictures.
func Ablations() []Variant {
	return []Variant{
		{Name: "λ = 0", Change: func(t *Training) { t.Lambda = 0 }},
		{Name: "1/2 of the labels", Share: 1. / 2},
	}
}

// Curve is an eighth, a quarter and half of the labels. With them Validation.More says whether more
// labels than there are would help.
func Curve() []Variant {
	return []Variant{
		{Name: "1/8 of the labels", Share: 1. / 8},
		{Name: "1/4 of the labels", Share: 1. / 4},
		{Name: "1/2 of the labels", Share: 1. / 2},
	}
}

// A Validation is what a KFold has found.
type Validation struct {
	Folds   int     `json:"folds"`
	Learned float64 `json:"learned"` // labels that a training learns from, on average
	// Unseen is on pictures of prompts that the reward was not trained on, and Seen on other
	// pictures of prompts that it was; nil unless asked for. A picture whose prompt has no other is
	// not in Seen.
	Unseen   Skill   `json:"unseen"`
	Seen     *Skill  `json:"seen,omitempty"`
	Variants []Trial `json:"variants,omitempty"`
}

// A Trial is a Variant that was tried.
type Trial struct {
	Name    string  `json:"name"`
	Share   float64 `json:"share"`   // of the pictures
	Changed bool    `json:"changed"` // the training has a Change
	Learned float64 `json:"learned"` // as a Validation's
	Skill   Skill   `json:"skill"`   // on unseen prompts
	// Difference is its pairwise accuracy minus that of the training in question, pair by pair. Its
	// interval is measure.FewClusters' over the folds, each of which is a training of its own: so
	// it covers what trainings differ by even if nothing is changed, which can be much.
	Difference measure.Estimate `json:"difference"`
}

// Trainings is how many trainings Run makes.
func (k *KFold) Trainings() int {
	n := 1 + len(k.variants())
	if k.Seen {
		n++
	}
	return n * k.folds()
}

func (k *KFold) folds() int { return or(k.Folds, 5) }

// variants are those that have a name of their own.
func (k *KFold) variants() (all []Variant) {
	for _, v := range k.Variants {
		same := func(other Variant) bool { return other.Name == v.Name }
		if !slices.ContainsFunc(all, same) {
			all = append(all, v)
		}
	}
	return all
}

// Run makes all trainings. The samples are read, and their pictures embedded, once.
func (k *KFold) Run(ctx context.Context) (*Validation, error) {
	v, err := k.run(ctx)
	if err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	return v, nil
}

func (k *KFold) run(ctx context.Context) (*Validation, error) {
	if k.Training == nil {
		return nil, errors.New("the KFold has no Training")
	}
	if k.Training.session != nil {
		return nil, errors.New("the training of the KFold has begun already")
	}
	// A pool of its own leaves the Training as it was.
	base := *k.Training
	if base.CLIP == nil || base.Samples == nil {
		return nil, errors.New("the Training has no CLIP or no Samples")
	}
	if err := base.read(ctx); err != nil {
		return nil, err
	}
	for _, s := range base.pool.samples {
		base.pool.texts[s.Prompt] = nil
	}
	if err := embedTexts(ctx, base.CLIP, base.pool.texts); err != nil {
		return nil, err
	}
	if err := k.Check(base.pool.samples); err != nil {
		return nil, err
	}
	byPrompt := promptFolds(base.pool.samples, k.folds(), base.Seed)
	unseen, learned, err := k.try(ctx, base, Variant{}, byPrompt, false)
	if err != nil {
		return nil, err
	}
	v := &Validation{Folds: k.folds(), Learned: learned}
	if v.Unseen, err = NewSkill(unseen, base.Seed); err != nil {
		return nil, err
	}
	if k.Seen {
		byPicture := pictureFolds(base.pool.samples, k.folds(), base.Seed)
		seen, _, err := k.try(ctx, base, Variant{}, byPicture, true)
		if err != nil {
			return nil, err
		}
		if len(seen) == 0 {
			return nil, errors.New("no prompt has two pictures, so none has a new one that is seen")
		}
		skill, err := NewSkill(seen, base.Seed)
		if err != nil {
			return nil, err
		}
		v.Seen = &skill
	}
	for _, variant := range k.variants() {
		t, err := k.trial(ctx, base, variant, byPrompt, unseen)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", variant.Name, err)
		}
		v.Variants = append(v.Variants, t)
	}
	return v, nil
}

// trial tries a variant and compares it with the predictions of the training in question.
func (k *KFold) trial(
	ctx context.Context, base Training, variant Variant, folds []int, than []Prediction,
) (Trial, error) {
	t := Trial{Name: variant.Name, Share: or(variant.Share, 1), Changed: variant.Change != nil}
	if !(t.Share > 0 && t.Share <= 1) {
		return t, fmt.Errorf("a share of %v of the pictures", t.Share)
	}
	predictions, learned, err := k.try(ctx, base, variant, folds, false)
	if err != nil {
		return t, err
	}
	t.Learned = learned
	if t.Skill, err = NewSkill(predictions, base.Seed); err != nil {
		return t, err
	}
	a, b := columnsOf(than), columnsOf(predictions)
	before, prompts, err := measure.Pairs(a.scores, a.good, a.prompts)
	if err != nil {
		return t, err
	}
	after, _, err := measure.Pairs(b.scores, b.good, b.prompts)
	if err != nil {
		return t, err
	}
	of := map[string]int{}
	for i, s := range base.pool.samples {
		of[s.Prompt] = folds[i]
	}
	for i, p := range prompts {
		prompts[i] = strconv.Itoa(of[p])
	}
	t.Difference, err = measure.FewClusters(minus(after, before), prompts)
	return t, err
}

// Check reports labels that the prompts of which cannot be dealt into the folds: each fold needs a
// prompt, and the others together prompts with good labels and prompts with bad ones. Samples that
// have neither label do not count.
func (k *KFold) Check(samples []dataset.Sample) error {
	prompts, kinds := labelledPrompts(samples)
	if n := len(prompts); k.folds() < 2 || k.folds() > n {
		return fmt.Errorf("%d folds of %d prompts", k.folds(), n)
	}
	if of := kinds.Count(prompts); min(of[0], of[1]) < 2 {
		return fmt.Errorf("%d folds: of %d prompts, %d have pictures labelled good and %d have "+
			"pictures labelled bad; at least 2 must have either", k.folds(), len(prompts),
			of[0], of[1])
	}
	return nil
}

func labelledPrompts(samples []dataset.Sample) ([]string, split.Kinds) {
	kinds := split.Kinds{}
	for _, s := range samples {
		if s.Label == dataset.Good || s.Label == dataset.Bad {
			kinds.Add(s.Prompt, s.Label == dataset.Good)
		}
	}
	return slices.Sorted(maps.Keys(kinds)), kinds
}

// promptFolds deals the prompts into folds, and returns that of each sample. Both kinds of labels
// are spread over the folds.
func promptFolds(samples []dataset.Sample, folds int, seed uint64) []int {
	prompts, kinds := labelledPrompts(samples)
	r := rng.New(seed, "folds of prompts", 0, 0)
	r.Shuffle(len(prompts), func(i, j int) { prompts[i], prompts[j] = prompts[j], prompts[i] })
	of := kinds.Deal(prompts, folds)
	out := make([]int, len(samples))
	for i, s := range samples {
		out[i] = of[s.Prompt]
	}
	return out
}

// pictureFolds deals the pictures of each prompt into folds, and returns that of each sample.
func pictureFolds(samples []dataset.Sample, folds int, seed uint64) []int {
	byPrompt := map[string][]int{}
	for _, i := range rng.New(seed, "folds of pictures", 0, 0).Perm(len(samples)) {
		byPrompt[samples[i].Prompt] = append(byPrompt[samples[i].Prompt], i)
	}
	out, place := make([]int, len(samples)), 0
	for _, prompt := range dataset.Prompts(samples) {
		for _, i := range byPrompt[prompt] {
			out[i] = place % folds
			place++
		}
	}
	return out
}

// try trains on all folds but one, for each of them, and predicts the samples of that one. With
// seen it leaves out samples whose prompt was not learned from. learned is how many labels a
// training learned from, on average.
func (k *KFold) try(
	ctx context.Context, base Training, variant Variant, folds []int, seen bool,
) (predictions []Prediction, learned float64, err error) {
	rank := rng.New(base.Seed, "share of the labels", 0, 0).Perm(len(folds))
	for fold := range k.folds() {
		var rest, test []int
		for i, f := range folds {
			if f == fold {
				test = append(test, i)
			} else {
				rest = append(rest, i)
			}
		}
		t := base
		t.Seed += uint64(fold) // trainings are not to begin with the same weights
		t.reduce(rest, rank, or(variant.Share, 1))
		if variant.Change != nil {
			variant.Change(&t)
		}
		model, err := t.finish(ctx)
		if err != nil {
			return nil, 0, fmt.Errorf("fold %d of %d: %w", fold+1, k.folds(), err)
		}
		known := map[string]bool{}
		for _, e := range t.session.train {
			known[e.prompt] = true
		}
		for _, i := range test {
			if s := base.pool.samples[i]; !seen || known[s.Prompt] {
				of := pair{base.pool.features[i], base.pool.texts[s.Prompt]}
				predictions = append(predictions, model.predict(s, of))
			}
		}
		learned += float64(len(t.session.train)) / float64(k.folds())
		if k.Done != nil {
			k.Done()
		}
	}
	return predictions, learned, nil
}

// reduce has the training learn from a share of the places of its pool, those of the lowest rank
// among the good ones and among the bad ones, with as many steps.
func (t *Training) reduce(places, rank []int, share float64) {
	var good, bad []int
	for _, i := range places {
		if t.pool.samples[i].Label == dataset.Good {
			good = append(good, i)
		} else {
			bad = append(bad, i)
		}
	}
	var lowest []int
	for _, kind := range [][]int{good, bad} {
		slices.SortFunc(kind, func(a, b int) int { return rank[a] - rank[b] })
		lowest = append(lowest, kind[:int(math.Ceil(share*float64(len(kind))))]...)
	}
	slices.Sort(lowest)
	t.pool = t.pool.of(lowest)
	if share == 1 {
		return
	}
	t.Passes = int(math.Ceil(float64(or(t.Passes, passes)) / share))
	if t.HeldOut > 0 {
		t.Wait = int(math.Ceil(float64(or(t.Wait, wait)) / share))
	}
}

// finish makes all epochs. The model is calibrated if there is what to do it on.
func (t *Training) finish(ctx context.Context) (*Model, error) {
	for _, err := range t.Epochs(ctx) {
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
	}
	if len(t.session.heldOut) > 0 {
		return t.Calibrated()
	}
	return t.Model(), nil
}
