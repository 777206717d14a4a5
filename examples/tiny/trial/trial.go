// Package trial compares tuned miniatures with the base model: by how many of their pictures a
// judge that looks at pixels calls good, on prompts with kinds of things that tuning has seen and
// on others; by their quality and variety; and with the best of a few pictures of the base model,
// which is what the same reward gets without any tuning.
//
// Every model makes its pictures from the same noise, so differences are paired.
package trial

import (
	"context"
	"fmt"
	"image"
	"time"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/finetune/report"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
	"github.com/kudos-ml/kudos/reward/evaluate"
	"github.com/kudos-ml/kudos/reward/measure"
)

// BestOf is the number of the base model's pictures of which the reward chooses one.
const BestOf = 4

// A Trial says what to compare.
type Trial struct {
	Base   *pipeline.Pipeline
	Tuned  []Tuning         // the first is the one in question, the others are its controls
	Reward *alignment.Model // chooses of the base's pictures, and is itself compared with the judge
	CLIP   *clip.Encoder    // in whose features quality and variety are measured

	Seen, Unseen dataset.Grammar // prompts of kinds that tuning has seen, and of others
	// Pictures is how many each arm makes, of seen and of unseen prompts each: a multiple of the
	// number of categories, at least 128.
	Pictures int
	// Request says how pictures are made. Its Seed decides every draw; Prompts and First are filled
	// in.
	Request pipeline.Request
}

// An Arm is a tuned model.
type Arm struct {
	Name  string // in results
	Title string // what people read
	Model *pipeline.Pipeline
}

// A Tuning is one way to tune a copy of the base model's UNet.
type Tuning struct {
	Arm
	Weights reward.Transform // of the learned rewards
	Beta    float64          // weight of the pretraining term
}

// Tunings are the method in question and, if they are asked for, the controls that it is held
// against. share of the mean reward of a category of prompts is taken off the weights, and beta is
// the weight of the pretraining term. The controls are what tuning does with weights that are all
// the mean weight, with the method's own weights shuffled, and without the pretraining term.
func Tunings(share, beta float64, seed uint64, controls bool) []Tuning {
	weights := reward.Within(reward.Baseline(share), shapes.Grammar().Category)
	all := []Tuning{
		{Arm{Name: "tuned", Title: "tuned"}, weights, beta},
		{Arm{Name: "equal", Title: "equal rewards"}, reward.Constant(1 - share), beta},
		{Arm{Name: "shuffled", Title: "shuffled rewards"}, reward.Shuffled(weights, seed), beta},
		{Arm{Name: "beta_0", Title: "β = 0"}, weights, 0},
	}
	if !controls {
		return all[:1]
	}
	return all
}

// Names of arms that every trial has.
const (
	base    = "base"
	best    = "best_of_n"
	drawn   = "drawn" // another set of drawn scenes, beside those that quality is measured by
	unseen  = "unseen"
	seen    = "seen"
	columns = 3 // of grids: base, tuned, best
)

// Work is how many pictures Run makes.
func (t *Trial) Work() int { return 2 * t.Pictures * (BestOf + len(t.Tuned)) }

// Estimate is how long this machine takes to make pictures without guidance, to see samples in
// updates of the UNet, and for the trial, whose Request has guidance. It makes a batch of pictures.
// All else that a run does is counted as a twentieth.
func (t *Trial) Estimate(ctx context.Context, pictures, samples int) (time.Duration, error) {
	request := t.Request
	var err error
	if request.Prompts, err = t.Seen.Draw("estimate", request.Seed, 32); err != nil {
		return 0, fmt.Errorf("trial: %w", err)
	}
	pace, err := t.Base.Pace(ctx, request)
	if err != nil {
		return 0, fmt.Errorf("trial: %w", err)
	}
	// With guidance a step of sampling is two evaluations of the UNet. An update of a sample is one
	// and its gradient, which takes 3.2 times as long as one.
	evaluations := float64(pictures*request.Steps) + 3.2*float64(samples)
	made := float64(t.Work()) + evaluations/float64(2*request.Steps)
	return time.Duration(1.05 * made * float64(pace)), nil
}

// A Result is what a trial found. Maps of arms are by their names: base, those of Tuned, and
// best_of_n.
type Result struct {
	Seed    uint64             `json:"seed"`
	Beta    float64            `json:"beta"`    // of the tuning in question
	Seconds map[string]float64 `json:"seconds"` // of the run's stages: whoever ran it knows

	// Alignment is how many pictures are good: of prompts seen or unseen, all or of a category.
	Alignment map[string]map[string]map[string]measure.Rate `json:"alignment"`
	Gain      map[string]evaluate.Gain                      `json:"gain"` // tuned − base
	// Over is tuned − control, by the control's name.
	Over map[string]map[string]evaluate.Gain `json:"over,omitempty"`
	evaluate.Quality
	Reward map[string]alignment.Comparison `json:"reward"` // with the judge, on the base's pictures

	arms   []string // in the order of tables
	titles map[string]string
	trials []*evaluate.Trial // seen, unseen
}

