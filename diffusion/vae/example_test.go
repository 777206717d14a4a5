package vae_test

import (
	"fmt"
	"log"
	"os"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/diffusion/vae"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/kernels/optim"
)

// An autoencoder of one's own size gets fresh weights, is trained to give a picture back, and is
// saved to a folder that diffusers reads as well. (A whole training adds what keeps latents near a
// normal distribution, by the log variance.)
func ExampleNew() {
	config := vae.DefaultConfig()
	config.BlockOutChannels, config.NormNumGroups = []int{8, 8}, 4
	config.DownBlockTypes = []string{"DownEncoderBlock2D", "DownEncoderBlock2D"}
	config.UpBlockTypes = []string{"UpDecoderBlock2D", "UpDecoderBlock2D"}
	autoencoder, err := vae.New(config)
	if err != nil {
		log.Fatal(err)
	}
	nn.Init(autoencoder, 1)

	picture := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(1, 8, 8, 3))
	for i := range picture.Float32s() {
		// From black at the left to white at the right.
		picture.Float32s()[i] = 2*float32(i%24)/23 - 1
	}
	training := &optim.Stepper{
		Parameters: autoencoder.Trainable(),
		LR:         func(int) float64 { return 3e-3 },
	}
	defer training.Close()
	compiled, err := training.Compile(func(g *gorgonia.ExprGraph) (optim.Loss, error) {
		x := kernels.Input(g, "picture", picture)
		mean, _, err := autoencoder.Encode(x)
		if err != nil {
			return optim.Loss{}, err
		}
		decoded, err := autoencoder.Decode(mean)
		if err != nil {
			return optim.Loss{}, err
		}
		loss, err := kernels.MSE(decoded, x, nil)
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

	dir, err := os.MkdirTemp("", "vae")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := autoencoder.Save(dir, kernels.Float32); err != nil {
		log.Fatal(err)
	}
	again, err := vae.Load(dir)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(again.Trainable()), "tensors, a latent every", again.Factor(), "pixels")
	// Output:
	// it learns: true
	// 120 tensors, a latent every 2 pixels
}
