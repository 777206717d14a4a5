package finetune

import (
	"errors"
	"fmt"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A Batch is what a loss is made of: nodes of one graph. Its first Own samples are the model's own
// and carry rewards. The other Pretrain ones are from the pretraining data. N is both together.
//
// It is the whole of a step's batch, or with Tuner.Accumulate a part of it. The losses of the parts
// are added, so what is a mean over samples divides by OwnOf and PretrainOf, the sizes of the
// whole.
//
// In a step whose pretraining latents have another shape than the own ones there are two batches in
// the graph, one of each dataset. The term Pretraining is of the second, and all others are of the
// first.
type Batch struct {
	Graph             *gorgonia.ExprGraph
	Own, Pretrain     int
	OwnOf, PretrainOf int

	Clean      *gorgonia.Node      // x₀ [N,H,W,C], the latents of the pictures
	Noise      *gorgonia.Node      // ε [N,H,W,C]
	Noisy      *gorgonia.Node      // x_t [N,H,W,C]
	Timesteps  *gorgonia.Node      // t [N], as the network is told
	Conditions diffusion.Condition // z, N of them
	Target     *gorgonia.Node      // what the network is to say [N,H,W,C]: ε, v, x₀ or ε − x₀
	Predicted  *gorgonia.Node      // what it says [N,H,W,C]
	Rewards    *gorgonia.Node      // r [Own]; nil if Own is 0
	Weights    *gorgonia.Node      // [N], 1 unless levels are weighed (Tuner.MinSNR)
	// Groups [N] are whole numbers, equal where samples have one dataset.Sample.Group. A sample
	// without a group has a number of its own.
	Groups *gorgonia.Node

	network   Network
	reference diffusion.Denoiser
	metrics   []optim.Part
	referred  *gorgonia.Node

	readClean, readNoise *reading // by CleanOf and NoiseOf
}

// Predict adds to the graph what the network being tuned says of other noisy latents, timesteps or
// conditions than the batch's, in the batch's way of saying it (see Target).
func (b *Batch) Predict(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error) {
	return b.network.Predict(x, t, c)
}

// Reference is what Tuner.Reference, which is not tuned, says of the batch's noisy latents
// [N,H,W,C].
func (b *Batch) Reference() (*gorgonia.Node, error) {
	if b.reference == nil {
		return nil, errors.New("the Tuner has no Reference")
	}
	var err error
	if b.referred == nil {
		b.referred, err = b.reference.Predict(b.Noisy, b.Timesteps, b.Conditions)
	}
	return b.referred, err
}

// Errors are the squared errors [N] of what is said of the noisy latents, Predicted or Reference's:
// for each sample the mean over its elements of (Target − said)².
func (b *Batch) Errors(said *gorgonia.Node) (*gorgonia.Node, error) {
	d, err := kernels.Sub(b.Target, said)
	if err != nil {
		return nil, err
	}
	if d, err = kernels.Mul(d, d); err != nil {
		return nil, err
	}
	n := d.Shape()[0]
	if d, err = kernels.Reshape(d, n, d.Shape().TotalSize()/n); err != nil {
		return nil, err
	}
	return kernels.Mean(d, 1)
}

// Metric reports a scalar of the graph with each step, as Step.Metrics[name]: the sum over the
// parts of the batch, if it has parts.
func (b *Batch) Metric(name string, value *gorgonia.Node) error {
	if value == nil || !value.Shape().IsScalar() {
		return fmt.Errorf("metric %s is no scalar", name)
	}
	b.metrics = append(b.metrics, optim.Part{Name: name, Value: value})
	return nil
}
