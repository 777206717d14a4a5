package split

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// of makes prompts and what they have of a word of g (good), b (bad), m (both).
func of(word string) (prompts []string, k Kinds) {
	k = Kinds{}
	for i, letter := range word {
		p := fmt.Sprint(i)
		prompts = append(prompts, p)
		if letter != 'b' {
			k.Add(p, true)
		}
		if letter != 'g' {
			k.Add(p, false)
		}
	}
	return prompts, k
}

func TestHoldOut(t *testing.T) {
	for _, c := range []struct {
		word    string
		n, keep int
		held    []string
	}{
		{"mmmmm", 2, 2, []string{"0", "1"}}, // nothing to do
		{"gmgmgm", 1, 2, []string{"1"}},     // the first that has both
		{"gggbbb", 1, 2, []string{"0", "3"}},
		{"ggggbbb", 3, 2, []string{"0", "4", "1"}}, // another bad one would leave one
		{"bbbggg", 2, 2, []string{"3", "0"}},
		{"mmmm", 2, 2, []string{"0", "1"}},
		{"mgggg", 2, 1, []string{"1", "2"}}, // the one bad prompt stays
		{"gggggg", 2, 2, []string{"0", "1"}},
	} {
		prompts, k := of(c.word)
		assert.Equal(t, c.held, k.HoldOut(prompts, c.n, c.keep), "%+v", c)
	}
	prompts, _ := of("gbm")
	assert.Equal(t, []string{"0"}, Kinds{}.HoldOut(prompts, 1, 2), "prompts without labels")
}

// What HoldOut promises holds for whatever there is.
func TestHoldOutAlways(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 20_000 {
		word := make([]byte, 1+r.IntN(12))
		for i := range word {
			word[i] = "gbm"[r.IntN(3)]
		}
		prompts, k := of(string(word))
		keep := 1 + r.IntN(2)
		n := r.IntN(len(word) + 1)
		before := slices.Clone(prompts)
		held := k.HoldOut(prompts, n, keep)
		assert.Equal(t, before, prompts)
		all, out := k.Count(prompts), k.Count(held)
		for kind := range all {
			if all[kind] > keep {
				assert.Positive(t, out[kind], "%s: %d held out, %d kept: %v", word, n, keep, held)
			}
			assert.GreaterOrEqual(t, all[kind]-out[kind], min(keep, all[kind]), "%s %v", word, held)
		}
		distinct := slices.Compact(slices.Sorted(slices.Values(held)))
		assert.Len(t, distinct, len(held))
		assert.LessOrEqual(t, len(held), max(n, 2))
		if t.Failed() {
			return
		}
	}
}

func TestDeal(t *testing.T) {
	prompts, k := of("mgbgbmgggb")
	in := map[string]int{
		"0": 0, "1": 1, "2": 2, "3": 3, "4": 4, "5": 0, "6": 1, "7": 2, "8": 3, "9": 4,
	}
	assert.Equal(t, in, k.Deal(prompts, 5), "in turn")
	// In turn, all but one of the bad ones would be in one fold.
	prompts, k = of("bggbggbgmg")
	want := map[string]int{ // good alone: 1 2 4 5 7 9; both: 8; bad alone: 0 3 6
		"1": 0, "2": 1, "4": 2, "5": 0, "7": 1, "9": 2, "8": 0, "0": 1, "3": 2, "6": 0,
	}
	assert.Equal(t, want, k.Deal(prompts, 3))
}
