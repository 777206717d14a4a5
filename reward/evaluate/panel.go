package evaluate

import (
	"context"
	"errors"
	"fmt"

	"gonum.org/v1/gonum/stat"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/diffusion/pipeline"
	"github.com/kudos-ml/kudos/reward"
)

// Diversity is what a Panel calls the mean of Arm.Diversity.
const Diversity = "diversity"

// A Panel judges the pictures that a model makes of the same prompts, from the same noise, again
// and again while its network is being tuned. Its Judge is what a finetune.Guard asks.
//
// It needs the memory of making pictures beside that of training. Request.Conditions does without
// the text encoder's (Pipeline.SettlePrompts).
type Panel struct {
	Model   *pipeline.Pipeline // its network is the one that is tuned
	Request pipeline.Request   // two pictures of a prompt or more, for Diversity
	// Judges score the pictures: each gives a metric of its name, the mean of the scores.
	Judges map[string]reward.Model
	// CLIP gives CLIPScore and, of prompts that have two pictures, Diversity. Nil: there are none.
	CLIP reward.Encoder
}

// Judge makes the pictures and returns the metrics. The number of steps is not used: all pictures
// of a request are the network's as it is now.
func (p *Panel) Judge(ctx context.Context, _ int) (map[string]float64, error) {
	pictures, err := dataset.Collect(ctx, p.Model.Generate(p.Request))
	if err != nil {
		return nil, err
	}
	if len(pictures) == 0 {
		return nil, errors.New("evaluate: the Panel has no prompts to make pictures of")
	}
	metrics := map[string]float64{}
	for name, judge := range p.Judges {
		scores, err := reward.Batched(judge, 8).Score(ctx, pictures)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		metrics[name] = stat.Mean(scores, nil)
	}
	if p.CLIP == nil {
		return metrics, nil
	}
	arm, err := (&Scorer{CLIP: p.CLIP}).Score(ctx, p.Model.Name, dataset.FromSlice(pictures))
	if err != nil {
		return nil, err
	}
	metrics[CLIPScore] = arm.Mean(CLIPScore)
	apart, err := arm.Diversity()
	if len(apart) > 0 {
		metrics[Diversity] = stat.Mean(apart, nil)
	}
	return metrics, err
}
