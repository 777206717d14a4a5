// Command terms tunes the miniature with a dataset, a reward and a loss term of its own: terms
// FOLDER.
package main

import (
	"context"
	"image"
	"iter"
	"log"
	"os"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/finetune"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/reward"
)

// stripes is a dataset: so many pictures of stripes, the i-th i+1 pixels wide.
type stripes int

func (n stripes) All(context.Context) iter.Seq2[dataset.Sample, error] {
	return func(yield func(dataset.Sample, error) bool) {
		for i := range int(n) {
			picture := image.NewGray(image.Rect(0, 0, 64, 64))
			for at := range picture.Pix {
				picture.Pix[at] = uint8(255 * ((at/(i+1) + i) % 2))
			}
			if !yield(dataset.Sample{Prompt: "two black squares", Image: picture}, nil) {
				return
			}
		}
	}
}

// darkness is a reward: how dark a picture's first pixel is.
func darkness(_ context.Context, samples []dataset.Sample) (scores []float64, _ error) {
	for _, s := range samples {
		scores = append(scores, 1-float64(s.Image.(*image.Gray).Pix[0])/255)
	}
	return scores, nil
}

func main() {
	base, tuned := must(pipeline.LoadFS(tiny.FS())), must(pipeline.LoadFS(tiny.FS()))
	// near is a term: what the network predicts stays near what it predicted before.
	near := finetune.NewTerm("near", func(b *finetune.Batch) (*gorgonia.Node, error) {
		was, err := base.UNet.Predict(b.Noisy, b.Timesteps, b.Conditions)
		if err != nil {
			return nil, err
		}
		return kernels.MSE(b.Predicted, was, nil)
	})
	tuner := &finetune.Tuner{
		Network: tuned.UNet, Schedule: tuned.Schedule, Updates: 40, OwnBatch: 16,
		Own:   base.Encode(reward.Scored(stripes(8), reward.Func(darkness), 8), pipeline.EncodeOptions{Batch: 8}),
		Terms: []finetune.Term{finetune.RewardWeighted{}, near}, LR: func(int) float64 { return 1e-3 },
	}
	defer tuner.Close()
	must(0, finetune.Each(context.Background(), &finetune.Record{Trainer: tuner, Folder: os.Args[1]}, nil))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
