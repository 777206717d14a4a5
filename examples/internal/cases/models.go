package cases

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// Arithmetic for one picture, of products alone, counted layer by layer.
const (
	evaluationFlops = 804.54e9 // of the UNet at 64×64 latents
	trainingFlops   = 2470e9   // of an update: forward, gradients by activations and by weights
	encodingFlops   = 162e9    // of ViT-L/14
)

// A network is a UNet to time, with the shape of what it reads.
type network struct {
	name                          string
	load                          func() (*unet.UNet2DCondition, error)
	side, channels, tokens, width int // of latents, and of conditions
	evaluation, training          float64
}

// miniature is small.
var miniature = network{
	name: "miniature", side: 16, channels: 4, tokens: 16, width: 64, load: Miniature,
}

// sd15 has the shape of Stable Diffusion 1.5's, and weights that nobody has trained. All cases have
// the same one.
var sd15 = network{
	name: "sd15", side: 64, channels: 4, tokens: 77, width: 768,
	evaluation: evaluationFlops, training: trainingFlops,
	load: sync.OnceValues(func() (*unet.UNet2DCondition, error) {
		c := unet.DefaultConfig()
		c.SampleSize, c.CrossAttentionDim = 64, nn.Ints{768}
		u, err := unet.New(c)
		if err != nil {
			return nil, err
		}
		nn.Init(u, 1)
		return u, nil
	}),
}

// Models are whole models: evaluations and training steps of the miniature and of Stable Diffusion
// 1.5, of batches of so many, and what encodes and decodes pictures.
func Models(batch int) []Case {
	var all []Case
	for _, n := range []network{miniature, sd15} {
		all = append(all, n.evaluate(batch), n.evaluate(2*batch), n.tune(batch, false))
	}
	return append(all, sd15.tune(batch, true), encode(batch), decode(batch))
}

// Step is a training step of Stable Diffusion 1.5 by Eq. 2, of so many rewarded pictures and none
// for pretraining.
func Step(batch int) Case { return sd15.train(fmt.Sprintf("sd15/step/batch=%d", batch), batch, 0) }

// evaluate is an evaluation for so many latents.
func (n network) evaluate(batch int) Case {
	return Case{
		Name:  fmt.Sprintf("%s/evaluation/batch=%d", n.name, batch),
		Flops: float64(batch) * n.evaluation, Items: batch,
		Prepare: func(_ context.Context, m kernels.Config) (*Runner, error) {
			u, err := n.load()
			if err != nil {
				return nil, err
			}
			g := gorgonia.NewGraph()
			in := func(name string, shape ...int) *gorgonia.Node {
				return kernels.Input(g, name, normal(name, shape...))
			}
			said, err := u.Predict(in("latents", batch, n.side, n.side, n.channels),
				in("timesteps", batch),
				diffusion.Condition{Tokens: in("tokens", batch, n.tokens, n.width)})
			if err != nil {
				return nil, err
			}
			return compiled(g, m, said)
		},
	}
}

// compiled is a machine that computes a node.
func compiled(g *gorgonia.ExprGraph, m kernels.Config, want *gorgonia.Node) (*Runner, error) {
	m.Want = gorgonia.Nodes{want}
	machine, err := kernels.NewMachine(g, m)
	if err != nil {
		return nil, err
	}
	return &Runner{Plan: machine.Plan(), Run: machine.RunAll, Close: machine.Close}, nil
}

// tune is an update by Eq. 2 with so many pictures of each stream, of all weights or of low-rank
// pairs.
func (n network) tune(batch int, pairs bool) Case {
	if !pairs {
		return n.train(fmt.Sprintf("%s/step/batch=%d+%d", n.name, batch, batch), batch, batch)
	}
	c := n.train(fmt.Sprintf("%s/LoRA step/batch=%d+%d", n.name, batch, batch), batch, batch)
	c.Flops = 0
	c.Prepare = n.trainer(batch, batch, true)
	return c
}

func (n network) train(name string, own, pretrain int) Case {
	return Case{
		Name: name, Items: own + pretrain, Flops: float64(own+pretrain) * n.training,
		Prepare: n.trainer(own, pretrain, false),
	}
}

// trainer makes training whose runs are its updates.
func (n network) trainer(own, pretrain int, pairs bool) func(context.Context, kernels.Config) (
	*Runner, error,
) {
	return func(ctx context.Context, m kernels.Config) (*Runner, error) {
		t, detach, err := n.tuner(own, pretrain, pairs, m)
		if err != nil {
			return nil, err
		}
		plan, err := t.Prepare(ctx)
		if err != nil {
			return nil, errors.Join(err, t.Close())
		}
		next, stop := iter.Pull2(t.Steps(ctx))
		return &Runner{
			Plan: plan,
			Run: func() error {
				_, err, ok := next()
				if !ok {
					err = errors.New("training has ended")
				}
				return err
			},
			Close: func() error {
				stop()
				defer detach()
				return t.Close()
			},
		}, nil
	}
}

