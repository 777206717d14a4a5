package pipeline_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"log"
	"os"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A folder as diffusers writes it becomes a model: here a tiny one of random weights.
func ExampleLoad() {
	p, err := pipeline.Load("../../testdata/golden/sd1")
	if err != nil {
		log.Fatal(err)
	}
	side, channels := p.UNet.Latents()
	fmt.Println("latents:", side, side, channels)
	fmt.Println("pixels of a latent's position:", p.VAE.Factor())
	fmt.Println("features of a token:", p.Text.Config.Width)

	_, err = pipeline.Load("no/such/folder/at/all")
	fmt.Println("there is no other:", errors.Is(err, os.ErrNotExist))
	// Output:
	// latents: 8 8 4
	// pixels of a latent's position: 2
	// features of a token: 16
	// there is no other: true
}

// What a pipeline generates is a dataset: samples with pictures, one after another, made as they
// are asked for.
func ExamplePipeline_Generate() {
	// A folder as diffusers writes it, here a tiny one of random weights.
	p, err := pipeline.Load("../../testdata/golden/sd1")
	if err != nil {
		log.Fatal(err)
	}
	samples := p.Generate(pipeline.Request{
		Prompts: []string{"a dog", "two dogs"}, PerPrompt: 2,
		Steps: 2, Guidance: 7.5, Seed: 1,
	})
	for s, err := range samples.All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		size, latent := s.Image.Bounds().Size(), s.Latent.Shape()
		fmt.Println(s.Prompt, size, latent, s.Source.Seed, s.Source.Index)
	}
	// Output:
	// a dog (16,16) (8, 8, 4) 1 0
	// a dog (16,16) (8, 8, 4) 1 1
	// two dogs (16,16) (8, 8, 4) 1 2
	// two dogs (16,16) (8, 8, 4) 1 3
}

// Pictures of any size become latents of the model's, and prompts become conditions.
func ExamplePipeline_Encode() {
	p, err := pipeline.Load("../../testdata/golden/sd1")
	if err != nil {
		log.Fatal(err)
	}
	wide := image.NewGray(image.Rect(0, 0, 40, 30))
	wide.Set(20, 15, color.White)
	pictures := dataset.FromSlice([]dataset.Sample{{ID: "a", Prompt: "a star", Image: wide}})
	encoded := p.Encode(pictures, pipeline.EncodeOptions{})
	for s, err := range encoded.All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.ID, s.Latent.Shape(), s.Condition.Tokens.Shape())
	}
	// Output:
	// a (8, 8, 4) (77, 16)
}

// What does not need the UNet is done before it takes memory.
func ExampleLoadFrozen() {
	ctx := context.Background()
	p, err := pipeline.LoadFrozen("../../testdata/golden/sd1")
	if err != nil {
		log.Fatal(err)
	}
	conditions, err := p.Conditions(ctx, "a dog", "") // the empty prompt guides
	if err != nil {
		log.Fatal(err)
	}
	samples := p.Generate(pipeline.Request{
		Prompts: []string{"a dog"}, Conditions: conditions,
		Steps: 1, Guidance: 7.5, Seed: 1,
	})
	_, err = dataset.Collect(ctx, samples)
	var unread *pipeline.UnreadError
	if errors.As(err, &unread) {
		fmt.Println("the UNet of", unread.Model, "is read")
		if err := p.LoadUNet(); err != nil {
			log.Fatal(err)
		}
	}
	pictures, err := dataset.Collect(ctx, samples)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(pictures), "picture")
	// Output:
	// the UNet of sd1 is read
	// 1 picture
}

// A denoiser is one convolution, which is told neither the time nor the prompt.
type denoiser struct {
	Conv *nn.Conv2D `weight:"conv"`
}

func newDenoiser() *denoiser { return &denoiser{nn.NewConv2D(4, 4, 3, 1, true)} }

// Latents are those of the model whose place it takes.
func (n *denoiser) Latents() (side, channels int) { return 8, 4 }

// Predict is what the network says of x, as a node of x's graph.
func (n *denoiser) Predict(
	x, t *gorgonia.Node, c diffusion.Condition,
) (*gorgonia.Node, error) {
	b := nn.On(x)
	return b.Result(n.Conv.Forward(b, x))
}

// A network of one's own makes pictures with the model's text encoder, schedule and VAE. It is
// saved by itself.
func ExamplePipeline_With() {
	p, err := pipeline.Load("../../testdata/golden/sd1")
	if err != nil {
		log.Fatal(err)
	}
	network := newDenoiser()
	nn.Init(network, 1)
	mine := p.With("mine", network)
	samples := mine.Generate(pipeline.Request{
		Prompts: []string{"a dog"}, Steps: 2, Guidance: 1, Seed: 1,
	})
	for s, err := range samples.All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.ID, s.Image.Bounds().Size())
	}

	var refused *pipeline.NetworkError
	if err := mine.Save("anywhere", kernels.Float32); errors.As(err, &refused) {
		file, err := os.CreateTemp("", "*.safetensors")
		if err != nil {
			log.Fatal(err)
		}
		file.Close()
		defer os.Remove(file.Name())
		if err := nn.Save(file.Name(), refused.Network, kernels.Float32); err != nil {
			log.Fatal(err)
		}
		if err := nn.Load(file.Name(), newDenoiser()); err != nil {
			log.Fatal(err)
		}
		fmt.Println("saved by itself")
	}
	// Output:
	// mine-1-0 (16,16)
	// saved by itself
}
