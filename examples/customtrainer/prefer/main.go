// Command prefer tunes the miniature by preferences: prefer FOLDER UPDATES. It goes on where an
// earlier process stopped, and stops after so many updates in all; 24 are the whole.
package main

import (
	"context"
	"log"
	"os"
	"path/filepath"
	"strconv"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
	"github.com/kudos-ml/kudos/reward"
)

// dpo is Diffusion-DPO (Wallace et al. 2023, eq. 14): −log σ(−β·(how much further the network is
// from the better picture of a pair than its reference, less the same of the worse one)).
func dpo(b *finetune.Batch) (*gorgonia.Node, error) {
	const beta = 50
	on := nn.On(b.Noisy)
	before := on.Do(b.Errors(on.Do(b.Reference())))
	further := on.Do(kernels.Sub(on.Do(b.Errors(b.Predicted)), before))
	pairs := on.Reshape(further, b.Own/2, 2)
	better, worse := on.Do(kernels.Slice(pairs, 1, 0, 1)), on.Do(kernels.Slice(pairs, 1, 1, 2))
	margin := on.Do(kernels.Scale(on.Do(kernels.Sub(better, worse)), beta))
	sum := on.Do(kernels.Sum(on.Do(kernels.Softplus(margin))))
	return on.Result(on.Do(kernels.Scale(sum, 2/float64(b.OwnOf))))
}

func main() {
	folder, updates := os.Args[1], must(strconv.Atoi(os.Args[2]))
	tuned, base := must(pipeline.LoadFS(tiny.FS())), must(pipeline.LoadFS(tiny.FS()))
	pictures := base.Generate(pipeline.Request{
		Prompts: must(shapes.Grammar().Draw("preferences", 1, 8)), PerPrompt: 4, Steps: 8, Guidance: 2, Seed: 1,
	})
	// Pictures of one prompt are compared.
	grouped := dataset.Map(pictures, func(_ context.Context, s dataset.Sample) (dataset.Sample, error) {
		s.Group = s.Prompt
		return s, nil
	})
	tuner := &finetune.Tuner{
		Network: tuned.UNet, Reference: base.UNet, Schedule: tuned.Schedule, Updates: 24,
		Own: reward.Scored(grouped, shapes.Rater{}, 16), Choose: finetune.Pairs{}, OwnBatch: 16,
		Terms: []finetune.Term{finetune.NewTerm("dpo", dpo)}, LR: func(int) float64 { return 1e-4 },
	}
	defer tuner.Close()
	saved := &finetune.Checkpoints{Trainer: tuner, Folder: folder, Resume: true}
	for step, err := range (&finetune.Record{Trainer: saved, Folder: folder}).Steps(context.Background()) {
		if must(step, err).Index+1 == updates {
			break
		}
	}
	must(0, tuned.UNet.Save(filepath.Join(folder, "unet"), kernels.Float32))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
