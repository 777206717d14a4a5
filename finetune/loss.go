package finetune

import (
	"errors"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/kernels"
)

// A Batch is what a loss is made of: nodes of one graph. Of N samples the first Model come from the model and carry
// rewards, the other Pretrain ones from the pretraining data.
type Batch struct {
	Graph           *gorgonia.ExprGraph
	Model, Pretrain int

	Noisy      *gorgonia.Node      // x_t [N,H,W,C]
	Timesteps  *gorgonia.Node      // t [N]
	Conditions diffusion.Condition // z
	Target     *gorgonia.Node      // what the network is to say [N,H,W,C]: ε, v, x₀ or ε - x₀, whatever it predicts
	Predicted  *gorgonia.Node      // what it says [N,H,W,C]; Clean and Noise read it
	Rewards    *gorgonia.Node      // r [Model]; nil if Model is 0
	Weights    *gorgonia.Node      // [N], 1 unless timesteps are weighed (Tuner.MinSNR)

	// Network is the network being tuned, for terms that ask it something else. It says what Predicted does.
	Network diffusion.Denoiser

	clean, noise *reading // once a term has asked for them
}

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

func (t term) Name() string                          { return t.name }
func (t term) Loss(b *Batch) (*gorgonia.Node, error) { return t.loss(b) }

// RewardWeighted is the first term of Eq. 2: the mean over the model's samples of
// r · ‖ε − ε_θ(x_t, t, z)‖², with v, x₀ or ε - x₀ for ε where the network predicts that. A sample's
// squared error is the mean over its elements.
type RewardWeighted struct{}

// Name returns "reward".
func (RewardWeighted) Name() string { return "reward" }

// Loss adds the term to b's graph.
func (RewardWeighted) Loss(b *Batch) (*gorgonia.Node, error) {
	if b.Model == 0 {
		return nil, errors.New("the batch has no samples of the model")
	}
	weights, err := rows(b.Weights, 0, b.Model)
	if err != nil {
		return nil, err
	}
	weights, err = kernels.Mul(b.Rewards, weights)
	if err != nil {
		return nil, err
	}
	return b.squaredError(0, b.Model, weights, 1)
}

// Pretraining is the second term of Eq. 2: Beta times the mean over the pretraining samples of ‖ε − ε_θ(x_t, t, z)‖².
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
	weights, err := rows(b.Weights, b.Model, b.Model+b.Pretrain)
	if err != nil {
		return nil, err
	}
	return b.squaredError(b.Model, b.Model+b.Pretrain, weights, p.Beta)
}

// squaredError is scale · mean over the samples [start,end) of w · ‖target − predicted‖², w [end−start].
func (b *Batch) squaredError(start, end int, w *gorgonia.Node, scale float64) (*gorgonia.Node, error) {
	predicted, err := rows(b.Predicted, start, end)
	if err != nil {
		return nil, err
	}
	target, err := rows(b.Target, start, end)
	if err != nil {
		return nil, err
	}
	w, err = kernels.Scale(w, scale/float64(end-start))
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
