package finetune_test

import (
	"context"
	"fmt"
	"iter"
	"log"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
)

// A tiny network: the noise is a linear function of the noisy latent, whatever the timestep and the
// condition.
type network struct{ weight *tensor.Dense }

func (n network) Predict(x, _ *gorgonia.Node, _ diffusion.Condition) (*gorgonia.Node, error) {
	return kernels.Linear(x, kernels.Param(x.Graph(), n.weight), nil)
}

func (n network) Trainable() []kernels.Parameter {
	return []kernels.Parameter{{Name: "weight", Value: n.weight}}
}

func values(shape []int, v ...float32) *tensor.Dense {
	return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(v))
}

// sample has a latent of one position with two channels.
func sample(prompt string, reward float64, a, b float32) dataset.Sample {
	return dataset.Sample{
		Prompt: prompt, Reward: &reward, Latent: values([]int{1, 1, 2}, a, b),
		Condition: dataset.Condition{Tokens: values([]int{1, 1}, 0)},
	}
}

// Eq. 2 with a term of one's own: half the mean square of what the network predicts.
func ExampleTuner() {
	power := finetune.NewTerm("power", func(b *finetune.Batch) (*gorgonia.Node, error) {
		square, err := kernels.Mul(b.Predicted, b.Predicted)
		if err != nil {
			return nil, err
		}
		sum, err := kernels.Sum(square)
		if err != nil {
			return nil, err
		}
		return kernels.Scale(sum, 0.5/float64(b.Predicted.Shape().TotalSize()))
	})
	schedule, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	if err != nil {
		log.Fatal(err)
	}
	samples := dataset.FromSlice([]dataset.Sample{
		sample("a dog", 0.9, 1, 1),
		sample("two dogs", 0.1, -1, 1),
	})
	tuner := &finetune.Tuner{
		Network:  network{values([]int{2, 2}, 0, 0, 0, 0)},
		Schedule: schedule,
		Own:      samples, OwnBatch: 8,
		Pretrain: samples, PretrainBatch: 8,
		Terms:   []finetune.Term{finetune.RewardWeighted{}, finetune.Pretraining{Beta: 0.5}, power},
		Updates: 201,
		LR:      func(int) float64 { return 0.01 },
	}
	defer tuner.Close()
	for step, err := range tuner.Steps(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		if step.Index%100 == 0 {
			t := step.Terms
			fmt.Printf("step %3d: reward %.2f + pretraining %.2f + power %.2f\n",
				step.Index, t["reward"], t["pretraining"], t["power"])
		}
	}
	// Output:
	// step   0: reward 0.26 + pretraining 0.45 + power 0.00
	// step 100: reward 0.35 + pretraining 0.27 + power 0.14
	// step 200: reward 0.05 + pretraining 0.12 + power 0.08
}

// Whatever yields steps is a Trainer, and Record watches any.
func ExampleTrainer() {
	steps := func(ctx context.Context) iter.Seq2[finetune.Step, error] {
		return func(yield func(finetune.Step, error) bool) {
			for i := range 3 {
				if ctx.Err() != nil {
					yield(finetune.Step{}, context.Cause(ctx))
					return
				}
				if !yield(finetune.Step{Index: i, Of: 3, Loss: 1 / float64(i+1)}, nil) {
					return
				}
			}
		}
	}
	var trainer finetune.Trainer = finetune.Func(steps)
	for step, err := range trainer.Steps(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("step %d of %d: loss %.2f\n", step.Index+1, step.Of, step.Loss)
	}
	// Output:
	// step 1 of 3: loss 1.00
	// step 2 of 3: loss 0.50
	// step 3 of 3: loss 0.33
}
