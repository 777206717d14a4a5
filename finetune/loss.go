package finetune

import (
	"errors"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
)

// A Term is one summand of a loss.
type Term interface {
	// Name says which, in logs and reports.
	Name() string
	// Loss adds the term to b's graph: a scalar.
	Loss(b *Batch) (*gorgonia.Node, error)
}

// NewTerm makes a Term of a function.
func NewTerm(name string, loss func(b *Batch) (*gorgonia.Node, error)) Term {
	return term{name, loss}
}

type term struct {
	name string
	loss func(b *Batch) (*gorgonia.Node, error)
}

func (t term) Name() string { return t.name }

func (t term) Loss(b *Batch) (*gorgonia.Node, error) {
	if t.loss == nil {
		return nil, errors.New("finetune: there is nothing to compute it by: its function is nil")
	}
	return t.loss(b)
}

// RewardWeighted is the first term of Eq. 2: the mean over the model's own samples of
//
//	r · ‖ε − ε_θ(x_t, t, z)‖²
//
// with v, x₀ or ε − x₀ for ε where the network says that. A sample's squared error is the mean
// over its elements.
type RewardWeighted struct{}

// Name returns "reward".
func (RewardWeighted) Name() string { return "reward" }

// Loss adds the term to b's graph.
func (RewardWeighted) Loss(b *Batch) (*gorgonia.Node, error) {
	if b.Own == 0 {
		return nil, errors.New("the batch has no samples of the model's own")
	}
	weights, err := rows(b.Weights, 0, b.Own)
	if err != nil {
		return nil, err
	}
	weights, err = kernels.Mul(b.Rewards, weights)
	if err != nil {
		return nil, err
	}
	return b.squaredError(0, b.Own, weights, 1/float64(b.OwnOf))
}

// Pretraining is the second term of Eq. 2: Beta times the mean over the pretraining samples of
//
//	‖ε − ε_θ(x_t, t, z)‖²
type Pretraining struct {
	Beta float64 // β; the paper does not give its own, 1 is ours to start from
}

// Name returns "pretraining".
func (Pretraining) Name() string { return "pretraining" }

// Loss adds the term to b's graph.
func (p Pretraining) Loss(b *Batch) (*gorgonia.Node, error) {
	if b.Pretrain == 0 {
		return nil, errors.New("the batch has no pretraining samples")
	}
	weights, err := rows(b.Weights, b.Own, b.Own+b.Pretrain)
	if err != nil {
		return nil, err
	}
	return b.squaredError(b.Own, b.Own+b.Pretrain, weights, p.Beta/float64(b.PretrainOf))
}

// squaredError is scale · Σ w · ‖target − predicted‖² over the samples [start,end), w [end−start].
func (b *Batch) squaredError(start, end int, w *gorgonia.Node, scale float64) (
	*gorgonia.Node, error,
) {
	predicted, err := rows(b.Predicted, start, end)
	if err != nil {
		return nil, err
	}
	target, err := rows(b.Target, start, end)
	if err != nil {
		return nil, err
	}
	w, err = kernels.Scale(w, scale)
	if err != nil {
		return nil, err
	}
	return kernels.MSE(predicted, target, w)
}

// rows are the samples [start,end) of x.
func rows(x *gorgonia.Node, start, end int) (*gorgonia.Node, error) {
	if tensor.Shape(x.Shape())[0] == end-start {
		return x, nil
	}
	return kernels.Slice(x, 0, start, end)
}
