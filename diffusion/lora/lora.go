// Package lora adapts a Stable Diffusion by low-rank pairs (Hu et al., LoRA: Low-Rank Adaptation of
// Large Language Models, 2022): a layer with weight W computes with
//
//	W' = W + α/r·B·A
//
// where A has r rows and B r columns, r being the rank. W stays as it is, so only A and B are
// trained, and a file of them is small. For a convolution, A is one with r output channels and B is
// 1×1.
//
// An Adapter is attached to the layers that it adapts, and counts in every graph built from then
// on: New attaches pairs to be trained (an Adapter is a finetune.Network), Load those of a file.
// Several may be attached at once; what they add is summed. Detach takes an Adapter off again, and
// Merge makes it part of the weights.
//
// # Files
//
// Files are safetensors. Two namings are usual: diffusers', as its save_lora_weights writes and its
// load_lora_weights reads them, and that of kohya-ss/sd-scripts, which most other programs read.
// Load takes both, the older spellings of diffusers, peft's own (base_model.model.), the names of
// the original checkpoint's blocks, and any stem of these with any ending:
//
//	unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight
//	unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora.down.weight
//	unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight
//	base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.weight
//	lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q.lora_down.weight
//	lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.lora_down.weight
//
// # Other adapters
//
// Files of adapters that are no pairs are read too. Load makes them part of the weights, so they
// can be loaded, scaled, detached and merged, but not trained on or saved by themselves:
//
//   - pairs of a convolution by Tucker's decomposition (lora_mid);
//   - LoHa, a product of two pairs number by number (hada_w1_a), and LoKr, a product of Kronecker
//     (lokr_w1), with Tucker's decomposition or without, as LyCORIS computes them;
//   - DoRA, W' = m·(W + ΔW)/‖W + ΔW‖ with ΔW of any of these, as peft (lora_magnitude_vector)
//     or LyCORIS (dora_scale, for each output or for each input) computes it;
//   - what is added to weights, biases and norms as it is (diff, diff_b, w_norm, b_norm).
//
// While such an adapter is attached, the weights as they were are kept for Detach, in as much
// memory as they take. Merge lets them go. OFT, GLoRA, (IA)³ and others are refused by name.
package lora

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A Config says what New attaches.
type Config struct {
	// Rank is how many channels there are between A and B, 1 or more. diffusers' training scripts
	// have 4. A rank that no target's W can have is an error.
	Rank int
	// Alpha is α: a pair adds Alpha/Rank·B·A. It is a finite number above 0. 0 is Rank, because a
	// pair that adds 0 could not be trained; diffusers' training scripts have it equal to Rank too.
	Alpha float64
	// Targets reports whether to adapt the layer of a name. Nil is Attention.
	Targets func(name string) bool
	Seed    uint64 // what A is drawn from
}

// Attention reports the projections of attention, to_q, to_k, to_v and to_out.0: the layers that
// diffusers' training scripts adapt.
func Attention(name string) bool {
	for _, layer := range []string{".to_q", ".to_k", ".to_v", ".to_out.0"} {
		if strings.HasSuffix(name, layer) {
			return true
		}
	}
	return false
}

// Everything reports every linear layer and convolution.
func Everything(string) bool { return true }

// An Adapter is a set of pairs, each attached to a layer of a UNet or of a text encoder, and of
// changes of their weights.
type Adapter struct {
	// Notes are sentences on what a file holds that Load has left out, for those who loaded it.
	Notes []string

	unet    *unet.UNet2DCondition
	pairs   []pair
	changes []*change
	method  string // of the changes, for messages; empty where there are none
	scale   float64
	merged  bool
}

// A pair is what adapts one layer.
type pair struct {
	*target
	alpha float64
	*nn.LowRank
}

// New attaches a pair to each of the UNet's layers that are targets. A is drawn evenly between
// ±1/√fan-in, as peft draws it, and depends on the seed and on its layer's name alone. B is 0, so
// the network computes what it did before.
func New(u *unet.UNet2DCondition, c Config) (*Adapter, error) {
	if c.Alpha == 0 {
		c.Alpha = float64(c.Rank)
	}
	if c.Rank < 1 || !(c.Alpha > 0) || math.IsInf(c.Alpha, 0) {
		return nil, fmt.Errorf("lora: rank %d and alpha %v are not both more than 0",
			c.Rank, c.Alpha)
	}
	adapted := c.Targets
	if adapted == nil {
		adapted = Attention
	}
	if most := fullRank(u, adapted); most > 0 && c.Rank > most {
		return nil, fmt.Errorf("lora: rank %d is more than the weights of any target have, %d",
			c.Rank, most)
	}
	a := &Adapter{unet: u}
	for _, t := range targetsOf(unetNetwork, u) {
		if t.layer == nil || !adapted(t.name) {
			continue
		}
		p := pair{t, c.Alpha, t.layer.NewLowRank(c.Rank)}
		drawA(p, c.Seed)
		a.pairs = append(a.pairs, p)
	}
	if len(a.pairs) == 0 {
		return nil, fmt.Errorf("lora: no layer of the UNet is a target")
	}
	a.attach()
	return a, nil
}

