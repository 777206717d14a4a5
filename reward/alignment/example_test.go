package alignment_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"log"
	"math/rand/v2"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/alignment"
)

var colours = []string{"red", "green", "blue"}

// primary is a CLIP for three prompts and pictures of one colour: the feature of either is its colour.
type primary struct{}

func (primary) Hash() string { return "primary" }

func (primary) TextFeatures(_ context.Context, prompts []string) (*tensor.Dense, error) {
	rows := make([]float32, 3*len(prompts))
	for i, p := range prompts {
		for k, c := range colours {
			if strings.Contains(p, c) {
				rows[3*i+k] = 1
			}
		}
	}
	return tensor.New(tensor.WithShape(len(prompts), 3), tensor.WithBacking(rows)), nil
}

func (primary) ImageFeatures(_ context.Context, pictures []image.Image) (*tensor.Dense, error) {
	rows := make([]float32, 3*len(pictures))
	for i, p := range pictures {
		r, g, b, _ := p.At(0, 0).RGBA()
		rows[3*i], rows[3*i+1], rows[3*i+2] = float32(r/0xffff), float32(g/0xffff), float32(b/0xffff)
	}
	return tensor.New(tensor.WithShape(len(pictures), 3), tensor.WithBacking(rows)), nil
}

// A reward is learned from pictures that people called good or bad, and then scores others.
func ExampleTraining() {
	paint := []image.Image{
		image.NewUniform(color.RGBA{R: 255, A: 255}), image.NewUniform(color.RGBA{G: 255, A: 255}), image.NewUniform(color.RGBA{B: 255, A: 255}),
	}
	var labels []dataset.Sample
	for i := range 90 {
		s := dataset.Sample{Prompt: fmt.Sprintf("%d %s dogs", i/9, colours[i%3]), Image: paint[i/3%3], Label: dataset.Bad}
		if i%3 == i/3%3 {
			s.Label = dataset.Good
		}
		labels = append(labels, s)
	}
	training := &alignment.Training{
		CLIP: primary{}, Samples: dataset.FromSlice(labels), Lambda: 0.5, Prompts: 3, Hidden: 32, LR: 0.01,
		HeldOut: 0.15,
		Perturb: func(prompt string, n int, _ *rand.Rand) ([]string, error) {
			var wrong []string
			for _, c := range colours {
				for _, right := range colours {
					if strings.Contains(prompt, right) && c != right {
						wrong = append(wrong, strings.Replace(prompt, right, c, 1))
					}
				}
			}
			if len(wrong) < n {
				return nil, errors.New("there are no more colours")
			}
			return wrong[:n], nil
		},
	}
	for epoch, err := range training.Epochs(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		if epoch.Best && epoch.HeldOut.Accuracy == 1 {
			break // Model has the best weights so far
		}
	}
	scores, err := training.Model().Score(context.Background(), []dataset.Sample{
		{Prompt: "a green dog", Image: paint[1]}, {Prompt: "a green dog", Image: paint[2]},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("green is good:", scores[0] > 0.5)
	fmt.Println("blue is good:", scores[1] > 0.5)
	// Output:
	// green is good: true
	// blue is good: false
}
