package measure_test

import (
	"fmt"
	"log"
	"math"

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

// Scores are probabilities if of those near 0.7 seven of ten are good. Here they are too sure, and
// a temperature for their logits mends that.
func ExampleTemperature() {
	var logits []float64
	var good []bool
	for i := range 100 { // of logits 3 and −3, four of five have the sign of their label
		z := 3.0
		if i%2 == 1 {
			z = -3
		}
		logits, good = append(logits, z), append(good, (z > 0) == (i%10 < 8))
	}
	scores := func(temperature float64) (scores []float64) {
		for _, z := range logits {
			scores = append(scores, 1/(1+math.Exp(-z/temperature)))
		}
		return scores
	}
	temperature, err := measure.Temperature(logits, good)
	if err != nil {
		log.Fatal(err)
	}
	before, err := measure.NewReliability(scores(1), good, 10)
	if err != nil {
		log.Fatal(err)
	}
	after, err := measure.NewReliability(scores(temperature), good, 10)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("temperature %.1f, error %.2f, then %.2f\n", temperature, before.ECE, after.ECE)
	// Output: temperature 2.3, error 0.15, then 0.01
}

// Of two pictures of a prompt, how often has the good one the higher score?
func ExamplePairs() {
	outcomes, prompts, err := measure.Pairs(
		[]float64{0.9, 0.4, 0.3, 0.2, 0.6},
		[]bool{true, true, false, true, false},
		[]string{"a dog", "a dog", "a dog", "a cat", "a cat"})
	if err != nil {
		log.Fatal(err)
	}
	mean, err := measure.Mean(outcomes, prompts, 1)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(outcomes, prompts)
	fmt.Printf("%.2f of %d pairs\n", mean.Value, mean.N)
	// Output:
	// [1 1 0] [a dog a dog a cat]
	// 0.67 of 3 pairs
}
