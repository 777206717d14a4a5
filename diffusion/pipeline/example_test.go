package pipeline_test

import (
	"context"
	"fmt"
	"log"

	"github.com/kudos-ml/kudos/diffusion/pipeline"
)

// What a pipeline generates is a dataset: samples with pictures, one after another, made as they are asked for.
func ExamplePipeline_Generate() {
	p, err := pipeline.Load("../../testdata/golden/sd1") // a folder as diffusers writes it, here a tiny one of random weights
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
		fmt.Println(s.Prompt, s.Image.Bounds().Size(), s.Latent.Shape(), s.Source.Seed, s.Source.Index)
	}
	// Output:
	// a dog (16,16) (8, 8, 4) 1 0
	// a dog (16,16) (8, 8, 4) 1 1
	// two dogs (16,16) (8, 8, 4) 1 2
	// two dogs (16,16) (8, 8, 4) 1 3
}
