package measure_test

import (
	"fmt"
	"log"

	"github.com/kudos-ml/kudos/reward/measure"
)

// 60 of 100 pictures are good: how good is the model?
func ExampleNewRate() {
	r := measure.NewRate(60, 100)
	fmt.Printf("%.0f %% (%.0f to %.0f)\n", 100*r.Rate, 100*r.Low, 100*r.High)
	// Output: 60 % (50 to 69)
}

// Two models were asked the same prompts from the same noise, two pictures a prompt.
func ExamplePaired() {
	prompts := []string{
		"a dog", "a dog", "a cat", "a cat", "two dogs", "two dogs", "two cats", "two cats",
	}
	base := measure.Bools([]bool{false, true, false, false, true, false, false, false})
	tuned := measure.Bools([]bool{true, true, true, true, true, false, true, false})
	d, err := measure.Paired(base, tuned, prompts, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%+.0f points (%+.0f to %+.0f), better: %t\n", 100*d.Mean, 100*d.Low, 100*d.High,
		d.Above(0))
	// Output: +50 points (+12 to +88), better: true
}

// How well do scores tell good pictures from bad ones? AUC needs no threshold, accuracy does.
func ExampleAUC() {
	scores := []float64{0.9, 0.8, 0.7, 0.6}
	good := []bool{true, false, true, false}
	auc, err := measure.AUC(scores, good)
	if err != nil {
		log.Fatal(err)
	}
	accuracy, err := measure.Accuracy(scores, good, 0.75)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(auc, accuracy)
	// Output: 0.75 0.5
}

// Two sets of features that differ by a step of 3 along one axis are 9 apart.
func ExampleFrechetFeatures() {
	a := [][]float64{{0, 0}, {1, 0}, {0, 1}, {1, 1}}
	b := [][]float64{{3, 0}, {4, 0}, {3, 1}, {4, 1}}
	d, err := measure.FrechetFeatures(a, b)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.3f\n", d)
	// Output: 9.000
}

// Three raters judge four pictures, 1 for good and 0 for bad, and one has not judged the last.
func ExampleKrippendorffAlpha() {
	ratings := [][]int{{1, 1, 1}, {0, 0, 0}, {1, 1, 0}, {0, 0, -1}}
	agreement, err := measure.Agreement(ratings)
	if err != nil {
		log.Fatal(err)
	}
	alpha, err := measure.KrippendorffAlpha(ratings)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%.2f of the pairs agree, alpha is %.2f\n", agreement, alpha)
	// Output: 0.80 of the pairs agree, alpha is 0.67
}
