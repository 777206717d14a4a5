package main

import (
	"context"
	"encoding/json"
	"fmt"
	"image"
	"math"
	"os"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/evaluate"
	"github.com/kudos-ml/kudos/reward/measure"
)

// result is report.json.
type result struct {
	Seed      uint64                                `json:"seed"`
	Beta      float64                               `json:"beta"`
	Seconds   map[string]float64                    `json:"seconds"`
	Alignment map[string]map[string]map[string]rate `json:"alignment"`      // seen|unseen, all|category, arm
	Gain      map[string]gain                       `json:"gain"`           // tuned − base
	Over      map[string]map[string]gain            `json:"over,omitempty"` // tuned − control
	Frechet   map[string]float64                    `json:"frechet"`        // arm; drawn: of another set of drawn scenes
	Diversity map[string]float64                    `json:"diversity"`
	Reward    map[string]comparison                 `json:"reward"`
}

// A comparison is null where it is not a number: the AUC of pictures that are all good or all bad.
type comparison struct{ alignment.Comparison }

func (c comparison) MarshalJSON() ([]byte, error) {
	known := func(v float64) *float64 {
		if math.IsNaN(v) {
			return nil
		}
		return &v
	}
	return json.Marshal(map[string]any{"n": c.N, "accuracy": c.Accuracy.Accuracy, "auc": known(c.AUC), "clip_auc": known(c.CLIPAUC)})
}

type rate = measure.Rate

// A gain is a difference in percentage points with its 95 % interval, paired by prompt and noise.
type gain struct {
	Points float64 `json:"points"`
	Low    float64 `json:"low"`
	High   float64 `json:"high"`
}

// A split is the evaluation on seen or on unseen prompts: pictures of each arm, sample i of all from one prompt, and from
// the same noise where there is a choice of one.
type split struct {
	name    string
	prompts []string
	arms    map[string][]dataset.Sample
	good    map[string]*evaluate.Arm // the same, scored by the judge: see judged
}

// arms are what is compared, in the order of tables. base, equal, shuffled and beta_0 are as tunings says.
var arms = []string{"base", "tuned", "best_of_n", "equal", "shuffled", "beta_0"}

var armNames = map[string]string{
	"base": "base", "tuned": "tuned", "best_of_n": fmt.Sprintf("best of %d", bestOf), "drawn": "drawn",
	"equal": "equal rewards", "shuffled": "shuffled rewards", "beta_0": "β = 0",
}

// evaluate compares the models with each other and with best-of-n, and writes the reports.
func (s *session) evaluate(ctx context.Context, model *alignment.Model, models map[string]*pipeline.Pipeline) error {
	var splits []*split
	err := s.stage("evaluate", 2*s.eval*(bestOf+len(models)-1), func(bar *report.Stage) error {
		for i, name := range []string{"seen", "unseen"} {
			sp, err := s.compare(ctx, name, uint64(i+1)<<32, model, models, bar)
			if err != nil {
				return err
			}
			splits = append(splits, sp)
		}
		return nil
	})
	if err != nil {
		return err
	}
	r, err := s.measure(ctx, splits, model)
	if err != nil {
		return err
	}
	return s.folder.Conclude(os.Stdout, r, s.page(r, splits), tables(r)...)
}

// compare makes the pictures of a split and judges them. first numbers its noise.
func (s *session) compare(ctx context.Context, name string, first uint64, model reward.Model, models map[string]*pipeline.Pipeline, bar *report.Stage) (*split, error) {
	g := &s.seen
	if name == "unseen" {
		g = &s.unseen
	}
	prompts, err := g.Draw("evaluation "+name, s.seed, s.eval)
	if err != nil {
		return nil, err
	}
	sp := &split{name: name, prompts: prompts, arms: map[string][]dataset.Sample{},
		good: map[string]*evaluate.Arm{}}
	for arm, m := range models {
		if sp.arms[arm], err = collect(ctx, m, s.request(prompts, first), bar); err != nil {
			return nil, err
		}
	}
	if sp.arms["best_of_n"], err = s.best(ctx, sp.arms["base"], prompts, first, model, bar); err != nil {
		return nil, err
	}
	judge := &evaluate.Scorer{Reward: reward.Func(judged)}
	for arm, samples := range sp.arms {
		if sp.good[arm], err = judge.Score(ctx, arm, dataset.FromSlice(samples)); err != nil {
			return nil, err
		}
	}
	return sp, nil
}

// judged is the judge as a reward: 1 where a picture follows its prompt, or 0.
func judged(_ context.Context, samples []dataset.Sample) ([]float64, error) {
	scores := make([]float64, len(samples))
	for i, sample := range samples {
		label, err := (shapes.Rater{}).Label(sample)
		if err != nil {
			return nil, err
		}
		if label == dataset.Good {
			scores[i] = 1
		}
	}
	return scores, nil
}

// follows reports whether the judge sees in picture i of an arm what the prompt says.
func (sp *split) follows(arm string, i int) bool {
	return sp.good[arm].Scores[evaluate.Reward][i] == 1
}

