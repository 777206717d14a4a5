package shapes

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// A Rater labels pictures as the judge sees them, and errs now and then, as people do. The zero
// Rater never errs. A Rater is also a reward.Model, whose rewards are 0 and 1.
type Rater struct {
	ErrorRate float64 // the probability that a label is the opposite of the judge's, 0 to 1
	Seed      uint64  // decides which labels err
}

// Label returns Good if a sample's picture follows its prompt, and Bad if not, or the opposite
// where r errs. A picture with a prompt always gets the same label from r. It is an error if the
// sample has no picture. A prompt that is not of Grammar is a *dataset.PromptError.
func (r Rater) Label(s dataset.Sample) (dataset.Label, error) {
	if s.Image == nil {
		return dataset.Unlabelled, fmt.Errorf("shapes: sample %q (%s) has no picture to judge",
			s.ID, s.Prompt)
	}
	claim, err := grammar.Parse(s.Prompt)
	if err != nil {
		return dataset.Unlabelled, fmt.Errorf("shapes: sample %q: %w", s.ID, err)
	}
	good := Judge(s.Image).Follows(claim)
	if r.ErrorRate > 0 {
		draw := rng.New(r.Seed, "shapes rater", 0, fingerprint(s)).Float64()
		if draw < r.ErrorRate {
			good = !good
		}
	}
	if good {
		return dataset.Good, nil
	}
	return dataset.Bad, nil
}

// Score returns one reward a sample, in order: 1 where Label says Good, and 0 where it says Bad.
// Its errors are those of Label.
func (r Rater) Score(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
	scores := make([]float64, len(samples))
	for i, s := range samples {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		label, err := r.Label(s)
		if err != nil {
			return nil, err
		}
		if label == dataset.Good {
			scores[i] = 1
		}
	}
	return scores, nil
}

// fingerprint returns a hash of a sample's prompt and pixels.
func fingerprint(s dataset.Sample) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s.Prompt))
	for _, c := range pixels(s.Image) {
		h.Write([]byte{byte(c[0]), byte(c[1]), byte(c[2])})
	}
	return h.Sum64()
}

// Known is an error where a sample's prompt is not in Grammar: a dataset.File's Check.
func Known(s dataset.Sample) error {
	_, err := Grammar().Parse(s.Prompt)
	return err
}
