package shapes

import (
	"context"
	"fmt"
	"image"
	"iter"
	"math/rand/v2"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// A World is an endless supply of drawn pictures with captions, which are made when they are asked
// for. Sample i is a pure function of i and the fields but N. A World is a dataset.Dataset of N
// samples.
type World struct {
	Seed uint64
	N    int // the number of samples in All
	// Claims are what captions are drawn from, evenly. Nil stands for a mix of the paper's
	// categories, of which a combination is drawn half of the time.
	Claims []dataset.Claim
	Wrong  Wrong // how often captions are wrong
}

// A Wrong holds a probability for each attribute that a caption claims: that of saying another
// value than the picture shows. A picture's caption is wrong for good: it does not change from
// epoch to epoch.
type Wrong struct{ Count, Colour, Background float64 }

// All yields the samples 0 to N−1.
func (w World) All(ctx context.Context) iter.Seq2[dataset.Sample, error] {
	return func(yield func(dataset.Sample, error) bool) {
		for i := range w.N {
			s, err := dataset.Sample{}, ctx.Err()
			if err == nil {
				s, err = w.Sample(uint64(i))
			}
			if !yield(s, err) || err != nil {
				return
			}
		}
	}
}

// Sample returns sample i: a picture, and a caption that is wrong as often as w.Wrong says.
func (w World) Sample(i uint64) (dataset.Sample, error) {
	scene, claim, err := w.Scene(i)
	if err != nil {
		return dataset.Sample{}, err
	}
	prompt, err := grammar.Render(w.corrupt(claim, i))
	if err != nil {
		return dataset.Sample{}, err
	}
	return dataset.Sample{
		ID:     fmt.Sprintf("drawn-%d-%d", w.Seed, i),
		Prompt: prompt,
		Image:  Draw(scene),
		Source: dataset.Source{Model: "shapes", Seed: w.Seed, Index: i},
	}, nil
}

// Scene returns the scene of sample i, and the claim, true of it, that its caption is made from.
func (w World) Scene(i uint64) (Scene, dataset.Claim, error) {
	r := rng.New(w.Seed, "shapes scene", 0, i)
	claims := w.Claims
	if claims == nil {
		claims = mix[r.IntN(len(mix))]
	}
	if len(claims) == 0 {
		return Scene{}, dataset.Claim{}, fmt.Errorf("shapes: the world has no claims")
	}
	claim := claims[r.IntN(len(claims))]
	scene, err := Compose(claim, r)
	return scene, claim, err
}

// Illustrate is the dataset of a drawn picture of each prompt. The stream names what the pictures
// are for. Picture i is a pure function of prompt i, stream, seed and i. A prompt that is not of
// Grammar is a *dataset.PromptError.
func Illustrate(prompts []string, stream string, seed uint64) dataset.Dataset {
	return dataset.Func(func(ctx context.Context) iter.Seq2[dataset.Sample, error] {
		return func(yield func(dataset.Sample, error) bool) {
			for i, prompt := range prompts {
				from := dataset.Source{Model: "shapes", Seed: seed, Index: uint64(i)}
				s := dataset.Sample{Prompt: prompt, Source: from}
				err := ctx.Err()
				if err == nil {
					s.Image, err = illustration(prompt, rng.New(seed, stream, 0, uint64(i)))
				}
				if !yield(s, err) || err != nil {
					return
				}
			}
		}
	})
}

func illustration(prompt string, r *rand.Rand) (image.Image, error) {
	claim, err := grammar.Parse(prompt)
	if err != nil {
		return nil, err
	}
	scene, err := Compose(claim, r)
	if err != nil {
		return nil, err
	}
	return Draw(scene), nil
}

// mix has the claims of a category once for each of its chances to be drawn. Half of the captions
// claim everything, because these teach the most.
var mix = func() (lists [][]dataset.Claim) {
	for _, c := range dataset.Categories() {
		lists = append(lists, grammar.Claims(c))
	}
	all := grammar.Claims(dataset.Combination)
	return append(lists, all, all)
}()

// corrupt returns a claim with what caption i gets wrong of it.
func (w World) corrupt(c dataset.Claim, i uint64) dataset.Claim {
	r := rng.New(w.Seed, "shapes caption", 0, i)
	wrongCount := r.Float64() < w.Wrong.Count
	wrongColour := r.Float64() < w.Wrong.Colour
	wrongBackground := r.Float64() < w.Wrong.Background
	count := 1 + r.IntN(len(grammar.Counts)-1)
	colour := r.IntN(len(colours) - 1)
	background := r.IntN(len(backgrounds) - 1)
	if c.Count != 0 && wrongCount {
		c.Count = 1 + (c.Count-1+count)%len(grammar.Counts)
	}
	if c.Colour != "" && wrongColour {
		c.Colour = other(grammar.Colours, c.Colour, colour)
	}
	if c.Background != "" && wrongBackground {
		c.Background = other(grammar.Backgrounds, c.Background, background)
	}
	return c
}

// other returns the i-th, from 0, of words without word.
func other(words []string, word string, i int) string {
	for _, w := range words {
		if w == word {
			continue
		}
		if i == 0 {
			return w
		}
		i--
	}
	panic("shapes: index out of range")
}
