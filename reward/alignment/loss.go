package alignment

import (
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A batch is what the two losses read: M images, each with N prompts of which the first is the one
// it was made for.
type batch struct {
	m, n   int
	rows   *gorgonia.Node // [M·N,Width], what the head reads of each image and prompt
	labels *gorgonia.Node // y [M,1], 0 to 1: 1 good, 0 bad, between them what people say together
	// weights are w/M [M], and nil where they are all 1/M.
	weights *gorgonia.Node
	zeros   *gorgonia.Node // [M], which of its prompts is the true one: the first
	good    *gorgonia.Node // [M], wy/Σwy: 1/(number of good images) for one that is good, 0 for bad
}

// mse is the first loss of Eq. 1 (Lee et al. 2023, §4.2),
//
//	L_MSE = E_(x,z,y)[ w · (y − r(x,z))² ]
//
// of logits [M·N,1]. In the paper y is 1 or 0, and all w are 1. Here y may be between them (see
// Training.Soft): for a share y of good labels the loss has its least at r = y, as that of the
// labels one by one has. The weights w have the mean 1 over all images that are learned from.
func (b batch) mse(nb *nn.Builder, logits *gorgonia.Node) *gorgonia.Node {
	rewards := nb.Do(kernels.Sigmoid(logits))
	first := nb.Do(kernels.Slice(nb.Reshape(rewards, b.m, b.n), 1, 0, 1))
	return nb.Do(kernels.MSE(first, b.labels, b.weights))
}

// classification is the second loss of Eq. 1, prompt classification on images that are labelled
// good:
//
//	P(i|x) = exp(r(x,z_i)/T) / Σ_j exp(r(x,z_j)/T)
//	L_pc   = E_(x,z,y=1)[ −log P(i'|x) ],    i' the true prompt
//
// With weights, and with y between 0 and 1, that is what it is of the labels one by one,
//
//	L_pc   = −Σ wy log P(i'|x) / Σ wy        over the images of a batch
//
// With presigmoid, r is the score before the sigmoid: r/T of the paper's spans at most 1/T, a
// deliberately soft task.
func (b batch) classification(
	nb *nn.Builder, logits *gorgonia.Node, temperature float64, presigmoid bool,
) *gorgonia.Node {
	r := logits
	if !presigmoid {
		r = nb.Do(kernels.Sigmoid(logits))
	}
	r = nb.Do(kernels.Scale(nb.Reshape(r, b.m, b.n), 1/temperature))
	return nb.Do(kernels.SoftmaxCrossEntropy(r, b.zeros, b.good))
}
