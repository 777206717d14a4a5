package alignment

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/measure"
)

// A Prediction is what was said of a labelled picture that the reward was not trained on.
type Prediction struct {
	ID, Prompt string
	Good       bool    // the label
	Score      float64 // the reward, 0 to 1
	Logit      float64 // before the temperature and the sigmoid
	Similarity float64 // CLIP's, the cosine of both embeddings
}

// Predict says of each sample that is labelled good or bad what the model predicts. Without labels
// it is dataset.ErrNoLabels.
func (m *Model) Predict(ctx context.Context, d dataset.Dataset) ([]Prediction, error) {
	samples, features, err := embedLabelled(ctx, m.clip, d)
	if err != nil {
		return nil, fmt.Errorf("alignment: %w", err)
	}
	pairs, err := m.pairs(ctx, samples, features)
	if err != nil {
		return nil, err
	}
	predictions := make([]Prediction, len(pairs))
	for i, p := range pairs {
		predictions[i] = m.predict(samples[i], p)
	}
	return predictions, nil
}

func (m *Model) predict(s dataset.Sample, of pair) Prediction {
	row := make([]float32, m.head.config.width())
	m.head.config.join(row, of.image, of.text)
	p := Prediction{
		ID: s.ID, Prompt: s.Prompt, Good: s.Label == dataset.Good, Logit: m.head.logit(row),
	}
	p.Score = sigmoid(p.Logit / m.Temperature())
	for j := range of.image {
		p.Similarity += float64(of.image[j]) * float64(of.text[j])
	}
	return p
}

// columns are predictions by what they consist of.
type columns struct {
	scores, raw, similarity []float64
	good                    []bool
	prompts                 []string
}

func columnsOf(predictions []Prediction) (c columns) {
	for _, p := range predictions {
		c.scores = append(c.scores, p.Score)
		c.raw = append(c.raw, sigmoid(p.Logit))
		c.similarity = append(c.similarity, p.Similarity)
		c.good = append(c.good, p.Good)
		c.prompts = append(c.prompts, p.Prompt)
	}
	return c
}

// A Comparison is how well the reward predicts labels, and how well CLIP's similarity does. That is
// what one would use without labels. A Skill is the same with intervals, and more.
type Comparison struct {
	Accuracy
	CLIPAUC float64 `json:"clip_auc"`
}

// Evaluate compares the model's scores with labels that it was not trained on. Samples that are not
// labelled good or bad are passed over. Without labels it is dataset.ErrNoLabels.
func (m *Model) Evaluate(ctx context.Context, d dataset.Dataset) (Comparison, error) {
	predictions, err := m.Predict(ctx, d)
	if err != nil {
		return Comparison{}, err
	}
	of := columnsOf(predictions)
	c := Comparison{CLIPAUC: math.NaN()}
	if c.Accuracy, err = accuracy(of.scores, of.good); err != nil {
		return c, fmt.Errorf("alignment: %w", err)
	}
	if both(of.good) {
		c.CLIPAUC, err = measure.AUC(of.similarity, of.good)
	}
	return c, err
}

// A Count is of labels, and of the prompts that they are for.
type Count struct {
	Prompts int `json:"prompts"`
	Good    int `json:"good"`
	Bad     int `json:"bad"`
}

// N is how many labels there are.
func (c Count) N() int { return c.Good + c.Bad }

// CountLabels counts the samples that are labelled good or bad.
func CountLabels(samples []dataset.Sample) (c Count) {
	var labelled []dataset.Sample
	for _, s := range samples {
		switch s.Label {
		case dataset.Good:
			c.Good++
		case dataset.Bad:
			c.Bad++
		default:
			continue
		}
		labelled = append(labelled, s)
	}
	c.Prompts = len(dataset.Prompts(labelled))
	return c
}

// A Skill is how well a reward predicts labels that it was not trained on, and how well CLIP's
// similarity does. Intervals are of 95 %, from a bootstrap over prompts, because pictures of a
// prompt are alike. They say nothing of what another training on the same labels would give. What
// cannot be known, such as an AUC where all labels are the same, is NaN.
type Skill struct {
	Labels   Count            `json:"labels"`
	Accuracy measure.Estimate `json:"accuracy"` // share of pictures on the right side of ½
	AUC      measure.Estimate `json:"auc"`      // over pictures of all prompts
	// Pairwise is the share of pairs of a good and a bad picture of one prompt of which the good
	// one has the higher reward. Its N is how many pairs there are.
	Pairwise     measure.Estimate `json:"pairwise"`
	CLIPAUC      measure.Estimate `json:"clip_auc"`
	CLIPPairwise measure.Estimate `json:"clip_pairwise"`
	Gain         measure.Estimate `json:"gain"` // Pairwise − CLIPPairwise

	Reliability  measure.Reliability `json:"reliability"`  // of the rewards
	Uncalibrated measure.Reliability `json:"uncalibrated"` // of the rewards at a temperature of 1
}

// reliabilityBins is how many bins a reliability curve has: Guo et al. 2017 have 15, for tens of
// thousands of labels.
const reliabilityBins = 10

// NewSkill measures predictions. seed draws the bootstrap. It is an error if there are none.
func NewSkill(predictions []Prediction, seed uint64) (s Skill, err error) {
	of := columnsOf(predictions)
	s.Labels.Prompts = len(slices.Compact(slices.Sorted(slices.Values(of.prompts))))
	right := make([]bool, len(predictions))
	for i, good := range of.good {
		if right[i] = (of.scores[i] >= 0.5) == good; good {
			s.Labels.Good++
		} else {
			s.Labels.Bad++
		}
	}
	var errs []error
	estimate := func(e measure.Estimate, err error) measure.Estimate {
		errs = append(errs, err)
		return e
	}
	s.Accuracy = estimate(measure.Mean(measure.Bools(right), of.prompts, seed))
	s.AUC = estimate(measure.Mean(nil, nil, seed)) // not known
	s.CLIPAUC = s.AUC
	if both(of.good) {
		s.AUC = estimate(measure.AUCInterval(of.scores, of.good, of.prompts, seed))
		s.CLIPAUC = estimate(measure.AUCInterval(of.similarity, of.good, of.prompts, seed))
	}
	reward, prompts, err := measure.Pairs(of.scores, of.good, of.prompts)
	errs = append(errs, err)
	clip, _, err := measure.Pairs(of.similarity, of.good, of.prompts)
	errs = append(errs, err)
	s.Pairwise = estimate(measure.Mean(reward, prompts, seed))
	s.CLIPPairwise = estimate(measure.Mean(clip, prompts, seed))
	s.Gain = estimate(measure.Mean(minus(reward, clip), prompts, seed))
	s.Reliability, err = measure.NewReliability(of.scores, of.good, reliabilityBins)
	errs = append(errs, err)
	s.Uncalibrated, err = measure.NewReliability(of.raw, of.good, reliabilityBins)
	if err = errors.Join(append(errs, err)...); err != nil {
		err = fmt.Errorf("alignment: %w", err)
	}
	return s, err
}

func minus(a, b []float64) []float64 {
	d := make([]float64, min(len(a), len(b)))
	for i := range d {
		d[i] = a[i] - b[i]
	}
	return d
}
