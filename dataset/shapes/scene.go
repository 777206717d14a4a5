package shapes

import (
	"fmt"
	"image"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/kudos-ml/kudos/dataset"
)

// A Scene is everything that is drawn: things of one kind and one colour on a background. Kind,
// Colour and Background are words of Grammar. Kind is the singular noun.
type Scene struct {
	Kind, Colour, Background string
	Things                   []Thing
	Texture                  [4]float64 // where the background's pattern starts, 0 to 1 each
	Shade                    float64    // how bright the things are; 1 is as in the palette
}

// A Thing is where one of a scene's things is: its centre and its radius in pixels, where y points
// down, and its angle in radians.
type Thing struct{ X, Y, Radius, Angle float64 }

// Claim returns everything there is to say of the scene.
func (s Scene) Claim() dataset.Claim {
	return dataset.Claim{
		Object:     s.Kind,
		Count:      len(s.Things),
		Colour:     s.Colour,
		Background: s.Background,
	}
}

// Compose returns a scene, drawn by r, that a claim is true of. What the claim leaves open is drawn
// evenly, but for the count, which is then 1: "a circle". A claim that is not of Grammar is an
// error.
func Compose(c dataset.Claim, r *rand.Rand) (Scene, error) {
	if _, err := grammar.Render(c); err != nil {
		return Scene{}, fmt.Errorf("shapes: %w", err)
	}
	colour := grammar.Colours[r.IntN(len(colours))]
	background := grammar.Backgrounds[r.IntN(len(backgrounds))]
	if c.Colour != "" {
		colour = c.Colour
	}
	if c.Background != "" {
		background = c.Background
	}
	s := Scene{
		Kind:       c.Object,
		Colour:     colour,
		Background: background,
		Shade:      0.96 + 0.08*r.Float64(),
	}
	for i := range s.Texture {
		s.Texture[i] = r.Float64()
	}
	s.Things = arrange(max(1, c.Count), r)
	return s, nil
}

// How things are arranged. The gap is large enough to keep them apart after a lossy autoencoder.
// The tilt is small enough that no square becomes a diamond.
const (
	gap      = 2.5  // least distance of centres, in radii
	margin   = 1.15 // least distance of a centre from the picture's edge, in radii
	tilt     = 0.14 // largest angle, in radians
	variance = 0.05 // largest relative change of the radius
)

// radii are the radius of each of n things, by n, as a share of the picture's side. They are as
// large as leaves the things room: a kind is told, and learned, by its outline.
var radii = [...]float64{1: 0.28, 2: 0.20, 3: 0.165, 4: 0.145, 5: 0.125, 6: 0.115}

// arrange throws n things one after another. One that falls too close to another is thrown again,
// and after 60 throws all are.
func arrange(n int, r *rand.Rand) []Thing {
	size := Side * radii[n] * (1 + variance*(2*r.Float64()-1))
	var things []Thing
	for tries := 0; len(things) < n; tries++ {
		if tries == 60 {
			things, tries = things[:0], 0
		}
		room := Side - 2*margin*size
		x := margin*size + room*r.Float64()
		y := margin*size + room*r.Float64()
		t := Thing{x, y, size, tilt * (2*r.Float64() - 1)}
		near := func(o Thing) bool { return math.Hypot(o.X-t.X, o.Y-t.Y) < gap*size }
		if !slices.ContainsFunc(things, near) {
			things = append(things, t)
		}
	}
	return things
}

// Draw returns the scene's picture, Side×Side and opaque. It panics if a word of the scene is not
// of Grammar.
func Draw(s Scene) *image.RGBA {
	isKind := func(o dataset.Object) bool { return o.Name == s.Kind }
	kind := slices.IndexFunc(grammar.Objects, isKind)
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
