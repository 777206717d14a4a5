package evaluate_test

import (
	"context"
	"fmt"
	"image"
	"log"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward"
	"github.com/kudos-ml/kudos/reward/evaluate"
)

// pictures are three of each of two prompts, which are the better the wider.
func pictures(widths ...int) dataset.Dataset {
	var samples []dataset.Sample
	for i, w := range widths {
		prompt := []string{"a dog", "two dogs"}[i/3]
		picture := image.NewGray(image.Rect(0, 0, w, 1))
		samples = append(samples, dataset.Sample{Prompt: prompt, Image: picture})
	}
	return dataset.FromSlice(samples)
}

var width = reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
	var scores []float64
	for _, s := range samples {
		scores = append(scores, float64(s.Image.Bounds().Dx())/10)
	}
	return scores, nil
})

// A tuned model is compared with its base, and with the best of two pictures of the base.
func Example() {
	ctx, scorer := context.Background(), &evaluate.Scorer{Reward: width}
	arm := func(name string, widths ...int) *evaluate.Arm {
		a, err := scorer.Score(ctx, name, pictures(widths...))
		if err != nil {
			log.Fatal(err)
		}
		return a
	}
	base := arm("base", 3, 4, 5, 1, 2, 2)
	tuned := arm("tuned", 5, 6, 7, 2, 3, 3)
	more := arm("more", 4, 2, 7, 2, 1, 5)
	best, _, err := evaluate.BestOf("best of 2", evaluate.Reward, base, more)
	if err != nil {
		log.Fatal(err)
	}
	for _, a := range []*evaluate.Arm{tuned, best} {
		gain, err := evaluate.Compare(base, a, evaluate.Reward, 1)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s − base: %+.2f (%+.2f to %+.2f)\n", a.Name, gain.Mean, gain.Low, gain.High)
	}
	// Output:
	// tuned − base: +0.15 (+0.10 to +0.20)
	// best of 2 − base: +0.12 (+0.10 to +0.13)
}
