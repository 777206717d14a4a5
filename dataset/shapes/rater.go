package shapes

import (
	"context"
	"fmt"
	"hash/fnv"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// A Rater labels pictures as the judge sees them, and errs now and then, as people do. The zero Rater never
// errs. It is also a reward.Model, of rewards 0 and 1.
type Rater struct {
	ErrorRate float64 // the probability that a label is the opposite of the judge's, 0 to 1
	Seed      uint64  // decides which labels err; the same picture with the same prompt always gets the same
}

// Label says whether a sample's picture follows its prompt. It is an error if the sample has no picture or its
// prompt is not in Grammar.
func (r Rater) Label(s dataset.Sample) (dataset.Label, error) {
	if s.Image == nil {
		return dataset.Unlabelled, fmt.Errorf("shapes: sample %q (%s) has no picture to judge", s.ID, s.Prompt)
	}
	claim, err := grammar.Parse(s.Prompt)
	if err != nil {
		return dataset.Unlabelled, fmt.Errorf("shapes: sample %q: %w", s.ID, err)
	}
	good := Judge(s.Image).Follows(claim)
	if r.ErrorRate > 0 && rng.New(r.Seed, "shapes rater", 0, fingerprint(s)).Float64() < r.ErrorRate {
		good = !good
	}
	if good {
		return dataset.Good, nil
	}
	return dataset.Bad, nil
}

// Score returns 1 for what Label calls good and 0 for what it calls bad.
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

// fingerprint is a hash of a sample's prompt and pixels.
func fingerprint(s dataset.Sample) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s.Prompt))
	for _, c := range pixels(s.Image) {
		h.Write([]byte{byte(c[0]), byte(c[1]), byte(c[2])})
	}
	return h.Sum64()
}
