package diffusion_test

import (
	"context"
	"fmt"
	"log"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/diffusiontest"
	"github.com/kudos-ml/kudos/kernels"
)

// Sampling is a loop. Here the network is the exact denoiser of a world in which every latent is
// about 2.
func ExampleDDIM() {
	schedule, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	if err != nil {
		fmt.Println(err)
		return
	}
	world := diffusiontest.Gaussian{Mean: 2, Std: 0.01, Schedule: schedule}
	start := diffusion.SeededNoise(1, 0).Start(1, 8, 8, 4)
	options := diffusion.SampleOptions{Steps: 4}
	ctx := context.Background()
	for step, err := range diffusion.DDIM(ctx, world.Predict, schedule, start, options) {
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Printf("step %d of %d, timestep %.0f: %.1f\n", step.Index+1, step.Of, step.Timestep,
			step.Latent.Float32s()[0])
	}
	// Output:
	// step 1 of 4, timestep 751: 1.4
	// step 2 of 4, timestep 501: 1.9
	// step 3 of 4, timestep 251: 2.0
	// step 4 of 4, timestep 1: 2.0
}

// A sampler by its name, as a flag has it. Eight steps of the second order end where four of DDIM
// did.
func ExampleParseSampler() {
	schedule, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	if err != nil {
		log.Fatal(err)
	}
	sampler, err := diffusion.ParseSampler("dpmpp_2m_karras")
	if err != nil {
		log.Fatal(err)
	}
	world := diffusiontest.Gaussian{Mean: 2, Std: 0.01, Schedule: schedule}
	start := diffusion.SeededNoise(1, 0).Start(1, 8, 8, 4)
	options := diffusion.SampleOptions{Steps: 8}
	steps := sampler.Sample(context.Background(), world.Predict, schedule, start, options)
	last, err := diffusion.Last(steps)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s: %.1f after %d steps\n", sampler.Name, last.Latent.Float32s()[0], last.Of)
	// Output: dpmpp_2m_karras: 2.0 after 8 steps
}

func ExamplePrediction_MinSNR() {
	schedule, err := diffusion.NewSchedule(diffusion.StableDiffusion())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, t := range []int{20, 100, 250, 500, 999} {
		level := schedule.Process.At(float64(t))
		signal, weight := level.Signal*level.Signal, schedule.Prediction.MinSNR(5, level)
		fmt.Printf("t %3d: %4.1f %% signal, min-SNR weight %.2f\n", t, 100*signal, weight)
	}
	// Output:
	// t  20: 98.1 % signal, min-SNR weight 0.10
	// t 100: 89.4 % signal, min-SNR weight 0.59
	// t 250: 67.4 % signal, min-SNR weight 1.00
	// t 500: 27.6 % signal, min-SNR weight 1.00
	// t 999:  0.5 % signal, min-SNR weight 1.00
}

// Guidance is a wrapper: what the condition changes counts scale times. Here a function stands in
// for the network, which predicts its condition, so that without one it is 1, with one 3, and
// guided 1 + 2·(3−1).
func ExampleGuide() {
	network := diffusion.Func(func(
		x, t *gorgonia.Node, c diffusion.Condition,
	) (*gorgonia.Node, error) {
		return kernels.Reshape(c.Tokens, x.Shape()...)
	})
	condition := func(token float32) dataset.Condition {
		values := tensor.WithBacking([]float32{token})
		return dataset.Condition{Tokens: tensor.New(tensor.WithShape(1, 1), values)}
	}
	guided, err := diffusion.Compile(diffusion.Guide(network, condition(1), 2),
		tensor.Shape{1, 1, 1, 1}, condition(3))
	if err != nil {
		log.Fatal(err)
	}
	defer guided.Close()
	if err := guided.Condition.Fill(condition(3)); err != nil {
		log.Fatal(err)
	}
	said, err := guided.Predict(diffusion.SeededNoise(1, 0).Start(1, 1, 1, 1), 500)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(said.Float32s())
	// Output: [5]
}
