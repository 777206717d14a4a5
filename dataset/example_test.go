package dataset_test

import (
	"context"
	"fmt"
	"image"
	"log"
	"math/rand/v2"
	"os"
	"strings"

	"github.com/kudos-ml/kudos/dataset"
)

var grammar = dataset.Grammar{
	Objects:     []dataset.Object{{Name: "dog", Plural: "dogs"}, {Name: "wolf", Plural: "wolves"}},
	Counts:      []string{"one", "two"},
	Colours:     []string{"green", "red"},
	Backgrounds: []string{"in the city", "in the forest"},
	Colored:     "colored",
}

// Prompts are data: what they claim can be read from them, and they can be made of claims.
func ExampleGrammar() {
	claim, err := grammar.Parse("two green dogs in the city")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(claim.Count, claim.Colour, claim.Object, claim.Background)
	fmt.Println(claim.Category())
	prompt, err := grammar.Render(dataset.Claim{Object: "wolf", Colour: "red"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(prompt)
	_, err = grammar.Parse("two green cats")
	fmt.Println(err)
	// Output:
	// 2 green dog in the city
	// combination
	// a red colored wolf
	// dataset: prompt "two green cats" is not in the grammar: "cats" is no object of it
}

// Wrong prompts for a picture, as the reward of Lee et al. 2023 learns to tell from the right one.
func ExampleGrammar_Perturb() {
	wrong, err := grammar.Perturb("two green dogs in the city", 4, rand.New(rand.NewPCG(1, 0)))
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(strings.Join(wrong, "\n"))
	// Output:
	// two green dogs in the forest
	// two red dogs in the city
	// two green wolves in the city
	// one green dog in the city
}

// A source of samples is a function that yields them; a dataset stays what it is, however often it
// is ranged over.
func ExampleDataset() {
	labels := dataset.FromSlice([]dataset.Sample{
		{Prompt: "a dog", Label: dataset.Good},
		{Prompt: "two dogs", Label: dataset.Bad},
		{Prompt: "a wolf", Label: dataset.Good},
	})
	good := dataset.Filter(labels, func(s dataset.Sample) bool { return s.Label == dataset.Good })
	for sample, err := range good.All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(sample.Prompt)
	}
	// Output:
	// a dog
	// a wolf
}

// The format of label files, both ways. A field that is misspelt is an error, not a label that is
// missing.
func ExampleRead() {
	file := strings.NewReader(`{"id":"7","prompt":"a dog","label":"good","source":{"rater":"anna"}}
{"prompt":"a wolf","label":"bd"}
`)
	for sample, err := range dataset.Read(file, "labels.jsonl") {
		if err != nil {
			fmt.Println(err)
			break
		}
		fmt.Println(sample.ID, sample.Label, sample.Source.Rater)
	}
	wolf := dataset.Sample{Prompt: "a wolf", Label: dataset.Bad}
	if err := dataset.Encode(os.Stdout, wolf); err != nil {
		log.Fatal(err)
	}
	// Output:
	// 7 good anna
	// dataset: labels.jsonl:2: label "bd" is none of good (1, true), bad (0, false) and skip
	// {"prompt":"a wolf","label":"bad"}
}

// Whatever yields samples with pictures becomes a folder of them, which Folder reads again.
func ExampleWriteFolder() {
	dir, err := os.MkdirTemp("", "")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	pictures := dataset.FromSlice([]dataset.Sample{
		{Prompt: "a dog", Image: image.NewGray(image.Rect(0, 0, 8, 8))},
		{Prompt: "two dogs", Image: image.NewGray(image.Rect(0, 0, 16, 8))},
	})
	n, err := dataset.WriteFolder(context.Background(), dir, pictures)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(n, "pictures")
	for s, err := range (dataset.Folder{Path: dir, Images: true}).All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(s.File, s.Prompt, s.Image.Bounds().Size())
	}
	// Output:
	// 2 pictures
	// samples/00000.png a dog (8,8)
	// samples/00001.png two dogs (16,8)
}

// What is learned from some prompts is tested on others.
func ExampleSplitPrompts() {
	labels := []dataset.Sample{
		{Prompt: "a dog", Label: dataset.Good},
		{Prompt: "a wolf", Label: dataset.Bad},
		{Prompt: "a dog", Label: dataset.Bad},
		{Prompt: "two dogs", Label: dataset.Good},
		{Prompt: "a wolf", Label: dataset.Good},
		{Prompt: "two dogs", Label: dataset.Bad},
	}
	rest, heldOut, err := dataset.SplitPrompts(labels, 0.4, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("learn from %q, test on %q\n", dataset.Prompts(rest), dataset.Prompts(heldOut))
	// Output:
	// learn from ["a wolf" "two dogs"], test on ["a dog"]
}