// Run makes all pictures and compares them. done is called as they are made.
func (t *Trial) Run(ctx context.Context, done func(pictures int)) (*Result, error) {
	r := &Result{
		Seed: t.Request.Seed, Beta: t.Tuned[0].Beta,
		Alignment: map[string]map[string]map[string]measure.Rate{},
		Gain:      map[string]evaluate.Gain{}, Over: map[string]map[string]evaluate.Gain{},
		Reward: map[string]alignment.Comparison{},
		arms:   []string{base, t.Tuned[0].Name, best},
		titles: map[string]string{
			base: base, best: fmt.Sprintf("best of %d", BestOf), drawn: drawn,
		},
	}
	for i, arm := range t.Tuned {
		r.titles[arm.Name] = arm.Title
		if i > 0 {
			r.arms = append(r.arms, arm.Name)
		}
	}
	for i, name := range []string{seen, unseen} {
		one, err := t.compare(ctx, name, uint64(i+1)<<32, done)
		if err != nil {
			return nil, fmt.Errorf("trial: %w", err)
		}
		r.trials = append(r.trials, one)
	}
	for _, one := range r.trials {
		if err := t.measure(ctx, r, one); err != nil {
			return nil, fmt.Errorf("trial: %w", err)
		}
	}
	var err error
	if r.Quality, err = t.quality(ctx, r.trials); err != nil {
		return nil, fmt.Errorf("trial: %w", err)
	}
	return r, nil
}

// compare makes the pictures of prompts of a kind, and has them judged. first numbers their noise.
func (t *Trial) compare(
	ctx context.Context, name string, first uint64, done func(int),
) (*evaluate.Trial, error) {
	g := &t.Seen
	if name == unseen {
		g = &t.Unseen
	}
	request := t.Request
	var err error
	if request.Prompts, err = g.Draw("evaluation "+name, request.Seed, t.Pictures); err != nil {
		return nil, err
	}
	request.First = first
	pictures := map[string][]dataset.Sample{}
	models := map[string]*pipeline.Pipeline{base: t.Base}
	for _, arm := range t.Tuned {
		models[arm.Name] = arm.Model
	}
	for name, model := range models {
		if pictures[name], err = paint(ctx, model, request, done); err != nil {
			return nil, err
		}
	}
	if pictures[best], err = t.best(ctx, pictures[base], request, done); err != nil {
		return nil, err
	}
	return evaluate.Judge(ctx, name, shapes.Rater{}, pictures)
}

// paint makes the pictures of a request.
func paint(
	ctx context.Context, p *pipeline.Pipeline, r pipeline.Request, done func(int),
) (all []dataset.Sample, err error) {
	for sample, err := range p.Generate(r).All(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, sample)
		done(1)
	}
	return all, nil
}

// best adds more pictures of the base model to those that are there, and chooses for each prompt
// the one of the highest reward.
func (t *Trial) best(
	ctx context.Context, there []dataset.Sample, r pipeline.Request, done func(int),
) ([]dataset.Sample, error) {
	all := make([]dataset.Sample, BestOf*len(there))
	for k := range BestOf {
		candidates := there
		if k > 0 {
			var err error
			r.First += uint64(len(there))
			if candidates, err = paint(ctx, t.Base, r, done); err != nil {
				return nil, err
			}
		}
		for i, c := range candidates {
			all[BestOf*i+k] = c
		}
	}
	return reward.BestOf(ctx, t.Reward, all, BestOf)
}

// measure makes the numbers of one kind of prompts.
func (t *Trial) measure(ctx context.Context, r *Result, one *evaluate.Trial) (err error) {
	r.Alignment[one.Name] = one.Rates(shapes.Grammar().Category)
	tuned, seed := t.Tuned[0].Name, t.Request.Seed
	if r.Gain[one.Name], err = one.Gain(tuned, base, seed); err != nil {
		return err
	}
	for _, control := range t.Tuned[1:] {
		if r.Over[one.Name] == nil {
			r.Over[one.Name] = map[string]evaluate.Gain{}
		}
		gain, err := one.Gain(tuned, control.Name, seed)
		if err != nil {
			return err
		}
		r.Over[one.Name][control.Name] = gain
	}
	r.Reward[one.Name], err = t.Reward.Evaluate(ctx, dataset.FromSlice(one.Labelled(base)))
	return err
}

