// Command policy tunes the miniature by policy gradients: policy FOLDER EPOCHS. It goes on where an
// earlier process stopped, and stops after so many epochs in all.
package main

import (
	"context"
	"iter"
	"log"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
	"github.com/kudos-ml/kudos/reward"
)

const pictures, steps, clip = 16, 5, 1e-3

// A policy is DDPO with importance sampling (Black et al. 2023, §4.3): a step of sampling is an
// action, drawn from a normal distribution around what the network makes of the latents. An epoch
// paints, and makes an update for each step of sampling.
type policy struct {
	epochs                                     int
	model                                      *pipeline.Pipeline
	stepper                                    optim.Stepper
	loss                                       *optim.Compiled
	x, said, drawn, gain, t, sign, bound, much *tensor.Dense
	conditions                                 dataset.Condition
}

// compile makes the loss −min(A·ratio, A·clip(ratio, 1−ε, 1+ε)), less what it is where it is
// clipped: |A|·max(0, sign A·(1 + ε·sign A − ratio)). The logarithm of the ratio is the mean over
// a latent's elements, as in the authors' program, not the sum.
func (p *policy) compile(g *gorgonia.ExprGraph) (optim.Loss, error) {
	in := func(name string, t *tensor.Dense) *gorgonia.Node { return kernels.Input(g, name, t) }
	x, drawn := in("x", p.x), in("drawn", p.drawn)
	b := nn.On(x)
	says := b.Do(p.model.UNet.Predict(x, in("t", p.t), diffusion.Input(g, p.conditions)))
	// How far the mean has moved, in σ.
	moved := b.Do(kernels.Mul(in("gain", p.gain), b.Do(kernels.Sub(says, in("said", p.said)))))
	each := b.Do(kernels.Mul(moved, b.Do(kernels.Sub(drawn, b.Do(kernels.Scale(moved, 0.5))))))
	ratio := b.Do(kernels.Exp(b.Do(kernels.Mean(b.Reshape(each, pictures, p.x.Size()/pictures), 1))))
	left := b.Do(kernels.Mul(in("sign", p.sign), b.Do(kernels.Sub(in("bound", p.bound), ratio))))
	return optim.Loss{Value: b.Do(kernels.Sum(b.Do(kernels.Mul(in("much", p.much), b.Do(kernels.ReLU(left))))))}, b.Err()
}

// epoch paints by the network as it is, and steps it.
func (p *policy) epoch(ctx context.Context, n int) (step finetune.Step, err error) {
	path, at := []diffusion.Step{}, []*tensor.Dense{} // steps of sampling, and the latents before each
	walk := func(ctx context.Context, net diffusion.Network, s *diffusion.Schedule, x *tensor.Dense,
		o diffusion.SampleOptions) diffusion.Steps {
		return func(yield func(diffusion.Step, error) bool) {
			for step, err := range diffusion.DDIM(ctx, net, s, x, o) {
				if err == nil {
					step.Said = step.Said.Clone().(*tensor.Dense)
					path, at, x = append(path, step), append(at, x), step.Latent
				}
				if !yield(step, err) {
					return
				}
			}
		}
	}
	request := pipeline.Request{Prompts: prompts, PerPrompt: pictures / 2, Batch: pictures, Steps: steps, Guidance: 1, Eta: 1}
	request.Seed, request.Sampler = uint64(n+1), diffusion.Sampler{Name: "ddim", Sample: walk}
	samples, err := dataset.Collect(ctx, reward.Scored(p.model.Generate(request), reward.Func(redness), pictures))
	if err != nil {
		return step, err
	}
	advantages, err := reward.PerPrompt(reward.Standardize)(samples)
	step = finetune.Step{Index: n, Of: p.epochs, Samples: pictures, Metrics: map[string]float64{}}
	for i, advantage := range advantages {
		step.Metrics["reward"] += *samples[i].Reward / pictures
		sign := math.Copysign(1, advantage)
		p.sign.Float32s()[i], p.bound.Float32s()[i] = float32(sign), float32(1+sign*clip)
		p.much.Float32s()[i] = float32(math.Abs(advantage) / pictures)
		copy(p.conditions.Row(i).Tokens.Float32s(), samples[i].Condition.Tokens.Float32s())
	}
	var r optim.Result
	for k := 0; k < len(path) && err == nil; k++ {
		copy(p.x.Float32s(), at[k].Float32s())
		copy(p.said.Float32s(), path[k].Said.Float32s())
		for i, mean := range path[k].Mean.Float32s() {
			p.drawn.Float32s()[i] = (path[k].Latent.Float32s()[i] - mean) / float32(path[k].Sigma)
			p.gain.Float32s()[i], p.t.Float32s()[i%pictures] = float32(path[k].Gain/path[k].Sigma), float32(path[k].Timestep)
		}
		r, err = p.stepper.Step(p.loss)
		step.Loss += r.Loss / steps
	}
	return step, err
}

// Steps, State and Restore make policy a finetune.Resumable whose steps are epochs.
func (p *policy) Steps(ctx context.Context) iter.Seq2[finetune.Step, error] {
	return func(yield func(finetune.Step, error) bool) {
		for p.stepper.Steps() < p.epochs*steps {
			if step, err := p.epoch(ctx, p.stepper.Steps()/steps); !yield(step, err) || err != nil {
				return
			}
		}
	}
}

func (p *policy) State(context.Context) (finetune.State, error) {
	tensors, err := p.stepper.State()
	return finetune.State{Step: p.stepper.Steps() / steps, Tensors: tensors}, err
}

func (p *policy) Restore(_ context.Context, s finetune.State) error {
	return p.stepper.SetState(s.Tensors)
}

// redness is the reward: how much more red than green there is in a picture's middle, in [-1,1].
func redness(_ context.Context, samples []dataset.Sample) (scores []float64, _ error) {
	for _, s := range samples {
		red, green, _, _ := s.Image.At(32, 32).RGBA()
		scores = append(scores, (float64(red)-float64(green))/0xffff)
	}
	return scores, nil
}

var prompts = []string{"two red circles", "a blue square"}

func main() {
	ctx, folder := context.Background(), os.Args[1]
	p := &policy{epochs: must(strconv.Atoi(os.Args[2])), model: must(pipeline.LoadFS(tiny.FS()))}
	p.stepper = optim.Stepper{Parameters: p.model.UNet.Trainable(), LR: func(int) float64 { return 3e-4 }, Clip: 1}
	for _, t := range []**tensor.Dense{&p.x, &p.said, &p.drawn, &p.gain} {
		*t = tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(pictures, 16, 16, 4))
	}
	for _, t := range []**tensor.Dense{&p.t, &p.sign, &p.bound, &p.much} {
		*t = tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(pictures))
	}
	p.conditions = must(p.model.Conditions(ctx, ""))[""].Batch(pictures)
	p.loss = must(p.stepper.Compile(p.compile))
	saved := &finetune.Checkpoints{Trainer: p, Folder: folder, Resume: true}
	for step, err := range (&finetune.Record{Trainer: saved, Folder: folder, Name: "policy"}).Steps(ctx) {
		must(step, err)
	}
	must(0, p.model.UNet.Save(filepath.Join(folder, "unet"), kernels.Float32))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
