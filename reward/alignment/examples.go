package alignment

import (
	"context"
	"fmt"
	"image"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/internal/split"
)

// An example is a labelled picture as the losses see it.
type example struct {
	image  []float32
	texts  [][]float32 // the true prompt's embedding first
	good   bool        // what it is labelled
	target float64     // y of Eq. 1, 0 to 1
	weight float64     // w of Eq. 1, 0 or more, of mean 1
	prompt string
}

// A pool is labelled samples without their pictures, and embeddings.
type pool struct {
	samples  []dataset.Sample
	features [][]float32          // of the samples' pictures
	texts    map[string][]float32 // of prompts, as far as they were needed
}

// of is the pool of some of the samples. It shares the embeddings.
func (p *pool) of(places []int) *pool {
	some := &pool{texts: p.texts}
	for _, i := range places {
		some.samples = append(some.samples, p.samples[i])
		some.features = append(some.features, p.features[i])
	}
	return some
}

// read fills the pool with the training's samples, unless they are there.
func (t *Training) read(ctx context.Context) error {
	if t.pool != nil {
		return nil
	}
	samples, features, err := embedLabelled(ctx, t.CLIP, t.Samples)
	if err != nil {
		return err
	}
	t.pool = &pool{samples, features, map[string][]float32{}}
	return nil
}

// embed makes an example of every labelled sample. Each picture and each distinct prompt is
// embedded once.
func (s *session) embed(ctx context.Context) ([]example, error) {
	if err := s.read(ctx); err != nil {
		return nil, err
	}
	prompts, err := s.prompts()
	if err != nil {
		return nil, err
	}
	texts := s.pool.texts
	for _, of := range prompts {
		for _, p := range of {
			if _, there := texts[p]; !there {
				texts[p] = nil // to be embedded
			}
		}
	}
	if err := embedTexts(ctx, s.CLIP, texts); err != nil {
		return nil, err
	}
	examples := make([]example, len(s.pool.samples))
	for i, sample := range s.pool.samples {
		if examples[i], err = s.example(sample); err != nil {
			return nil, fmt.Errorf("sample %s: %w", sample.ID, err)
		}
		examples[i].image = s.pool.features[i]
		for _, p := range prompts[i] {
			examples[i].texts = append(examples[i].texts, texts[p])
		}
	}
	return examples, nil
}

// prompts are those of each sample: its own, and then wrong ones.
func (s *session) prompts() ([][]string, error) {
	if s.Lambda != 0 && s.Perturb == nil {
		all := dataset.Prompts(s.pool.samples)
		s.Perturb, s.Prompts = dataset.OtherPrompts(all), min(s.Prompts, len(all))
		if len(all) < 2 {
			return nil, fmt.Errorf("all labels are of one prompt, %q: "+
				"there is none to tell it from", all[0])
		}
	}
	prompts := make([][]string, len(s.pool.samples))
	for i, sample := range s.pool.samples {
		prompts[i] = []string{sample.Prompt}
		if s.Prompts == 1 {
			continue
		}
		r := rng.New(s.Seed, "perturb", 0, uint64(i))
		wrong, err := s.Perturb(sample.Prompt, s.Prompts-1, r)
		if err != nil {
			return nil, fmt.Errorf("sample %s: %w", sample.ID, err)
		}
		if len(wrong) != s.Prompts-1 {
			return nil, fmt.Errorf("sample %s: Perturb gave %d wrong prompts, not %d, for %q",
				sample.ID, len(wrong), s.Prompts-1, sample.Prompt)
		}
		prompts[i] = append(prompts[i], wrong...)
	}
	return prompts, nil
}

// example is what is to be learned of a sample, without its embeddings.
func (t *Training) example(s dataset.Sample) (example, error) {
	good := s.Label == dataset.Good
	e := example{good: good, target: label(good), weight: 1, prompt: s.Prompt}
	if t.Soft && s.Judgements > 0 {
		e.target = s.Good
	}
	if t.Weight != nil {
		if e.weight = t.Weight(s); !(e.weight >= 0) || math.IsInf(e.weight, 1) {
			return e, fmt.Errorf("its Weight is %v", e.weight)
		}
	}
	return e, nil
}

// Labelled is dataset.CollectLabelled of labels that a reward can be learned from. It is an error
// too if all of them are the same, or if a labelled sample has neither a picture nor its File.
func Labelled(ctx context.Context, d dataset.Dataset) ([]dataset.Sample, error) {
	samples, err := dataset.CollectLabelled(ctx, d)
	if err != nil {
		return nil, err
	}
	good := 0
	for _, s := range samples {
		if s.Image == nil && s.File == "" {
			return nil, fmt.Errorf("alignment: sample %s (%q) has a label and no picture", s.ID,
				s.Prompt)
		}
		if s.Label == dataset.Good {
			good++
		}
	}
	if err := bothKinds(good, len(samples)); err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	return samples, nil
}