// fullRank is the largest rank that B·A can have in any target.
func fullRank(u *unet.UNet2DCondition, adapted func(name string) bool) (most int) {
	size := func(l nn.Layer) int { return nn.Parameters(l)[0].Value.Shape().TotalSize() }
	for name, l := range nn.Layers(u) {
		if adapted(name) {
			one := l.NewLowRank(1)
			most = max(most, min(size(one.A), size(one.B)))
		}
	}
	return most
}

// drawA is PyTorch's kaiming_uniform_ with a = √5, whose bound √(6/((1+a²)·fan-in)) is 1/√fan-in.
func drawA(p pair, seed uint64) {
	r := rng.New(seed, "lora "+p.name, 0, 0)
	values := nn.Parameters(p.A)[0].Value.Float32s()
	bound := 1 / math.Sqrt(float64(len(values)/p.Rank()))
	for i := range values {
		values[i] = float32(bound * (2*r.Float64() - 1))
	}
}

// Predict is the adapted UNet's Predict.
func (a *Adapter) Predict(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error) {
	return a.unet.Predict(x, t, c)
}

// Trainable lists A and B of the UNet's pairs under peft's names, the layer's and lora_A.weight or
// lora_B.weight. Pairs of a text encoder are not among them: Predict is handed its conditions.
func (a *Adapter) Trainable() []kernels.Parameter {
	var out []kernels.Parameter
	for _, p := range a.pairs {
		if p.network != unetNetwork {
			continue
		}
		for _, q := range nn.Parameters(p.LowRank) {
			q.Name = p.name + "." + q.Name
			out = append(out, q)
		}
	}
	return out
}

// Tunable is an error if the adapter is not one of pairs alone: what Load has made part of the
// weights cannot be trained. It names a file's method. Package finetune asks for it.
func (a *Adapter) Tunable() error {
	if a.method == "" {
		return nil
	}
	return fmt.Errorf("lora: %s is made part of the weights when it is loaded, and cannot be "+
		"trained on: pairs can, of plain LoRA", a.method)
}

// Scale multiplies what the adapter does: with 0 it does nothing, with 1 all. New and Load start
// with 1. It counts in graphs that are built from now on and in Merge, and not in files that are
// saved. Between a weight W and the W' that the file makes of it, scale s is W + s·(W' − W), also
// where W' is DoRA's; peft and LyCORIS scale a part of the formula there instead, each another.
func (a *Adapter) Scale(scale float64) {
	a.scale = scale
	for _, c := range a.changes {
		c.set(scale)
	}
	for _, p := range a.pairs {
		p.LowRank.Scale = scale * p.alpha / float64(p.Rank())
	}
}

func (a *Adapter) attach() {
	a.Scale(1)
	for _, p := range a.pairs {
		p.layer.Attach(p.LowRank)
	}
}

// Detach takes the adapter off its layers, for graphs that are built from now on. Weights that it
// changed are as they were before Load: of two adapters that change the same weights, the later is
// detached first.
func (a *Adapter) Detach() {
	for _, c := range slices.Backward(a.changes) {
		c.undo()
	}
	a.detachPairs()
}

func (a *Adapter) detachPairs() {
	for _, p := range a.pairs {
		p.layer.Detach(p.LowRank)
	}
}

// Merge adds the pairs to the layers' weights and detaches them. The networks then compute what
// they did, up to rounding, and can be saved. What is merged once is not merged again.
func (a *Adapter) Merge() {
	a.detachPairs()
	if a.merged {
		return
	}
	a.merged = true
	for _, c := range a.changes {
		if c.before == nil {
			c.set(a.scale)
		}
	}
	a.changes = nil // they stay, and what was before them is let go
	for _, p := range a.pairs {
		p.LowRank.Merge(p.layer)
	}
}
