package shapes_test

import (
	"context"
	"fmt"
	"log"
	"math/rand/v2"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
)

// A prompt becomes a picture, and the judge says, from the pixels alone, what is in it.
func ExampleJudge() {
	claim, err := shapes.Grammar().Parse("three green hearts on the beach")
	if err != nil {
		log.Fatal(err)
	}
	scene, err := shapes.Compose(claim, rand.New(rand.NewPCG(1, 0)))
	if err != nil {
		log.Fatal(err)
	}
	seen := shapes.Judge(shapes.Draw(scene))
	fmt.Println(seen.Count, seen.Colour, seen.Kind, seen.Background)
	fmt.Println(seen.Follows(claim), seen.Follows(dataset.Claim{Object: "heart", Count: 2}))
	// Output:
	// 3 green heart on the beach
	// true false
}

// A world whose captions lie about the count half of the time, and a rater that never errs.
func ExampleRater() {
	world := shapes.World{
		Seed:   1,
		N:      4,
		Claims: shapes.Grammar().Claims(dataset.Count),
		Wrong:  shapes.Wrong{Count: 0.5},
	}
	for sample, err := range world.All(context.Background()) {
		if err != nil {
			log.Fatal(err)
		}
		label, err := shapes.Rater{}.Label(sample)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Printf("%s: %s\n", sample.Prompt, label)
	}
	// Output:
	// two circles: good
	// three crescents: bad
	// six diamonds: good
	// four crosses: good
}
