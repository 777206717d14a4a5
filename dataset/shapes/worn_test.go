package shapes

import (
	"fmt"
	"image"
	"math"
	"testing"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/stretchr/testify/require"
)

// A wear makes a picture worse, as an autoencoder, an unfinished sampler or a lossy file does.
type wear struct {
	name  string
	apply func(p *[Side * Side]rgb, i uint64)
	right float64 // the least share of pictures on which everything must be read right
}

func noise(sigma float64) func(*[Side * Side]rgb, uint64) {
	return func(p *[Side * Side]rgb, i uint64) {
		r := rng.New(5, "noise", 0, i)
		for k := range p {
			for c := range 3 {
				p[k][c] += float32(sigma * r.NormFloat64())
			}
		}
	}
}

// soft convolves with a Gaussian, twice in one dimension.
func soft(sigma float64) func(*[Side * Side]rgb, uint64) {
	var kernel []float32
	var sum float32
	reach := int(math.Ceil(3 * sigma))
	for d := -reach; d <= reach; d++ {
		v := float32(math.Exp(-float64(d*d) / (2 * sigma * sigma)))
		kernel, sum = append(kernel, v), sum+v
	}
	at := func(v int) int { return max(0, min(Side-1, v)) }
	return func(p *[Side * Side]rgb, _ uint64) {
		for _, across := range []bool{true, false} {
			q := *p
			for y := range Side {
				for x := range Side {
					var v rgb
					for j, w := range kernel {
						from := y*Side + at(x+j-reach)
						if !across {
							from = at(y+j-reach)*Side + x
						}
						for c := range 3 {
							v[c] += w / sum * q[from][c]
						}
					}
					p[y*Side+x] = v
				}
			}
		}
	}
}

// fade moves every colour towards grey.
func fade(share float32) func(*[Side * Side]rgb, uint64) {
	return func(p *[Side * Side]rgb, _ uint64) {
		for k := range p {
			for c := range 3 {
				p[k][c] += share * (128 - p[k][c])
			}
		}
	}
}

func both(a, b func(*[Side * Side]rgb, uint64)) func(*[Side * Side]rgb, uint64) {
	return func(p *[Side * Side]rgb, i uint64) { a(p, i); b(p, i) }
}

var wears = []wear{
	{"none", func(*[Side * Side]rgb, uint64) {}, 0.99},
	{"noise 10", noise(10), 0.99},
	{"noise 20", noise(20), 0.98},
	{"noise 40", noise(40), 0},
	{"blur 0.7", soft(0.7), 0.99},
	{"blur 1.0", soft(1.0), 0.98},
	{"blur 1.5", soft(1.5), 0.9},
	{"blur 2.0", soft(2.0), 0},
	{"blur 1.0, then noise 10", both(soft(1.0), noise(10)), 0.98},
	{"faded by 15 %", fade(0.15), 0.98},
	{"faded by 30 %", fade(0.30), 0},
}

// TestJudgeOnWornPictures shows, with -v, how the judge does on pictures that are not as drawn.
// Noise and blur are given by their standard deviations: in levels of 255, and in pixels.
func TestJudgeOnWornPictures(t *testing.T) {
	const n = 150
	world := World{Seed: 11, Claims: grammar.Claims(dataset.Combination)}
	table := fmt.Sprintf("\n%-24s count  colour  background  kind  all\n", "right, in %")
	for _, w := range wears {
		var right [5]int
		for i := range uint64(n) {
			s, _, err := world.Scene(i)
			require.NoError(t, err)
			r, c := Judge(worn(Draw(s), w, i)), s.Claim()
			for k, ok := range [...]bool{
				r.Count == c.Count,
				r.Colour == c.Colour,
				r.Background == c.Background,
				r.Kind == c.Object,
				r.Follows(c),
			} {
				if ok {
					right[k]++
				}
			}
		}
		percent := func(k int) float64 { return 100 * float64(right[k]) / n }
		table += fmt.Sprintf("%-24s %5.1f  %6.1f  %10.1f  %4.0f  %3.0f\n",
			w.name, percent(0), percent(1), percent(2), percent(3), percent(4))
		require.GreaterOrEqual(t, percent(4), 100*w.right, w.name)
	}
	t.Log(table)
}

func worn(img *image.RGBA, w wear, i uint64) *image.RGBA {
	p := pixels(img)
	w.apply(p, i)
	for k, c := range p {
		for j := range 3 {
			img.Pix[4*k+j] = uint8(max(0, min(255, c[j]+0.5)))
		}
	}
	return img
}
