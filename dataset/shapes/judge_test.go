package shapes

import (
	"testing"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/stretchr/testify/require"
)

// TestJudgeOnDrawnScenes measures the judge's accuracy where the truth is known.
func TestJudgeOnDrawnScenes(t *testing.T) {
	const n = 2000
	w := World{Seed: 7, Claims: grammar.Claims(dataset.Combination)}
	var count, colour, background, kind, all int
	for i := range uint64(n) {
		s, _, err := w.Scene(i)
		require.NoError(t, err)
		r, c := Judge(Draw(s)), s.Claim()
		if r.Count == c.Count {
			count++
		}
		if r.Colour == c.Colour {
			colour++
		}
		if r.Background == c.Background {
			background++
		}
		if r.Kind == c.Object {
			kind++
		} else {
			t.Log(c, r.Kind, r.Things[0].fits)
		}
		if r.Follows(c) {
			all++
		}
	}
	t.Logf("of %d drawn scenes: count %d, colour %d, background %d, kind %d, all %d right",
		n, count, colour, background, kind, all)
	for _, right := range []int{count, colour, background, kind, all} {
		require.GreaterOrEqual(t, right, n*99/100)
	}
}
