package alignment_test

import (
	"context"
	"errors"
	"fmt"
	"image"
	"image/color"
	"log"
	"math/rand/v2"
	"os"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward/alignment"
)

var colours = []string{"red", "green", "blue"}

// primary is a CLIP for three prompts and pictures of one colour: the feature of either is its
// colour.
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
		for k, v := range []uint32{r, g, b} {
			rows[3*i+k] = float32(v / 0xffff)
		}
	}
	return tensor.New(tensor.WithShape(len(pictures), 3), tensor.WithBacking(rows)), nil
}

var (
	red   = image.NewUniform(color.RGBA{R: 255, A: 255})
	green = image.NewUniform(color.RGBA{G: 255, A: 255})
	blue  = image.NewUniform(color.RGBA{B: 255, A: 255})
)

// labelled returns a good picture and two bad ones of each of 30 prompts.
func labelled() []dataset.Sample {
	var labels []dataset.Sample
	for i := range 90 {
		s := dataset.Sample{
			Prompt: fmt.Sprintf("%d %s dogs", i/9, colours[i%3]),
			Image:  []image.Image{red, green, blue}[i/3%3],
			Label:  dataset.Bad,
		}
		if i%3 == i/3%3 {
			s.Label = dataset.Good
		}
		labels = append(labels, s)
	}
	return labels
}

// otherColours returns prompts that are wrong in their colour.
func otherColours(prompt string, n int, _ *rand.Rand) ([]string, error) {
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
}

// A reward is learned from pictures that people called good or bad, and then scores others.
func ExampleTraining() {
	training := &alignment.Training{
		CLIP: primary{}, Samples: dataset.FromSlice(labelled()),
		Perturb: otherColours, Lambda: 0.5, Prompts: 3,
		Hidden: 32, LR: 0.01, HeldOut: 0.15,
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
		{Prompt: "a green dog", Image: green},
		{Prompt: "a green dog", Image: blue},
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

// A reward that is learned from all labels there are is compared with labels of other prompts, and
// saved for later.
func ExampleModel_Evaluate() {
	ctx := context.Background()
	training := &alignment.Training{
		CLIP: primary{}, Samples: dataset.FromSlice(labelled()),
		Product: true, Hidden: 16, LR: 0.01, Passes: 30, // HeldOut is 0: all are learned from
	}
	for _, err := range training.Epochs(ctx) {
		if err != nil {
			log.Fatal(err)
		}
	}
	others := dataset.FromSlice([]dataset.Sample{
		{Prompt: "a red cat", Image: red, Label: dataset.Good},
		{Prompt: "a red cat", Image: blue, Label: dataset.Bad},
		{Prompt: "a green cat", Image: green, Label: dataset.Good},
	})
	comparison, err := training.Model().Evaluate(ctx, others)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(comparison.N, "labels, accuracy", comparison.Accuracy.Accuracy)

	dir, err := os.MkdirTemp("", "reward")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := training.Model().Save(dir); err != nil {
		log.Fatal(err)
	}
	model, err := alignment.Load(dir, primary{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("the same after loading:", model.Hash() == training.Model().Hash())
	// Output:
	// 3 labels, accuracy 1
	// the same after loading: true
}

// A training is tried on all labels there are: each picture is scored by a reward that has not seen
// its prompt. Tried on fewer labels as well, it says whether more would help.
func ExampleKFold() {
	k := &alignment.KFold{
		Training: &alignment.Training{
			CLIP: primary{}, Samples: dataset.FromSlice(labelled()),
			Product: true, Hidden: 16, LR: 0.01, Passes: 30,
		},
		Folds: 3, Variants: alignment.Curve()[2:], // half of the labels
	}
	v, err := k.Run(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	p := v.Unseen.Pairwise
	fmt.Printf("%d pairs of a prompt: the good picture first in %.0f %%\n", p.N, 100*p.Value)
	more, _, _ := strings.Cut(v.More(), ":")
	fmt.Println(more)
	// Output:
	// 60 pairs of a prompt: the good picture first in 100 %
	// Whether more labels would help is not to be seen
}
