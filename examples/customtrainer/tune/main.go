// Command tune generates, scores with a reward of its own, tunes a UNet and an adapter, saves both,
// loads both and generates again: tune FOLDER.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/lora"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/reward"
)

var ctx = context.Background()

// redness is a reward: how much more red than green there is in a picture's middle, in [-1,1].
func redness(_ context.Context, samples []dataset.Sample) (scores []float64, _ error) {
	for _, s := range samples {
		red, green, _, _ := s.Image.At(32, 32).RGBA()
		scores = append(scores, (float64(red)-float64(green))/0xffff)
	}
	return scores, nil
}

// generate paints and scores, writes the pictures and says their mean.
func generate(name string, p *pipeline.Pipeline) dataset.Dataset {
	request := pipeline.Request{Prompts: []string{"two red circles", "a blue square"}, PerPrompt: 4, Steps: 5, Guidance: 2, Seed: 1}
	samples := dataset.Keep(reward.Scored(p.Generate(request), reward.Func(redness), 8))
	n, sum := must(dataset.WriteFolder(ctx, filepath.Join(os.Args[1], name), samples)), 0.0
	for s, err := range samples.All(ctx) {
		sum += *must(s, err).Reward
	}
	fmt.Printf("%s: %.4f\n", name, sum/float64(n))
	return samples
}

func tune(n finetune.Network, p *pipeline.Pipeline, own dataset.Dataset) {
	tuner := &finetune.Tuner{Network: n, Schedule: p.Schedule, Own: own, OwnBatch: 8, Updates: 8, LR: func(int) float64 { return 3e-3 }}
	defer tuner.Close()
	must(0, finetune.Each(ctx, tuner, nil))
}

func main() {
	whole, base, again := must(pipeline.LoadFS(tiny.FS())), must(pipeline.LoadFS(tiny.FS())), must(pipeline.LoadFS(tiny.FS()))
	own := reward.Weigh(generate("before", base), reward.Standardize)
	tune(whole.UNet, whole, own)
	must(0, whole.Save(filepath.Join(os.Args[1], "model"), kernels.Float32))
	adapter, file := must(lora.New(base.UNet, lora.Config{Rank: 4, Alpha: 4})), filepath.Join(os.Args[1], "adapter.safetensors")
	tune(adapter, base, own)
	must(0, adapter.Save(file, kernels.Float32))

	generate("model tuned", whole)
	generate("model loaded", must(pipeline.Load(filepath.Join(os.Args[1], "model"))))
	generate("adapter tuned", base)
	must(lora.Load(file, again.UNet, again.Text))
	generate("adapter loaded", again)
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