// best adds more pictures of the base model to those that are there and chooses for each prompt the one with the highest
// reward.
func (s *session) best(ctx context.Context, base []dataset.Sample, prompts []string, first uint64, model reward.Model, bar *report.Stage) ([]dataset.Sample, error) {
	all := make([]dataset.Sample, bestOf*len(base))
	for k := range bestOf {
		candidates := base
		if k > 0 {
			var err error
			if candidates, err = collect(ctx, s.base, s.request(prompts, first+uint64(k*len(base))), bar); err != nil {
				return nil, err
			}
		}
		for i, c := range candidates {
			all[bestOf*i+k] = c
		}
	}
	return reward.BestOf(ctx, model, all, bestOf)
}

// measure makes the numbers of all that was judged.
func (s *session) measure(ctx context.Context, splits []*split, model *alignment.Model) (*result, error) {
	r := &result{
		Seed: s.seed, Beta: s.beta, Seconds: s.seconds,
		Alignment: map[string]map[string]map[string]rate{}, Gain: map[string]gain{}, Over: map[string]map[string]gain{},
		Frechet: map[string]float64{}, Diversity: map[string]float64{}, Reward: map[string]comparison{},
	}
	for _, sp := range splits {
		r.Alignment[sp.name] = sp.rates()
		var err error
		if r.Gain[sp.name], err = sp.gain("base", s.seed); err != nil {
			return nil, err
		}
		for _, u := range s.tunings()[1:] {
			if r.Over[sp.name] == nil {
				r.Over[sp.name] = map[string]gain{}
			}
			if r.Over[sp.name][u.arm], err = sp.gain(u.arm, s.seed); err != nil {
				return nil, err
			}
		}
		labelled := slices.Clone(sp.arms["base"])
		for i := range labelled {
			labelled[i].Label = dataset.Bad
			if sp.follows("base", i) {
				labelled[i].Label = dataset.Good
			}
		}
		c, err := model.Evaluate(ctx, dataset.FromSlice(labelled))
		if err != nil {
			return nil, err
		}
		r.Reward[sp.name] = comparison{c}
	}
	return r, s.quality(ctx, r, splits)
}

// gain is by how much the tuned model is better than another.
func (sp *split) gain(than string, seed uint64) (gain, error) {
	d, err := evaluate.Compare(sp.good[than], sp.good["tuned"], evaluate.Reward, seed)
	return gain{100 * d.Mean, 100 * d.Low, 100 * d.High}, err
}

// rates are a split's good rates, of all prompts and of each category.
func (sp *split) rates() map[string]map[string]rate {
	out := map[string]map[string]rate{}
	for arm := range sp.good {
		of := map[string][]bool{}
		for i, sample := range sp.arms[arm] {
			for _, part := range []string{"all", shapes.Grammar().Category(sample)} {
				of[part] = append(of[part], sp.follows(arm, i))
			}
		}
		for part, good := range of {
			if out[part] == nil {
				out[part] = map[string]rate{}
			}
			out[part][arm] = measure.RateOf(good)
		}
	}
	return out
}

// quality measures each arm's pictures of both splits against drawn scenes of the same prompts, in CLIP's image features.
func (s *session) quality(ctx context.Context, r *result, splits []*split) error {
	var prompts []string
	for _, sp := range splits {
		prompts = append(prompts, sp.prompts...)
	}
	drawn, err := s.drawn(ctx, prompts, "drawn")
	if err != nil {
		return err
	}
	again, err := s.drawn(ctx, prompts, "drawn again")
	if err != nil {
		return err
	}
	kinds := make([]string, len(prompts))
	for i, p := range prompts {
		claim, err := shapes.Grammar().Parse(p)
		if err != nil {
			return err
		}
		kinds[i] = claim.Object
	}
	features := map[string][][]float64{"drawn": again}
	for arm := range splits[0].arms {
		var pictures []image.Image
		for _, sp := range splits {
			for _, sample := range sp.arms[arm] {
				pictures = append(pictures, sample.Image)
			}
		}
		if features[arm], err = s.features(ctx, pictures); err != nil {
			return err
		}
	}
	for arm, f := range features {
		if r.Frechet[arm], err = measure.FrechetFeatures(f, drawn); err != nil {
			return err
		}
		if r.Diversity[arm], err = measure.Diversity(f, kinds); err != nil {
			return err
		}
	}
	return nil
}

// drawn returns the features of a drawn scene for each prompt.
func (s *session) drawn(ctx context.Context, prompts []string, stream string) ([][]float64, error) {
	var pictures []image.Image
	for sample, err := range shapes.Illustrate(prompts, stream, s.seed).All(ctx) {
		if err != nil {
			return nil, err
		}
		pictures = append(pictures, sample.Image)
	}
	return s.features(ctx, pictures)
}

func (s *session) features(ctx context.Context, pictures []image.Image) ([][]float64, error) {
	f, err := s.clip.ImageFeatures(ctx, pictures)
	if err != nil {
		return nil, err
	}
	return measure.Rows(f.Float32s(), f.Shape()[1])
}