// tuner is training by Eq. 2 on random latents. What is attached to the network for it is detached
// by detach.
func (n network) tuner(own, pretrain int, pairs bool, m kernels.Config) (
	t *finetune.Tuner, detach func(), err error,
) {
	u, err := n.load()
	if err != nil {
		return nil, nil, err
	}
	s, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	if err != nil {
		return nil, nil, err
	}
	t = &finetune.Tuner{Network: u, Schedule: s, Updates: 1 << 40, Machine: m}
	detach = func() {}
	if pairs {
		adapter, err := lora.New(u, lora.Config{Rank: 4, Alpha: 4})
		if err != nil {
			return nil, nil, err
		}
		t.Network, detach = adapter, adapter.Detach
	}
	var all []dataset.Sample
	for i := range max(own, pretrain) {
		name := fmt.Sprint("sample ", i)
		condition := dataset.Condition{Tokens: normal(name, n.tokens, n.width)}
		all = append(all, dataset.Sample{
			Reward: new(0.5), Latent: normal(name, n.side, n.side, n.channels),
			Condition: condition,
		})
	}
	t.Own, t.OwnBatch = dataset.FromSlice(all[:own]), own
	if pretrain > 0 {
		t.Pretrain, t.PretrainBatch = dataset.FromSlice(all[:pretrain]), pretrain
	}
	return t, detach, nil
}

// Curve is the losses of so many updates of all weights, by Eq. 2 with so many rewarded pictures.
// The miniature's weights are always the same; those of Stable Diffusion 1.5 are what other cases
// have left.
func Curve(ctx context.Context, m kernels.Config, name string, batch, updates int) (
	losses []float64, err error,
) {
	n := miniature
	if name == sd15.name {
		n = sd15
	}
	t, _, err := n.tuner(batch, 0, false, m)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, t.Close()) }()
	t.Updates, t.LR = updates, func(int) float64 { return 1e-4 }
	for step, err := range t.Steps(ctx) {
		if err != nil {
			return losses, err
		}
		losses = append(losses, step.Loss)
	}
	return losses, nil
}

// encode makes ViT-L/14's features of pictures.
func encode(batch int) Case {
	return Case{
		Name: fmt.Sprintf("ViT-L14/pictures/batch=%d", batch), Items: batch,
		Flops: float64(batch) * encodingFlops,
		Prepare: func(_ context.Context, m kernels.Config) (*Runner, error) {
			v, err := clip.NewVisionModel(clip.VisionConfig{
				Width: 1024, Intermediate: 4096, Layers: 24, Heads: 16, Channels: 3, Side: 224,
				Patch: 14, Activation: "quick_gelu", Epsilon: 1e-5,
			})
			if err != nil {
				return nil, err
			}
			nn.Init(v, 1)
			g := gorgonia.NewGraph()
			pixels := kernels.Input(g, "pixels", normal("pixels", batch, 224, 224, 3))
			pooled, err := v.Pooled(pixels)
			if err != nil {
				return nil, err
			}
			return compiled(g, m, pooled)
		},
	}
}

// decode makes pictures of 512×512 of latents.
func decode(batch int) Case {
	return Case{
		Name: fmt.Sprintf("VAE/decode/batch=%d", batch), Items: batch,
		Prepare: func(_ context.Context, m kernels.Config) (*Runner, error) {
			c := vae.DefaultConfig()
			c.BlockOutChannels, c.LayersPerBlock = []int{128, 256, 512, 512}, 2
			c.DownBlockTypes = slices.Repeat(c.DownBlockTypes, 4)
			c.UpBlockTypes = slices.Repeat(c.UpBlockTypes, 4)
			v, err := vae.New(c)
			if err != nil {
				return nil, err
			}
			nn.Init(v, 1)
			g := gorgonia.NewGraph()
			latents := kernels.Input(g, "latents", normal("latents", batch, 64, 64, 4))
			pictures, err := v.Decode(latents)
			if err != nil {
				return nil, err
			}
			return compiled(g, m, pictures)
		},
	}
}

// AdamW is a step of so many parameters. On a device, where a step begins with a loss, the loss is
// a sum of products.
func AdamW(parameters int) Case {
	return Case{
		Name: fmt.Sprintf("AdamW/parameters=%d", parameters),
		// It reads a parameter, its gradient and two means, and writes all but the gradient.
		Bytes: func(kernels.Precision) float64 { return 28 * float64(parameters) },
		Prepare: func(_ context.Context, m kernels.Config) (*Runner, error) {
			x := kernels.Parameter{Name: "x", Value: normal("parameter", parameters)}
			y := normal("factor", parameters)
			if m.Device == nil {
				a, err := optim.NewAdamW(x)
				if err != nil {
					return nil, err
				}
				return &Runner{
					Plan:  kernels.Plan{Weights: 4 * int64(parameters), Optimizer: a.Bytes()},
					Run:   func() error { return a.Update(x.Value, y) },
					Close: func() error { return nil },
				}, nil
			}
			s := &optim.Stepper{Parameters: []kernels.Parameter{x}, Machine: m}
			loss, err := s.Compile(func(g *gorgonia.ExprGraph) (loss optim.Loss, err error) {
				product, err := kernels.Mul(kernels.Param(g, x.Value), kernels.Param(g, y))
				if err == nil {
					loss.Value, err = kernels.Sum(product)
				}
				return loss, err
			})
			if err != nil {
				return nil, errors.Join(err, s.Close())
			}
			return &Runner{
				Plan: loss.Plan(), Close: s.Close,
				Run: func() error {
					_, err := s.Step(loss)
					return err
				},
			}, nil
		},
	}
}
