package evaluate

import (
	"context"
	"fmt"
	"image"
	"slices"

	"gonum.org/v1/gonum/stat"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/measure"
)

// An Arm is one way to make pictures, with what is known of each of them, in order.
type Arm struct {
	Name     string               // which tells it from others
	Title    string               // what people read; "" is the name
	Samples  []dataset.Sample     // without Image
	Scores   map[string][]float64 // one a sample, by name: Reward, CLIPScore or one's own
	Features [][]float64          // of pictures, one row a sample; nil if there are none
}

// What a Scorer's scores are called.
const (
	Reward    = "reward"     // the model's score
	CLIPScore = "clip_score" // 100 times reward.CLIP's cosine
)

// A Scorer scores the pictures of arms.
type Scorer struct {
	// Reward gives samples their rewards, and the scores Reward. Nil: there are none.
	Reward reward.Model
	// CLIP gives CLIPScore and the features of pictures. Nil: there are none. With a clip.Cache, a
	// reward that was learned on it encodes no picture again.
	CLIP reward.Encoder
	// Batch is the number of pictures that are in memory at once, or fewer if they are large
	// (dataset.Batches). 0 is 16, as many as clip.Encoder encodes together.
	Batch int
}

// Score reads the pictures of an arm and scores them. Its samples are those of d without Image.
func (s *Scorer) Score(ctx context.Context, name string, d dataset.Dataset) (*Arm, error) {
	a := &Arm{Name: name, Scores: map[string][]float64{}}
	most := s.Batch
	if most < 1 {
		most = 16
	}
	for batch, err := range dataset.Batches(ctx, d, most) {
		if err == nil {
			err = s.add(ctx, a, batch)
		}
		if err != nil {
			return nil, err
		}
	}
	if s.CLIP == nil || len(a.Samples) == 0 {
		return a, nil
	}
	return a, s.clipScores(ctx, a)
}

// add adds a batch of samples to an arm.
func (s *Scorer) add(ctx context.Context, a *Arm, batch []dataset.Sample) error {
	if s.Reward != nil {
		rewards, err := s.Reward.Score(ctx, batch)
		if err == nil && len(rewards) != len(batch) {
			err = fmt.Errorf("evaluate: %T gave %d scores for %d samples", s.Reward, len(rewards),
				len(batch))
		}
		if err != nil {
			return err
		}
		for i := range batch {
			batch[i].Reward = &rewards[i]
		}
		a.Scores[Reward] = append(a.Scores[Reward], rewards...)
	}
	if s.CLIP != nil {
		pictures := make([]image.Image, len(batch))
		for i, sample := range batch {
			if pictures[i] = sample.Image; sample.Image == nil {
				return fmt.Errorf("evaluate: sample %q (%s) of %s has no picture", sample.ID,
					sample.Prompt, a.Name)
			}
		}
		f, err := s.CLIP.ImageFeatures(ctx, pictures)
		if err != nil {
			return err
		}
		rows, err := measure.Rows(f.Float32s(), f.Shape()[1])
		if err != nil {
			return err
		}
		a.Features = append(a.Features, rows...)
	}
	for _, sample := range batch {
		sample.Image = nil
		a.Samples = append(a.Samples, sample)
	}
	return nil
}

// clipScores are made of features that are there and those of the prompts.
func (s *Scorer) clipScores(ctx context.Context, a *Arm) error {
	at := map[string]int{}
	var prompts []string
	for _, sample := range a.Samples {
		if _, ok := at[sample.Prompt]; !ok {
			at[sample.Prompt], prompts = len(prompts), append(prompts, sample.Prompt)
		}
	}
	f, err := s.CLIP.TextFeatures(ctx, prompts)
	if err != nil {
		return err
	}
	texts, err := measure.Rows(f.Float32s(), f.Shape()[1])
	if err != nil {
		return err
	}
	for i, sample := range a.Samples {
		cosine, err := measure.Cosine(a.Features[i], texts[at[sample.Prompt]])
		if err != nil {
			return fmt.Errorf("evaluate: CLIP's features of sample %q (%s): %w", sample.ID,
				sample.Prompt, err)
		}
		a.Scores[CLIPScore] = append(a.Scores[CLIPScore], 100*cosine)
	}
	return nil
}

// title is what people read.
func (a *Arm) title() string {
	if a.Title == "" {
		return a.Name
	}
	return a.Title
}

// Slice returns the arm of places from to to−1.
func (a *Arm) Slice(from, to int) *Arm {
	part := &Arm{Name: a.Name, Title: a.Title, Samples: a.Samples[from:to:to],
		Scores: map[string][]float64{}}
	for name, scores := range a.Scores {
		part.Scores[name] = scores[from:to:to]
	}
	if a.Features != nil {
		part.Features = a.Features[from:to:to]
	}
	return part
}