// quality measures the pictures of both kinds of prompts by drawn scenes of the same prompts.
func (t *Trial) quality(
	ctx context.Context, trials []*evaluate.Trial,
) (q evaluate.Quality, err error) {
	var prompts, kinds []string
	arms := map[string][]image.Image{}
	for _, one := range trials {
		for arm, samples := range one.Pictures {
			for _, sample := range samples {
				arms[arm] = append(arms[arm], sample.Image)
			}
		}
		for _, sample := range one.Pictures[base] {
			claim, err := shapes.Grammar().Parse(sample.Prompt)
			if err != nil {
				return q, err
			}
			prompts, kinds = append(prompts, sample.Prompt), append(kinds, claim.Object)
		}
	}
	reference, err := t.drawn(ctx, prompts, "drawn")
	if err == nil {
		arms[drawn], err = t.drawn(ctx, prompts, "drawn again")
	}
	if err != nil {
		return q, err
	}
	return evaluate.MeasureQuality(ctx, t.CLIP, arms, reference, kinds)
}

// drawn are drawn scenes, one of each prompt.
func (t *Trial) drawn(
	ctx context.Context, prompts []string, stream string,
) (all []image.Image, err error) {
	for sample, err := range shapes.Illustrate(prompts, stream, t.Request.Seed).All(ctx) {
		if err != nil {
			return nil, err
		}
		all = append(all, sample.Image)
	}
	return all, nil
}

// Tables are the rates, the quality and the reward for people.
func (r *Result) Tables() (tables []report.Table) {
	var categories []string
	for _, c := range dataset.Categories() {
		categories = append(categories, string(c))
	}
	for _, one := range []*evaluate.Trial{r.trials[1], r.trials[0]} {
		note := "Share of pictures that show what the prompt says, as the judge sees it. " +
			"Tuned − base: " + r.Gain[one.Name].String()
		for _, arm := range r.arms[columns:] {
			note += "; tuned − " + r.titles[arm] + ": " + r.Over[one.Name][arm].String()
		}
		tables = append(tables,
			one.Table(shapes.Grammar().Category, categories, r.arms, r.titles, note+"."))
	}
	tables = append(tables, r.Quality.Table(append(r.arms, drawn), r.titles,
		"Fréchet distance in CLIP's image features to drawn scenes of the same prompts, smaller "+
			"is better; drawn: another set of such scenes. Diversity: mean cosine distance of "+
			"pictures of one kind of thing."))
	learned := report.Table{
		Title:  "The learned reward",
		Header: []string{"prompts", "accuracy", "AUC", "AUC of CLIP similarity"},
		Note:   "On the base model's evaluation pictures, against the judge.",
	}
	for _, name := range []string{seen, unseen} {
		c := r.Reward[name]
		learned.Rows = append(learned.Rows, []string{name, report.Percent(c.Accuracy.Accuracy),
			fmt.Sprintf("%.2f", c.AUC), fmt.Sprintf("%.2f", c.CLIPAUC)})
	}
	return append(tables, learned)
}

// Page is a page of figures, pictures side by side, tables and more. Its lead is what was done, and
// then a sentence on what came of it.
func (r *Result) Page(title, done, footer string, more ...report.Block) report.Page {
	g, c, tuned := r.Gain[unseen], r.Reward[unseen], r.arms[1]
	all := r.Alignment[unseen][evaluate.Everything]
	lead := fmt.Sprintf("%s On prompts with kinds of things that no label and no tuning sample "+
		"has, %.0f of 100 pictures follow their prompt before and %.0f after.",
		done, 100*all[base].Rate, 100*all[tuned].Rate)
	blocks := []report.Block{report.Figures{
		{
			Name: "gain on unseen prompts", Value: fmt.Sprintf("%+.1f points", g.Points),
			Note: fmt.Sprintf("95 %% interval %+.1f to %+.1f", g.Low, g.High),
		}, {
			Name: "Fréchet distance", Value: fmt.Sprintf("%.3f", r.Frechet[tuned]),
			Note: fmt.Sprintf("base %.3f, drawn %.3f", r.Frechet[base], r.Frechet[drawn]),
		}, {
			Name: "reward accuracy, unseen", Value: report.Percent(c.Accuracy.Accuracy),
			Note: fmt.Sprintf("AUC %.2f, of CLIP similarity %.2f", c.AUC, c.CLIPAUC),
		},
	}}
	for _, one := range r.trials {
		blocks = append(blocks, one.Grid(24, r.arms[:columns], r.titles))
	}
	for _, t := range r.Tables() {
		blocks = append(blocks, t)
	}
	return report.Page{Title: title, Lead: lead, Footer: footer, Blocks: append(blocks, more...)}
}
