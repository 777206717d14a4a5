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

// A World is an endless supply of drawn pictures with captions, made as they are asked for: sample i is a pure
// function of (Seed, i). It implements dataset.Dataset.
type World struct {
	Seed   uint64
	N      int             // samples in All
	Claims []dataset.Claim // what captions are drawn from, evenly; nil: combinations half of the time, the other categories in the rest
	Wrong  Wrong           // how often captions are wrong
}

// Wrong holds the probability, for each attribute that a caption claims, that it says another value than the
// picture shows. A picture's caption is wrong for good: it does not change from epoch to epoch.
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

// Sample returns sample i: its picture, and a caption that is wrong as often as w says.
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

// Scene returns the scene of sample i and the true claim that its caption is made from.
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

// Illustrate is the dataset of a drawn picture of each prompt, which must be of Grammar. Picture i
// is a pure function of prompt i, seed, stream, which names what the pictures are for, and i.
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

// mix lists claims by category, as often as a category is drawn: half of the captions claim everything, because they
// teach the most.
var mix = func() (lists [][]dataset.Claim) {
	for _, c := range dataset.Categories() {
		lists = append(lists, grammar.Claims(c))
	}
	all := grammar.Claims(dataset.Combination)
	return append(lists, all, all)
}()

// corrupt replaces what caption i gets wrong.
func (w World) corrupt(c dataset.Claim, i uint64) dataset.Claim {
	r := rng.New(w.Seed, "shapes caption", 0, i)
	wrongCount, wrongColour, wrongBackground := r.Float64() < w.Wrong.Count, r.Float64() < w.Wrong.Colour, r.Float64() < w.Wrong.Background
	count, colour, background := 1+r.IntN(len(grammar.Counts)-1), r.IntN(len(colours)-1), r.IntN(len(backgrounds)-1)
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

// other returns the i-th word that is not word.
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