// prompts are those of the samples.
func (a *Arm) prompts() []string {
	prompts := make([]string, len(a.Samples))
	for i, sample := range a.Samples {
		prompts[i] = sample.Prompt
	}
	return prompts
}

// Mean is the mean of the scores of a name; NaN if there are none.
func (a *Arm) Mean(score string) float64 { return stat.Mean(a.Scores[score], nil) }

// Diversity is how far apart the features of each prompt's pictures are (measure.Diversity), for
// every prompt that has two or more, in order of first appearance.
func (a *Arm) Diversity() (out []float64, err error) {
	features := map[string][][]float64{}
	var order []string
	for i, f := range a.Features {
		prompt := a.Samples[i].Prompt
		if features[prompt] == nil {
			order = append(order, prompt)
		}
		features[prompt] = append(features[prompt], f)
	}
	for _, prompt := range order {
		f := features[prompt]
		if len(f) < 2 {
			continue
		}
		d, err := measure.Diversity(f, make([]string, len(f)))
		if err != nil {
			return nil, fmt.Errorf("evaluate: %s: %q: %w", a.Name, prompt, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// paired reports arms whose places do not belong together.
func paired(a, b *Arm) error {
	if len(a.Samples) != len(b.Samples) {
		return fmt.Errorf("evaluate: %s has %d samples and %s %d", a.Name, len(a.Samples), b.Name,
			len(b.Samples))
	}
	for i := range a.Samples {
		if p, q := a.Samples[i].Prompt, b.Samples[i].Prompt; p != q {
			return fmt.Errorf("evaluate: place %d is of %q in %s and of %q in %s", i, p, a.Name, q,
				b.Name)
		}
	}
	return nil
}

// BestOf is the arm of the best of n pictures, in each place the one of draws that has the highest
// score of a name; of equals the first. choice[i] is the index of the draw that place i is from. It
// is what a reward gets for n times the work, without any tuning.
func BestOf(name, score string, draws ...*Arm) (best *Arm, choice []int, err error) {
	if len(draws) == 0 {
		return nil, nil, fmt.Errorf("evaluate: %s: the best of nothing", name)
	}
	for _, d := range draws {
		if err := paired(draws[0], d); err != nil {
			return nil, nil, err
		}
		if len(d.Scores[score]) != len(d.Samples) {
			return nil, nil, fmt.Errorf("evaluate: %s has %d scores %q for %d samples", d.Name,
				len(d.Scores[score]), score, len(d.Samples))
		}
	}
	best = &Arm{Name: name, Scores: map[string][]float64{}}
	for i := range draws[0].Samples {
		top := 0
		for k, d := range draws {
			if d.Scores[score][i] > draws[top].Scores[score][i] {
				top = k
			}
		}
		d := draws[top]
		choice, best.Samples = append(choice, top), append(best.Samples, d.Samples[i])
		for name, scores := range d.Scores {
			best.Scores[name] = append(best.Scores[name], scores[i])
		}
		if d.Features != nil {
			best.Features = append(best.Features, d.Features[i])
		}
	}
	return best, choice, nil
}

// Compare returns by how much the scores of a name are higher in an arm than in the one from which
// it differs: measure.Paired, with prompts as clusters. Of one prompt alone, the interval is about
// its pictures. seed decides the bootstrap.
func Compare(from, a *Arm, score string, seed uint64) (measure.Difference, error) {
	if err := paired(from, a); err != nil {
		return measure.Difference{}, err
	}
	x, y := from.Scores[score], a.Scores[score]
	if len(x) != len(a.Samples) || len(y) != len(a.Samples) {
		return measure.Difference{}, fmt.Errorf("evaluate: %s has %d scores %q and %s %d, for "+
			"%d samples", from.Name, len(x), score, a.Name, len(y), len(a.Samples))
	}
	clusters := a.prompts()
	if !slices.ContainsFunc(clusters, func(p string) bool { return p != clusters[0] }) {
		clusters = nil
	}
	return measure.Paired(x, y, clusters, seed)
}

// Frechet is the Fréchet distance of an arm's features from those of a reference, such as pictures
// of the same prompts that are right, with its interval (measure.FrechetInterval, with prompts as
// clusters). The reference may have other prompts, and another number of pictures.
func Frechet(a, reference *Arm, seed uint64) (measure.Distance, error) {
	return measure.FrechetInterval(a.Features, reference.Features, a.prompts(), reference.prompts(),
		seed)
}
