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
	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// Models are whole models: evaluations and training steps of the miniature and of Stable Diffusion
// 1.5, of batches of so many, and what encodes and decodes pictures.
func Models(batch int) []Case {
	var all []Case
	for _, n := range []network{miniature, sd15} {
		all = append(all, n.evaluate(batch), n.evaluate(2*batch))
		for _, pairs := range []bool{false, true} {
			all = append(all, n.tune(batch, 0, pairs), n.tune(batch, batch, pairs))
		}
	}
	return append(all, features(batch), encode(batch), decode(batch))
}

// Step is a training step of Stable Diffusion 1.5 by Eq. 2, of so many rewarded pictures and none
// for pretraining.
func Step(batch int) Case { return sd15.tune(batch, 0, false) }

// bound makes inputs of a graph.
func bound(g *gorgonia.ExprGraph) func(name string, shape ...int) *gorgonia.Node {
	return func(name string, shape ...int) *gorgonia.Node {
		return kernels.Input(g, name, normal(name, shape...))
	}
}

// evaluate is an evaluation for so many latents.
func (n network) evaluate(batch int) Case {
	return Case{
		Name:  fmt.Sprintf("%s/evaluation/batch=%d", n.name, batch),
		Flops: float64(batch) * must(n.evaluation()), Items: batch,
		Prepare: func(_ context.Context, m kernels.Config) (*Runner, error) {
			u, err := n.load()
			if err != nil {
				return nil, err
			}
			g := gorgonia.NewGraph()
			said, err := n.graph(u, batch, bound(g))
			if err != nil {
				return nil, err
			}
			m.ConstantParameters = true // as generation has it
			return compiled(g, m, said)
		},
	}
}

// must is what is counted of networks whose shapes are written here.
func must(flops float64, err error) float64 {
	if err != nil {
		panic(fmt.Sprintf("cases: %v", err))
	}
	return flops
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

// tune is an update by Eq. 2 with so many rewarded pictures and so many for pretraining, of all
// weights or of low-rank pairs.
func (n network) tune(own, pretrain int, pairs bool) Case {
	kind, batch := "step", fmt.Sprint(own)
	if pairs {
		kind = "LoRA step"
	}
	if pretrain > 0 {
		batch += fmt.Sprintf("+%d", pretrain)
	}
	return Case{
		Name:  fmt.Sprintf("%s/%s/batch=%s", n.name, kind, batch),
		Items: own + pretrain, Flops: float64(own+pretrain) * must(n.training(pairs)),
		Optimizes: true, Prepare: n.trainer(own, pretrain, pairs),
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
		adapter, err := lora.New(u, rank4)
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

// vision is ViT-L/14.
var vision = sync.OnceValues(func() (*clip.VisionModel, error) {
	return clip.NewVisionModel(clip.VisionConfig{
		Width: 1024, Intermediate: 4096, Layers: 24, Heads: 16, Channels: 3, Side: 224,
		Patch: 14, Activation: "quick_gelu", Epsilon: 1e-5,
	})
})

// autoencoder is the VAE of Stable Diffusion 1.5.
var autoencoder = sync.OnceValues(func() (*vae.AutoencoderKL, error) {
	c := vae.DefaultConfig()
	c.BlockOutChannels, c.LayersPerBlock = []int{128, 256, 512, 512}, 2
	c.DownBlockTypes = slices.Repeat(c.DownBlockTypes, 4)
	c.UpBlockTypes = slices.Repeat(c.UpBlockTypes, 4)
	return vae.New(c)
})

// features makes ViT-L/14's features of pictures.
func features(batch int) Case {
	return forward("ViT-L14/pictures", batch, []int{224, 224, 3}, vision,
		func(v *clip.VisionModel, pixels *gorgonia.Node) (*gorgonia.Node, error) {
			return v.Pooled(pixels)
		})
}

// encode makes latents of pictures of 512×512.
func encode(batch int) Case {
	return forward("VAE/encode", batch, []int{512, 512, 3}, autoencoder,
		func(v *vae.AutoencoderKL, pictures *gorgonia.Node) (*gorgonia.Node, error) {
			mean, _, err := v.Encode(pictures)
			return mean, err
		})
}

// decode makes pictures of 512×512 of latents.
func decode(batch int) Case {
	return forward("VAE/decode", batch, []int{64, 64, 4}, autoencoder,
		func(v *vae.AutoencoderKL, latents *gorgonia.Node) (*gorgonia.Node, error) {
			return v.Decode(latents)
		})
}

// forward is what a model makes of so many inputs of a shape.
func forward[Model any](
	name string, batch int, shape []int, shaped func() (Model, error),
	say func(m Model, in *gorgonia.Node) (*gorgonia.Node, error),
) Case {
	count := func() (float64, error) {
		m, err := shaped()
		if err != nil {
			return 0, err
		}
		g := gorgonia.NewGraph()
		_, err = say(m, unbound(g)("input", append([]int{1}, shape...)...))
		return arithmetic(g, nil), err
	}
	return Case{
		Name: fmt.Sprintf("%s/batch=%d", name, batch), Items: batch,
		Flops: float64(batch) * must(count()),
		Prepare: func(_ context.Context, c kernels.Config) (*Runner, error) {
			m, err := shaped()
			if err != nil {
				return nil, err
			}
			nn.Init(m, 1)
			g := gorgonia.NewGraph()
			said, err := say(m, bound(g)("input", append([]int{batch}, shape...)...))
			if err != nil {
				return nil, err
			}
			return compiled(g, c, said)
		},
	}
}

// AdamW is a step of so many parameters. On a device, where a step begins with a loss, the loss is
// a sum of products.
func AdamW(parameters int) Case {
	return Case{
		Name: fmt.Sprintf("AdamW/parameters=%d", parameters), Optimizes: true,
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
