package reward_test

import (
	"context"
	"fmt"
	"log"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/reward"
)

// words is a reward of the user's own: it likes short prompts.
var words = reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
	scores := make([]float64, len(samples))
	for i, s := range samples {
		scores[i] = 1 / float64(len(strings.Fields(s.Prompt)))
	}
	return scores, nil
})

// Any function of samples is a Model; a dataset with its scores as rewards is what fine-tuning
// reads.
func ExampleScored() {
	samples := dataset.FromSlice([]dataset.Sample{
		{Prompt: "a dog"}, {Prompt: "two green dogs in the city"}, {Prompt: "a green dog"},
	})
	for s, err := range reward.Scored(samples, words, 2).All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%.2f %s\n", *s.Reward, s.Prompt)
	}
	// Output:
	// 0.50 a dog
	// 0.17 two green dogs in the city
	// 0.33 a green dog
}

// Of every two pictures of a prompt, the better one is kept.
func ExampleBestOf() {
	score := map[string]float64{"1": 0.2, "2": 0.9, "3": 0.6, "4": 0.5}
	byID := reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
		scores := make([]float64, len(samples))
		for i, s := range samples {
			scores[i] = score[s.ID]
		}
		return scores, nil
	})
	best, err := reward.BestOf(context.Background(), byID, []dataset.Sample{
		{ID: "1", Prompt: "a dog"}, {ID: "2", Prompt: "a dog"},
		{ID: "3", Prompt: "a cat"}, {ID: "4", Prompt: "a cat"},
	}, 2)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range best {
		fmt.Println(s.Prompt, s.ID, *s.Reward)
	}
	// Output:
	// a dog 2 0.9
	// a cat 3 0.6
}

// Two models make one, each with its weight.
func ExampleSum() {
	nothing := reward.Func(func(_ context.Context, samples []dataset.Sample) ([]float64, error) {
		return make([]float64, len(samples)), nil
	})
	m := reward.Sum(reward.Weighted{Model: words, Weight: 3},
		reward.Weighted{Model: nothing, Weight: 1})
	fmt.Println(m.Score(context.Background(), []dataset.Sample{{Prompt: "a dog"}}))
	// Output: [1.5] <nil>
}

// A Transform decides how much a reward counts in training.
func ExampleTransform() {
	samples := []dataset.Sample{{Reward: new(0.1)}, {Reward: new(0.5)}, {Reward: new(0.9)}}
	for _, c := range []struct {
		name      string
		transform reward.Transform
	}{
		{"raw", reward.Raw},
		{"min-max", reward.MinMax},
		{"standardize", reward.Standardize},
		{"threshold 0.5", reward.Threshold(0.5)},
		{"softmax 0.2", reward.Softmax(0.2)},
		{"shift -0.3", reward.Shift(-0.3)},
		{"constant 1", reward.Constant(1)},
	} {
		weights, err := c.transform(samples)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%-13s %.2f\n", c.name, weights)
	}
	// Output:
	// raw           [0.10 0.50 0.90]
	// min-max       [0.00 0.50 1.00]
	// standardize   [-1.22 0.00 1.22]
	// threshold 0.5 [0.00 1.00 1.00]
	// softmax 0.2   [0.05 0.35 2.60]
	// shift -0.3    [0.00 0.20 0.60]
	// constant 1    [1.00 1.00 1.00]
}

// Weights of a dataset are made of its rewards: here, by how much each picture is better than the
// others of its prompt.
func ExampleWeigh() {
	scored := dataset.FromSlice([]dataset.Sample{
		{Prompt: "a dog", Reward: new(0.9)}, {Prompt: "a dog", Reward: new(0.7)},
		{Prompt: "six dogs", Reward: new(0.1)}, {Prompt: "six dogs", Reward: new(0.3)},
	})
	advantages := reward.PerPrompt(reward.Standardize)
	for s, err := range reward.Weigh(scored, advantages).All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%+.0f %s\n", *s.Reward, s.Prompt)
	}
	// Output:
	// +1 a dog
	// -1 a dog
	// -1 six dogs
	// +1 six dogs
}

// Rewards decide between prompts of one kind, not between easy and hard ones.
func ExampleBalanced() {
	scored := dataset.FromSlice([]dataset.Sample{
		{Prompt: "a dog", Reward: new(0.9)}, {Prompt: "a cat", Reward: new(0.6)},
		{Prompt: "six dogs", Reward: new(0.2)}, {Prompt: "six cats", Reward: new(0.1)},
	})
	counted := func(s dataset.Sample) string { return strings.Fields(s.Prompt)[0] }
	weighed := reward.Weigh(scored, reward.Balanced(reward.Raw, counted))
	for s, err := range weighed.All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%.2f %s\n", *s.Reward, s.Prompt)
	}
	// Output:
	// 0.54 a dog
	// 0.36 a cat
	// 0.60 six dogs
	// 0.30 six cats
}
