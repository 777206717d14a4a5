// Command denoiser trains a denoiser of its own from its own initial weights, saves it, loads it
// and samples both through a Pipeline: denoiser FOLDER.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A denoiser is two convolutions that are told the time and the mean of the prompt's tokens.
type denoiser struct {
	In   *nn.Conv2D `weight:"in"`
	Out  *nn.Conv2D `weight:"out"`
	Time *nn.Linear `weight:"time"`
	Text *nn.Linear `weight:"text"`
}

func newDenoiser() *denoiser {
	d := &denoiser{nn.NewConv2D(4, 32, 3, 1, true), nn.NewConv2D(32, 4, 3, 1, true), nn.NewLinear(16, 32, true), nn.NewLinear(64, 32, true)}
	nn.Init(d, 1)
	return d
}

func (d *denoiser) Predict(x, t *gorgonia.Node, c diffusion.Condition) (*gorgonia.Node, error) {
	b := nn.On(x)
	told := b.Add(d.Time.Forward(b, b.Do(kernels.TimestepEmbedding(t, 16, true, 0))), d.Text.Forward(b, b.Do(kernels.Mean(c.Tokens, 1))))
	x = b.Do(kernels.SiLU(b.Do(kernels.AddTime(d.In.Forward(b, x), told))))
	return b.Result(d.Out.Forward(b, x))
}

func (d *denoiser) Trainable() []kernels.Parameter { return nn.Parameters(d) }

func (d *denoiser) Latents() (side, channels int) { return 16, 4 }

func main() {
	ctx, base, file := context.Background(), must(pipeline.LoadFS(tiny.FS())), filepath.Join(os.Args[1], "denoiser.safetensors")
	mine, loaded := newDenoiser(), newDenoiser()
	tuner := &finetune.Tuner{
		Network: mine, Schedule: base.Schedule, Updates: 150, LR: func(int) float64 { return 3e-3 },
		Pretrain: base.Encode(tiny.Pretraining(1, 64), pipeline.EncodeOptions{}), PretrainBatch: 32,
	}
	defer tuner.Close()
	for step, err := range tuner.Steps(ctx) {
		fmt.Printf("update %d: loss %.4f\n", must(step, err).Index+1, step.Loss)
	}
	must(0, nn.Save(file, mine, kernels.Float32))
	must(0, nn.Load(file, loaded))
	for name, d := range map[string]*denoiser{"trained": mine, "loaded": loaded} {
		request := pipeline.Request{Prompts: []string{"two red circles"}, PerPrompt: 4, Steps: 10, Guidance: 2, Seed: 1}
		must(dataset.WriteFolder(ctx, filepath.Join(os.Args[1], name), base.With("mine", d).Generate(request)))
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