// bothKinds is an error if of n labels none or all are good.
func bothKinds(good, n int) error {
	if good == 0 || good == n {
		return fmt.Errorf("%d of %d labels are good: both kinds are needed", good, n)
	}
	return nil
}

// embedLabelled returns the samples of d that are labelled good or bad, and their pictures'
// embeddings instead of the pictures, of which it holds a batch at a time (dataset.Batches).
func embedLabelled(
	ctx context.Context, c CLIP, d dataset.Dataset,
) (samples []dataset.Sample, features [][]float32, err error) {
	total := 0
	labelled := dataset.Filter(d, func(s dataset.Sample) bool {
		total++
		return s.Label == dataset.Good || s.Label == dataset.Bad
	})
	const together = 64
	for batch, err := range dataset.Batches(ctx, labelled, together) {
		if err != nil {
			return nil, nil, err
		}
		pictures := make([]image.Image, len(batch))
		for i, s := range batch {
			if s.Image == nil {
				return nil, nil, fmt.Errorf("sample %s (%q) has no picture", s.ID, s.Prompt)
			}
			pictures[i], s.Image = s.Image, nil
			samples = append(samples, s)
		}
		rows, err := c.ImageFeatures(ctx, pictures)
		if err != nil {
			return nil, nil, err
		}
		width := rows.Shape()[1]
		for i := range pictures {
			features = append(features, rows.Float32s()[i*width:(i+1)*width])
		}
	}
	if len(samples) == 0 {
		return nil, nil, fmt.Errorf("%w (of %d samples)", dataset.ErrNoLabels, total)
	}
	return samples, features, nil
}

// embedTexts fills in the embedding of every key that has none.
func embedTexts(ctx context.Context, c CLIP, texts map[string][]float32) error {
	var keys []string
	for p, embedding := range texts {
		if embedding == nil {
			keys = append(keys, p)
		}
	}
	if len(keys) == 0 {
		return nil
	}
	slices.Sort(keys)
	features, err := c.TextFeatures(ctx, keys)
	if err != nil {
		return err
	}
	width := features.Shape()[1]
	for i, p := range keys {
		texts[p] = features.Float32s()[i*width : (i+1)*width]
	}
	return nil
}

// split holds out all examples of some prompts.
func (s *session) split(examples []example) error {
	held, err := s.heldOutPrompts(examples)
	if err != nil {
		return err
	}
	good := 0
	for _, e := range examples {
		if e.good {
			good++
		}
		if held[e.prompt] {
			s.heldOut = append(s.heldOut, e)
		} else {
			s.train = append(s.train, e)
		}
	}
	if err := bothKinds(good, len(examples)); err != nil {
		return err
	}
	if !s.weighted() {
		return nil
	}
	for _, part := range [][]example{s.train, s.heldOut} {
		if !weigh(part, s.Balance) {
			return fmt.Errorf("the Weight of all %d labels is 0", len(part))
		}
	}
	return nil
}

// weighted reports whether labels may differ in their weights.
func (s *session) weighted() bool { return s.Weight != nil || s.Balance }

// weigh gives weights the mean 1. With balance, those of good examples have the sum of those of bad
// ones. It returns false where all weights are 0.
func weigh(examples []example, balance bool) bool {
	kind := func(e example) bool { return balance && e.good }
	sums := map[bool]float64{}
	for _, e := range examples {
		if e.weight > 0 {
			sums[kind(e)] += e.weight
		}
	}
	for i, e := range examples {
		if e.weight > 0 {
			share := e.weight / sums[kind(e)] / float64(len(sums))
			examples[i].weight = share * float64(len(examples))
		}
	}
	return len(sums) > 0 || len(examples) == 0
}

// ByJudgements is a Training's Weight. A label weighs as much as there are judgements behind it, or
// as one where their number is not known.
func ByJudgements(s dataset.Sample) float64 { return float64(max(1, s.Judgements)) }

// heldOutPrompts draws the prompts that training does not see. Both kinds of labels are among them,
// unless one kind is of one prompt alone, which training must see.
func (s *session) heldOutPrompts(examples []example) (map[string]bool, error) {
	if s.HeldOut == 0 {
		return nil, nil
	}
	var prompts []string
	kinds := split.Kinds{}
	for _, e := range examples {
		if _, seen := kinds[e.prompt]; !seen {
			prompts = append(prompts, e.prompt)
		}
		kinds.Add(e.prompt, e.good)
	}
	if len(prompts) < 2 {
		return nil, fmt.Errorf("all labels are of one prompt, %q: none can be held out", prompts[0])
	}
	r := rng.New(s.Seed, "held-out prompts", 0, 0)
	r.Shuffle(len(prompts), func(i, j int) { prompts[i], prompts[j] = prompts[j], prompts[i] })
	held := map[string]bool{}
	for _, p := range kinds.HoldOut(prompts, max(1, int(s.HeldOut*float64(len(prompts)))), 1) {
		held[p] = true
	}
	return held, nil
}
