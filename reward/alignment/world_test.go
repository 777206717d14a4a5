package alignment

import (
	"context"
	"fmt"
	"image"
	"image/color"
	"math"
	"math/rand/v2"
	"slices"
	"strings"

	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/internal/rng"
)

// The world of these tests: prompts are "COLOUR THING", a picture has a colour, and a label says
// whether it is the prompt's. CLIP's embeddings hold the colour in their first elements and a lot
// that has nothing to do with it in the others, so that their similarity says little and a head can
// learn what to look at.
var colours = strings.Fields("red green blue yellow white black")

const (
	embedding = 20
	loudness  = 0.35 // of the colour; the noise has 1 a dimension, before rows are normalized
)

// picture is one of a colour; its embedding's noise is number's.
func picture(colour string, number int) image.Image {
	img := image.NewRGBA(image.Rect(0, 0, 1, 1))
	img.SetRGBA(0, 0,
		color.RGBA{uint8(slices.Index(colours, colour)), uint8(number >> 8), uint8(number), 255})
	return img
}

// A fakeCLIP embeds this world.
type fakeCLIP struct {
	hash   string
	asked  *int  // how many texts were embedded
	width  int   // 0 is embedding
	broken error // what ImageFeatures says
}

func (c fakeCLIP) Hash() string { return c.hash }

func (c fakeCLIP) ImageFeatures(
	ctx context.Context, pictures []image.Image,
) (*tensor.Dense, error) {
	if c.broken != nil {
		return nil, c.broken
	}
	return c.features(len(pictures), func(i int) (int, string, uint64) {
		r, g, b, _ := pictures[i].At(0, 0).RGBA()
		return int(r >> 8), "picture", uint64(g>>8<<8 | b>>8)
	}), ctx.Err()
}

func (c fakeCLIP) TextFeatures(ctx context.Context, prompts []string) (*tensor.Dense, error) {
	if c.asked != nil {
		*c.asked += len(prompts)
	}
	return c.features(len(prompts), func(i int) (int, string, uint64) {
		colour, thing, _ := strings.Cut(prompts[i], " ")
		return slices.Index(colours, colour), "text " + thing, 0
	}), ctx.Err()
}

func (c fakeCLIP) features(
	n int, of func(i int) (colour int, stream string, number uint64),
) *tensor.Dense {
	width := c.width
	if width == 0 {
		width = embedding
	}
	d := tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(n, width))
	for i := range n {
		row := d.Float32s()[i*width : (i+1)*width]
		colour, stream, number := of(i)
		rng.Normal(row[len(colours):], 1, stream, 0, number)
		row[colour] = loudness * float32(math.Sqrt(embedding))
		length := 0.0
		for _, v := range row {
			length += float64(v) * float64(v)
		}
		for k := range row {
			row[k] /= float32(math.Sqrt(length))
		}
	}
	return d
}

// perturb changes a prompt's colour.
func perturb(prompt string, n int, r *rand.Rand) ([]string, error) {
	colour, thing, _ := strings.Cut(prompt, " ")
	var wrong []string
	for _, i := range r.Perm(len(colours)) {
		if colours[i] != colour && len(wrong) < n {
			wrong = append(wrong, colours[i]+" "+thing)
		}
	}
	if len(wrong) < n {
		return nil, fmt.Errorf("%q has no %d wrong prompts", prompt, n)
	}
	return wrong, nil
}

// labelled returns pictures for every colour of the things, half of them of another colour.
func labelled(perPrompt int, seed uint64, things ...string) []dataset.Sample {
	var out []dataset.Sample
	for _, thing := range things {
		for _, colour := range colours {
			for range perPrompt {
				r := rng.New(seed, "world", 0, uint64(len(out)))
				s := dataset.Sample{
					ID:     fmt.Sprint("id", len(out)),
					Prompt: colour + " " + thing,
					Label:  dataset.Good,
				}
				shown := colour
				if r.IntN(2) == 0 {
					for shown == colour {
						shown = colours[r.IntN(len(colours))]
					}
					s.Label = dataset.Bad
				}
				s.Image = picture(shown, r.IntN(1<<16))
				out = append(out, s)
			}
		}
	}
	return out
}

// training learns on this world, small and quick.
func training(samples []dataset.Sample) *Training {
	return &Training{
		CLIP: fakeCLIP{hash: "0123456789abcdef"}, Samples: dataset.FromSlice(samples),
		Perturb: perturb,
		Hidden:  32, Lambda: 0.5, Prompts: 4, Product: true, LR: 3e-3, Batch: 32, HeldOut: 0.15,
		Seed: 5,
	}
}

// judged has each sample of a training judged by one to three people, who do not all agree with its
// label. One of four samples is judged by nobody.
func judged(t *Training) {
	t.Samples = dataset.Map(t.Samples, func(_ context.Context, s dataset.Sample) (
		dataset.Sample, error,
	) {
		number := 0
		fmt.Sscanf(s.ID, "id%d", &number)
		s.Judgements = number % 4
		switch {
		case s.Judgements == 3 && s.Label == dataset.Good:
			s.Good = 2. / 3
		case s.Judgements == 3:
			s.Good = 1. / 3
		case s.Judgements > 0 && s.Label == dataset.Good:
			s.Good = 1
		}
		return s, nil
	})
}
