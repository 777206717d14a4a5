package reward

import (
	"context"
	"errors"

	"github.com/kudos-ml/kudos/dataset"
)

// A Model scores how well pictures follow their prompts.
type Model interface {
	// Score returns one value a sample, in order; higher is better. A sample's value does not
	// depend on its neighbours in the batch.
	Score(ctx context.Context, samples []dataset.Sample) ([]float64, error)
}

var errNoModel = errors.New("reward: there is no model to score by: it is nil")

// Func adapts a function to Model.
type Func func(ctx context.Context, samples []dataset.Sample) ([]float64, error)

// Score calls f.
func (f Func) Score(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
	if f == nil {
		return nil, errNoModel
	}
	return f(ctx, samples)
}
