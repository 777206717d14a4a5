package study_test

import (
	"fmt"

	"github.com/kudos-ml/kudos/reward/study"
)

// Of 60 pairs A won a tenth more than it lost, and the interval has 0 in it. With 3.6 times as many
// pairs, and the same difference, it would not.
func ExampleGroup_PairsToSettle() {
	all := study.Group{
		Name: study.AllPairs, Pairs: 60, Prompts: 60, Raters: 9,
		Difference: study.Share{Value: 0.10, Low: -0.09, High: 0.29},
	}
	fmt.Println(all.Better())
	fmt.Println(all.PairsToSettle())
	// Output:
	// 0
	// 217 true
}
