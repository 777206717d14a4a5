// Command judge learns a reward from labels, asks it about prompts that it has not seen, makes
// weights of its rewards, and has it choose the best of four pictures: judge LABELS.jsonl FOLDER.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/alignment"
)

func main() {
	ctx, clip, model := context.Background(), must(tiny.CLIP()), must(pipeline.LoadFS(tiny.FS()))
	labels := must(dataset.CollectLabelled(ctx, dataset.File{Path: os.Args[1], Images: true}))
	rest, heldOut, err := dataset.SplitPrompts(labels, 0.25, 1)
	must(0, err)
	training := &alignment.Training{
		CLIP: clip, Samples: dataset.FromSlice(rest), Perturb: shapes.Grammar().Perturb, Lambda: 0.5,
		Hidden: 64, Batch: 16, Product: true, HeldOut: 0.15,
	}
	for epoch, err := range training.Epochs(ctx) {
		must(epoch, err)
	}
	folder := filepath.Join(os.Args[2], "reward")
	must(0, training.Model().Save(folder))
	judge := must(alignment.Load(folder, clip))
	accuracy := must(judge.Evaluate(ctx, dataset.FromSlice(heldOut)))
	fmt.Printf("held out: %d pictures, AUC %.3f\n", accuracy.N, accuracy.AUC)

	request := pipeline.Request{Prompts: []string{"two red circles", "a blue square"}, PerPrompt: 4, Steps: 8, Guidance: 2, Seed: 1}
	pictures := dataset.Keep(model.Generate(request))
	weighted := reward.Weigh(reward.Scored(pictures, judge, 8), reward.PerPrompt(reward.Softmax(0.2)))
	for s, err := range weighted.All(ctx) {
		fmt.Printf("weight of %s: %.3f\n", must(s, err).ID, *s.Reward)
	}
	best := reward.Best(pictures, judge, 4)
	fmt.Println("best of four:", must(dataset.WriteFolder(ctx, filepath.Join(os.Args[2], "best"), best)))
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
