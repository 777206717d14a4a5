package feedback

import (
	"context"
	"errors"

	"github.com/kudos-ml/kudos/dataset"
)

// A Verdict is what the judgements of one picture amount to.
type Verdict struct {
	// Label is Good, Bad, or Skip where it is neither.
	Label dataset.Label
	// Good is how good the picture is, 0 to 1: a share of the judgements or a probability. It does
	// not contradict the Label: see dataset.Sample.
	Good float64
	// Reward, unless nil, becomes the sample's reward.
	Reward *float64
}

// An Aggregator makes one verdict of all that raters say of a picture.
type Aggregator interface {
	// Aggregate returns one verdict for each picture of a table, in order. That on a picture
	// without an opinion that is good or bad is not used.
	Aggregate(ctx context.Context, t Table) ([]Verdict, error)
}

var errNoAggregator = errors.New("feedback: there is no Aggregator: it is nil")

// AggregatorFunc adapts a function to Aggregator.
type AggregatorFunc func(ctx context.Context, t Table) ([]Verdict, error)

// Aggregate calls f.
func (f AggregatorFunc) Aggregate(ctx context.Context, t Table) ([]Verdict, error) {
	if f == nil {
		return nil, errNoAggregator
	}
	return f(ctx, t)
}

// Majority labels a picture as most of those do who say good or bad. If as many say one as the
// other, it is neither, which is Skip. Good is the share of those who say good.
type Majority struct{}

// Aggregate counts the opinions. It returns no error.
func (Majority) Aggregate(_ context.Context, t Table) ([]Verdict, error) {
	return shares(t), nil
}

// Mean is Majority, and the share of those who say good is the picture's reward too. So where
// raters disagree, training is told how much.
type Mean struct{}

// Aggregate counts the opinions. It returns no error.
func (Mean) Aggregate(_ context.Context, t Table) ([]Verdict, error) {
	verdicts := shares(t)
	for i := range verdicts {
		verdicts[i].Reward = &verdicts[i].Good
	}
	return verdicts, nil
}

// shares makes verdicts of the shares of those who say good.
func shares(t Table) []Verdict {
	good, bad, _ := t.counts()
	verdicts := make([]Verdict, len(t.Pictures))
	for i := range verdicts {
		if n := good[i] + bad[i]; n > 0 {
			verdicts[i].Good = float64(good[i]) / float64(n)
			verdicts[i].Label = dataset.Majority(verdicts[i].Good)
		}
	}
	return verdicts
}
