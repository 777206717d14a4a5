package study

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// Each rater sees half of the pairs the other way round, whatever another rater sees.
func TestSides(t *testing.T) {
	raters := []string{"anna", "ben", "cleo"}
	const n = 400
	swaps, alike := make([]int, len(raters)), make([]int, len(raters))
	for i := range n {
		id := fmt.Sprintf("PAIR%022d", i)
		for r, rater := range raters {
			if swapped(id, rater) {
				swaps[r]++
			}
			if swapped(id, rater) == swapped(id, raters[(r+1)%len(raters)]) {
				alike[r]++
			}
		}
	}
	for r := range raters {
		assert.InDelta(t, n/2, swaps[r], 50) // five standard deviations
		assert.InDelta(t, n/2, alike[r], 50)
	}
}
