package shapes

import (
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
)

// A Scene is everything that is drawn: things of one kind and one colour on a background. Kind, Colour and
// Background are words of Grammar (Kind a singular).
type Scene struct {
	Kind, Colour, Background string
	Things                   []Thing
	Texture                  [4]float64 // where the background's pattern starts, 0 to 1 each
	Shade                    float64    // the things' brightness, around 1
}

// A Thing is where one of a scene's things is, in pixels; y points down. Angle is in radians.
type Thing struct{ X, Y, Radius, Angle float64 }

// Claim returns everything there is to say of the scene.
func (s Scene) Claim() dataset.Claim {
	return dataset.Claim{Object: s.Kind, Count: len(s.Things), Colour: s.Colour, Background: s.Background}
}

// Compose draws a scene that a claim is true of. What the claim leaves open is drawn evenly, except the count,
// which is then 1: "a circle".
func Compose(c dataset.Claim, r *rand.Rand) (Scene, error) {
	if _, err := grammar.Render(c); err != nil {
		return Scene{}, fmt.Errorf("shapes: %w", err)
	}
	colour, background := grammar.Colours[r.IntN(len(colours))], grammar.Backgrounds[r.IntN(len(backgrounds))]
	if c.Colour != "" {
		colour = c.Colour
	}
	if c.Background != "" {
		background = c.Background
	}
	s := Scene{Kind: c.Object, Colour: colour, Background: background, Shade: 0.96 + 0.08*r.Float64()}
	for i := range s.Texture {
		s.Texture[i] = r.Float64()
	}
	s.Things = arrange(max(1, c.Count), r)
	return s, nil
}

// How things are arranged. The gap keeps them apart after a lossy autoencoder, the tilt keeps squares from being diamonds.
const (
	gap      = 2.5  // least distance of centres, in radii
	margin   = 1.15 // least distance of a centre from the picture's edge, in radii
	tilt     = 0.14 // largest angle, in radians
	variance = 0.05 // largest relative change of the radius
)

// radii are those of each of n things, in sides of the picture: as large as leaves them room, because a kind is told, and learned, by
// its outline.
var radii = [...]float64{1: 0.28, 2: 0.20, 3: 0.165, 4: 0.145, 5: 0.125, 6: 0.115}

// arrange throws n things until none is too close to another, and starts anew when it gets stuck.
func arrange(n int, r *rand.Rand) []Thing {
	size := Side * radii[n] * (1 + variance*(2*r.Float64()-1))
	var things []Thing
	for tries := 0; len(things) < n; tries++ {
		if tries == 60 {
			things, tries = things[:0], 0
		}
		room := Side - 2*margin*size
		t := Thing{margin*size + room*r.Float64(), margin*size + room*r.Float64(), size, tilt * (2*r.Float64() - 1)}
		near := func(o Thing) bool { return math.Hypot(o.X-t.X, o.Y-t.Y) < gap*size }
		if !slices.ContainsFunc(things, near) {
			things = append(things, t)
		}
	}
	return things
}

// Draw returns the scene's picture, Side×Side and opaque. It panics if a word is not Grammar's.
func Draw(s Scene) *image.RGBA {
	kind := slices.IndexFunc(grammar.Objects, func(o dataset.Object) bool { return o.Name == s.Kind })
	colour := colours[slices.Index(grammar.Colours, s.Colour)]
	background := slices.Index(grammar.Backgrounds, s.Background)

	var mask [Side * Side]float32
	for _, t := range s.Things {
		cover(mask[:], place(outlines[kind], t.X, t.Y, t.Radius, t.Angle), 4)
	}
	img := image.NewRGBA(image.Rect(0, 0, Side, Side))
	for y := range Side {
		light := float32(s.Shade) // a little brighter at the top
		light *= 1.05 - 0.1*float32(y)/Side
		for x := range Side {
			i := y*Side + x
			below := texture(background, float64(x), float64(y), s.Texture)
			a := min(mask[i], 1)
			for k := range 3 {
				v := (1-a)*(backgrounds[background][k]+below) + a*colour[k]*light
				img.Pix[4*i+k] = uint8(max(0, min(255, v+0.5)))
			}
			img.Pix[4*i+3] = 255
		}
	}
	return img
}
