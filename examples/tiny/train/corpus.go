package main

import (
	"image"
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/kudos-ml/kudos/dataset"
	"github.com/kudos-ml/kudos/dataset/shapes"
	"github.com/kudos-ml/kudos/examples/tiny"
	"github.com/kudos-ml/kudos/internal/rng"
)

const side = shapes.Side

// A drawing is one drawn scene, with what is said of it.
type drawing struct {
	truth  dataset.Claim // all that is true of the scene; CLIP learns from it
	right  string        // the caption that the UNet is told first, without errors
	wrong  string        // the caption that it is told then, with its errors
	pixels []uint8       // [64,64,3]
}

// corpus draws n scenes. Each is a pure function of seed and its number.
func corpus(seed uint64, n int) ([]drawing, error) {
	drawings := make([]drawing, n)
	errs := make([]error, runtime.GOMAXPROCS(0))
	world := shapes.World{Seed: seed, N: n, Wrong: tiny.Wrong()}
	var wg sync.WaitGroup
	for worker := range errs {
		wg.Go(func() {
			for i := worker; i < n && errs[worker] == nil; i += len(errs) {
				drawings[i], errs[worker] = draw(world, uint64(i))
			}
		})
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return drawings, nil
}

func draw(world shapes.World, i uint64) (drawing, error) {
	sample, err := world.Sample(i)
	if err != nil {
		return drawing{}, err
	}
	scene, claim, err := world.Scene(i)
	if err != nil {
		return drawing{}, err
	}
	right, err := shapes.Grammar().Render(claim)
	if err != nil {
		return drawing{}, err
	}
	img := sample.Image.(*image.RGBA)
	pixels := make([]uint8, 0, side*side*3)
	for p := 0; p < len(img.Pix); p += 4 {
		pixels = append(pixels, img.Pix[p], img.Pix[p+1], img.Pix[p+2])
	}
	return drawing{truth: scene.Claim(), right: right, wrong: sample.Prompt, pixels: pixels}, nil
}

// describe renders a true claim. Each attribute is left out with the probability leave, so that
// CLIP learns each by itself. The count may be left out only where "a circle" is still true.
func describe(c dataset.Claim, leave float64, r *rand.Rand) (string, error) {
	if r.Float64() < leave && c.Count == 1 {
		c.Count = 0
	}
	if r.Float64() < leave {
		c.Colour = ""
	}
	if r.Float64() < leave {
		c.Background = ""
	}
	return shapes.Grammar().Render(c)
}

// prompts returns every caption that the grammar can make.
func prompts() ([]string, error) {
	var all []string
	for _, category := range dataset.Categories() {
		for _, claim := range shapes.Grammar().Claims(category) {
			text, err := shapes.Grammar().Render(claim)
			if err != nil {
				return nil, err
			}
			all = append(all, text)
		}
	}
	return all, nil
}

// order returns the n indices below size of one step. Over the steps every index comes once before
// any comes again.
func order(seed uint64, stream string, step, n, size int) []int {
	out := make([]int, n)
	epoch, perm := -1, []int(nil)
	for i := range out {
		at := step*n + i
		if e := at / size; e != epoch {
			epoch, perm = e, rng.New(seed, stream, uint64(e), 0).Perm(size)
		}
		out[i] = perm[at%size]
	}
	return out
}
