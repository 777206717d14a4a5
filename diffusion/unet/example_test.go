package unet_test

import (
	"fmt"
	"log"
	"os"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/unet"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// A UNet of one's own size gets fresh weights, is trained to find the noise in latents that are
// nothing else, and is saved to a folder that diffusers reads as well.
func ExampleNew() {
	config := unet.DefaultConfig()
	config.SampleSize, config.NormNumGroups = 4, 4
	config.BlockOutChannels, config.CrossAttentionDim = []int{8, 16}, nn.Ints{6}
	config.DownBlockTypes = []string{"CrossAttnDownBlock2D", "DownBlock2D"}
	config.UpBlockTypes = []string{"UpBlock2D", "CrossAttnUpBlock2D"}
	network, err := unet.New(config)
	if err != nil {
		log.Fatal(err)
	}
	nn.Init(network, 1)

	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	noise, times, tokens := zeros(2, 4, 4, 4), zeros(2), zeros(2, 3, 6)
	diffusion.SeededNoise(1, 0)(0, 0, noise.Float32s())

	training := &optim.Stepper{
		Parameters: network.Trainable(),
		LR:         func(int) float64 { return 3e-3 },
	}
	defer training.Close()
	compiled, err := training.Compile(func(g *gorgonia.ExprGraph) (optim.Loss, error) {
		x := kernels.Input(g, "noise", noise)
		c := diffusion.Condition{Tokens: kernels.Input(g, "tokens", tokens)}
		predicted, err := network.Predict(x, kernels.Input(g, "times", times), c)
		if err != nil {
			return optim.Loss{}, err
		}
		loss, err := kernels.MSE(predicted, x, nil)
		return optim.Loss{Value: loss}, err
	})
	if err != nil {
		log.Fatal(err)
	}
	var losses []float64
	for range 30 {
		result, err := training.Step(compiled)
		if err != nil {
			log.Fatal(err)
		}
		losses = append(losses, result.Loss)
	}
	fmt.Println("it learns:", losses[29] < losses[0]/2)

	dir, err := os.MkdirTemp("", "unet")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := network.Save(dir, kernels.Float16); err != nil {
		log.Fatal(err)
	}
	again, err := unet.Load(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(again.Trainable()), "tensors,", again.Config.BlockOutChannels, "channels")
	// Output:
	// it learns: true
	// 304 tensors, [8 16] channels
}

// A network that diffusers wrote predicts the noise in latents, here of a size that it was not
// trained on.
func ExampleUNet2DCondition_Predict() {
	network, err := unet.Load("../../testdata/golden/sd1/unet") // a tiny one of random weights
	if err != nil {
		log.Fatal(err)
	}
	side, channels := network.Latents()
	fmt.Println("trained on latents", side, side, channels)

	zeros := func(shape ...int) *tensor.Dense {
		return tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(shape...))
	}
	prompt := dataset.Condition{Tokens: zeros(77, 16)}
	compiled, err := diffusion.Compile(network, tensor.Shape{2, 8, 12, channels}, prompt)
	if err != nil {
		log.Fatal(err)
	}
	defer compiled.Close()
	latents := zeros(2, 8, 12, channels)
	said, err := compiled.Predict(latents, 999)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("says", said.Shape())
	// Output:
	// trained on latents 8 8 4
	// says (2, 8, 12, 4)
}
