package finetune

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/internal/golden"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A trainCase is the metadata "train" of a golden case.
type trainCase struct {
	Steps, Model, Pretrain int
	Beta, LR, Eps, Clip    float64
	Betas                  [2]float64
	Decay                  float64 `json:"weight_decay"`
}

// A whole network trained by Eq. 2 with AdamW and clipping has the losses, gradients' norms and
// parameters that PyTorch's float64 has. The tuner's graph and updates are the real ones; what it
// would draw is taken from the case.
func TestTrainingGolden(t *testing.T) {
	golden.Each(t, "..", func(t *testing.T, c golden.Case) {
		var k trainCase
		require.NoError(t, json.Unmarshal([]byte(c.Data.Metadata["train"]), &k))
		network, err := unet.Load(filepath.Join(c.Dir, "unet"))
		require.NoError(t, err)
		trainCompare(t, c, k, network, "train.")
	}, "train.loss")
}

// The pairs of an adapter, B from 0 on, have after the same training the losses, gradients' norms
// and values that peft's have; all other weights stay as they were.
func TestTrainingAdapterGolden(t *testing.T) {
	golden.Each(t, "..", func(t *testing.T, c golden.Case) {
		var k trainCase
		require.NoError(t, json.Unmarshal([]byte(c.Data.Metadata["train"]), &k))
		network, err := unet.Load(filepath.Join(c.Dir, "unet"))
		require.NoError(t, err)
		text, err := clip.LoadText(filepath.Join(c.Dir, "text_encoder"))
		require.NoError(t, err)
		adapter, err := lora.Load(filepath.Join(c.Dir, "lora", "pytorch_lora_weights.safetensors"),
			network, text)
		require.NoError(t, err)
		for _, p := range adapter.Trainable() {
			if strings.HasSuffix(p.Name, "lora_B.weight") {
				clear(p.Value.Float32s())
			}
		}
		before := weights.Hash(network)
		trainCompare(t, c, k, adapter, "lora.train.")
		require.Equal(t, before, weights.Hash(network))
	}, "lora.train.loss")
}

// trainCompare trains a network as the case was trained and compares with what it says under names
// that begin with prefix.
func trainCompare(t *testing.T, c golden.Case, k trainCase, network Network, prefix string) {
	t.Helper()
	before := map[string]*tensor.Dense{}
	for _, p := range network.Trainable() {
		if c.Has(prefix + "delta." + p.Name) {
			before[p.Name] = p.Value.Clone().(*tensor.Dense)
		}
	}
	tuner := caseTuner(t, c, k, network)
	r, err := tuner.start(context.Background())
	require.NoError(t, err)
	defer r.stepper.Close()
	losses, norms := make([]float32, k.Steps), make([]float32, k.Steps)
	for i := range k.Steps {
		timesteps := c.Tensor(t, fmt.Sprint("train.timesteps.", i)).Float32s()
		step, err := r.update(caseBatch(t, c, k, i).draws(r.Schedule.Process, timesteps))
		require.NoError(t, err)
		require.Equal(t, i, step.Index)
		losses[i], norms[i] = float32(step.Loss), float32(step.GradNorm)
	}
	golden.Near(t, "losses", losses, c.Tensor(t, prefix+"loss").Float32s(), 1e-5)
	if c.Has(prefix + "grad_norm") {
		golden.Near(t, "gradients' norms", norms, c.Tensor(t, prefix+"grad_norm").Float32s(), 1e-5)
	}
	deltas := 0
	for _, p := range network.Trainable() {
		name := prefix + "delta." + p.Name
		if !c.Has(name) {
			continue
		}
		deltas++
		delta := make([]float32, len(p.Value.Float32s()))
		for j, v := range p.Value.Float32s() {
			delta[j] = v - before[p.Name].Float32s()[j]
		}
		want := c.Tensor(t, name)
		if want.Dims() == 4 {
			want = c.ChannelsLast(t, name) // convolutions are [Cout,Cin,KH,KW] there
		}
		golden.Near(t, name, delta, want.Float32s(), 5e-4)
	}
	kept := slices.DeleteFunc(c.Data.Names(), func(name string) bool {
		return !strings.HasPrefix(name, prefix+"delta.")
	})
	require.Len(t, kept, deltas) // networks of full size have none
}

// caseTuner has the case's constants, and its first step's samples for data.
func caseTuner(t *testing.T, c golden.Case, k trainCase, network Network) *Tuner {
	s, err := diffusion.LoadSchedule(filepath.Join(c.Dir, "scheduler"))
	require.NoError(t, err)
	adam, err := optim.NewAdamW(network.Trainable()...)
	require.NoError(t, err)
	adam.Beta1, adam.Beta2, adam.Eps, adam.WeightDecay = k.Betas[0], k.Betas[1], k.Eps, k.Decay
	b := caseBatch(t, c, k, 0)
	return &Tuner{
		Network: network, Schedule: s, Optimizer: adam, Clip: k.Clip,
		Updates: k.Steps, LR: func(int) float64 { return k.LR },
		Own:      dataset.FromSlice(b.samples[:k.Model]),
		Pretrain: dataset.FromSlice(b.samples[k.Model:]),
		OwnBatch: k.Model, PretrainBatch: k.Pretrain,
		Terms: []Term{RewardWeighted{}, Pretraining{Beta: k.Beta}},
	}
}

// A given batch is what a tuner would draw.
type given struct {
	samples []dataset.Sample
	noise   []float32
}

func caseBatch(t *testing.T, c golden.Case, k trainCase, step int) given {
	name := func(what string) string { return fmt.Sprintf("train.%s.%d", what, step) }
	latents, conditions :=
		c.ChannelsLast(t, name("latents")), c.Tensor(t, name("encoder_hidden_states"))
	rewards := c.Tensor(t, name("rewards")).Float32s()
	g := given{
		make([]dataset.Sample, k.Model+k.Pretrain), c.ChannelsLast(t, name("noise")).Float32s(),
	}
	part := func(d *tensor.Dense, i int) *tensor.Dense {
		shape := d.Shape()[1:].Clone()
		n := shape.TotalSize()
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(d.Float32s()[i*n:(i+1)*n]))
	}
	for i := range g.samples {
		g.samples[i] = dataset.Sample{
			Latent: part(latents, i), Condition: dataset.Condition{Tokens: part(conditions, i)},
		}
		if i < k.Model {
			g.samples[i].Reward = new(float64(rewards[i]))
		}
	}
	return g
}

// draws are what a tuner would draw, with what is given.
func (g given) draws(of diffusion.Process, timesteps []float32) []draw {
	draws := make([]draw, len(g.samples))
	for i, s := range g.samples {
		size := s.Latent.Shape().TotalSize()
		draws[i] = draw{
			sample: s, condition: s.Condition, level: of.At(float64(timesteps[i])),
			noise: g.noise[i*size : (i+1)*size],
		}
		if s.Reward != nil {
			draws[i].reward = *s.Reward
		}
	}
	return draws
}
