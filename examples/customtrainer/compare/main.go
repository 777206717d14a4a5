// Command compare evaluates two ways to make pictures, without guidance and with it, of the same
// prompts and from the same noise, and says by how much their scores differ.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

func main() {
	ctx, model := context.Background(), must(pipeline.LoadFS(tiny.FS()))
	scorer := &evaluate.Scorer{Reward: shapes.Rater{}, CLIP: must(tiny.CLIP())}
	prompts := must(shapes.Grammar().Draw("compare", 1, 8))
	arm := func(name string, guidance float64) *evaluate.Arm {
		request := pipeline.Request{Prompts: prompts, PerPrompt: 4, Steps: 8, Guidance: guidance, Seed: 1}
		return must(scorer.Score(ctx, name, model.Generate(request)))
	}
	plain, guided := arm("plain", 1), arm("guided", 4)
	for _, score := range []string{evaluate.Reward, evaluate.CLIPScore} {
		d := must(evaluate.Compare(plain, guided, score, 1))
		fmt.Printf("%s: %.3f and %.3f, difference %+.3f [%+.3f, %+.3f] of %d pairs\n",
			score, plain.Mean(score), guided.Mean(score), d.Mean, d.Low, d.High, d.N)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		log.Fatal(err)
	}
	return v
}
