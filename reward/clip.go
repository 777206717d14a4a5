package reward

import (
	"context"
	"fmt"
	"image"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/measure"
)

// An Encoder gives pictures and prompts features [N,D] in one space, one row each. A row does not
// depend on the others of its batch. *clip.Encoder and *clip.Cache are Encoders.
type Encoder interface {
	ImageFeatures(ctx context.Context, pictures []image.Image) (*tensor.Dense, error)
	TextFeatures(ctx context.Context, prompts []string) (*tensor.Dense, error)
}

// CLIP is the model of CLIP's similarity: the cosine, −1 to 1, of an encoder's features of a
// sample's picture and of its prompt. It is what one has without labels; times 100 it is the CLIP
// score (Hessel et al. 2021, with weight 100 and not cut off at 0).
func CLIP(e Encoder) Model {
	return Func(func(ctx context.Context, samples []dataset.Sample) ([]float64, error) {
		if len(samples) == 0 {
			return nil, nil
		}
		pictures := make([]image.Image, len(samples))
		var prompts []string
		at := map[string]int{}
		for i, s := range samples {
			if pictures[i] = s.Image; s.Image == nil {
				return nil, fmt.Errorf("reward: CLIP's similarity: %s has no picture", name(s))
			}
			if _, ok := at[s.Prompt]; !ok {
				at[s.Prompt], prompts = len(prompts), append(prompts, s.Prompt)
			}
		}
		images, err := rows(e.ImageFeatures(ctx, pictures))
		if err != nil {
			return nil, err
		}
		texts, err := rows(e.TextFeatures(ctx, prompts))
		if err != nil {
			return nil, err
		}
		if len(images) != len(samples) || len(texts) != len(prompts) {
			return nil, fmt.Errorf("reward: CLIP's similarity: %T gave features of %d pictures "+
				"and %d prompts for %d and %d",
				e, len(images), len(texts), len(samples), len(prompts))
		}
		scores := make([]float64, len(samples))
		for i, s := range samples {
			if scores[i], err = measure.Cosine(images[i], texts[at[s.Prompt]]); err != nil {
				return nil, fmt.Errorf("reward: CLIP's similarity of %s: %w", name(s), err)
			}
		}
		return scores, nil
	})
}

// rows are the rows of features [N,D].
func rows(features *tensor.Dense, err error) ([][]float64, error) {
	if err != nil {
		return nil, fmt.Errorf("reward: CLIP's similarity: %w", err)
	}
	if features.Dims() != 2 || features.Dtype() != tensor.Float32 {
		return nil, fmt.Errorf("reward: CLIP's similarity: features are %v %v, not float32 [N,D]",
			features.Dtype(), features.Shape())
	}
	return measure.Rows(features.Float32s(), features.Shape()[1])
}
