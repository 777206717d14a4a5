package shapes

import (
	"image"
	"math"

	"github.com/kudos-ml/kudos/dataset"
)

// A Reading is what the judge sees in a picture.
type Reading struct {
	Count      int
	Colour     string  // the things' common colour, "" if they differ or there are none
	Background string  // the nearest of Grammar's, never empty
	Kind       string  // the singular noun of the kind that fits them best, "" if there are none
	Things     []Found // from the top down
	Clear      float64 // the share of the background's pixels that vote for Background, 0 to 1
}

// A Found is one thing that the judge sees.
type Found struct {
	X, Y   float64 // its centre in pixels; y points down
	Area   float64 // in pixels
	Colour string  // that which most of its pixels vote for
	Purity float64 // the share of its pixels that vote for Colour, 0 to 1
	Kind   string  // the kind that it resembles most
	Fit    float64 // how far it and an outline of Kind overlap: intersection over union, 0 to 1
	fits   [len(outlines)]float64
}

// Follows reports whether the picture shows all that c claims: the object in any case, and the
// count, the colour and the background where c claims them. Where c claims no count, one thing or
// more will do.
func (r Reading) Follows(c dataset.Claim) bool {
	return r.Count > 0 && r.Kind == c.Object &&
		(c.Count == 0 || r.Count == c.Count) &&
		(c.Colour == "" || r.Colour == c.Colour) &&
		(c.Background == "" || r.Background == c.Background)
}

// minArea is the least number of pixels of a thing. What is smaller is dirt. The smallest thing
// that is drawn, a crescent among six, has 60.
const minArea = 40

// Judge reads a picture of Side×Side pixels, from its pixels alone. A picture of another size is
// looked at through a grid of Side×Side points.
//
// The background is the one of the palette that most pixels are nearest to. A pixel belongs to a
// thing if it is nearer to one of the things' colours than to the background. At least 40 such
// pixels that touch each other are a thing. A thing has the colour that most of its pixels are
// nearest to. Its kind is that whose outline, at the same place and of the same area, overlaps it
// most.
func Judge(img image.Image) Reading {
	p := pixels(img)
	var r Reading
	b := background(p, &r)
	near := nearest(p, b)
	for _, part := range components(near) {
		if len(part) >= minArea {
			r.Things = append(r.Things, found(part, near))
		}
	}
	r.Count = len(r.Things)
	if r.Count == 0 {
		return r
	}
	r.Colour = r.Things[0].Colour
	var fits [len(outlines)]float64
	for _, t := range r.Things {
		if t.Colour != r.Colour {
			r.Colour = ""
		}
		for k, fit := range t.fits {
			fits[k] += fit
		}
	}
	r.Kind = grammar.Objects[best(fits[:])].Name
	return r
}

// pixels returns the picture's colours on a grid of Side×Side.
func pixels(img image.Image) *[Side * Side]rgb {
	var p [Side * Side]rgb
	b := img.Bounds()
	if pix, stride, ok := rows(img); ok && b.Dx() == Side && b.Dy() == Side {
		for y := range Side {
			row := pix[y*stride:]
			for x := range Side {
				p[y*Side+x] = rgb{float32(row[4*x]), float32(row[4*x+1]), float32(row[4*x+2])}
			}
		}
		return &p
	}
	for y := range Side {
		for x := range Side {
			at := image.Pt((2*x+1)*b.Dx()/(2*Side), (2*y+1)*b.Dy()/(2*Side)).Add(b.Min)
			r, g, bl, _ := img.At(at.X, at.Y).RGBA()
			p[y*Side+x] = rgb{float32(r >> 8), float32(g >> 8), float32(bl >> 8)}
		}
	}
	return &p
}

// rows returns the bytes of a picture, four a pixel. ok is false if the picture is not opaque or
// has its pixels in another form.
func rows(img image.Image) (pix []uint8, stride int, ok bool) {
	switch img := img.(type) {
	case *image.RGBA:
		return img.Pix[img.PixOffset(img.Rect.Min.X, img.Rect.Min.Y):], img.Stride, img.Opaque()
	case *image.NRGBA:
		return img.Pix[img.PixOffset(img.Rect.Min.X, img.Rect.Min.Y):], img.Stride, img.Opaque()
	}
	return nil, 0, false
}

// background finds the background that most pixels are nearest to. It writes it to r and returns
// its mean colour in this picture.
func background(p *[Side * Side]rgb, r *Reading) rgb {
	var votes [len(backgrounds)]float64
	var sums [len(backgrounds)][3]float64
	var all float64
	for _, c := range p {
		k, d := closest(c, backgrounds[:])
		if _, dc := closest(c, colours[:]); dc < d {
			continue
		}
		votes[k]++
		all++
		for j := range 3 {
			sums[k][j] += float64(c[j])
		}
	}
	k := best(votes[:])
	r.Background = grammar.Backgrounds[k]
	if all == 0 {
		return backgrounds[k]
	}
	r.Clear = votes[k] / all
	var mean rgb
	for j := range 3 {
		mean[j] = float32(sums[k][j] / votes[k])
	}
	return mean
}

// closest returns the palette's entry nearest to c, and the square of the distance.
func closest(c rgb, palette []rgb) (int, float32) {
	at, least := 0, float32(math.Inf(1))
	for i, q := range palette {
		if d := distance(c, q); d < least {
			at, least = i, d
		}
	}
	return at, least
}

func distance(a, b rgb) float32 {
	x, y, z := a[0]-b[0], a[1]-b[1], a[2]-b[2]
	return x*x + y*y + z*z
}

func best(scores []float64) int {
	at := 0
	for i, s := range scores {
		if s > scores[at] {
			at = i
		}
	}
	return at
}

// nearest returns for each pixel the index of the thing's colour that it is nearest to, and −1
// where the background is nearer.
func nearest(p *[Side * Side]rgb, background rgb) *[Side * Side]int8 {
	var near [Side * Side]int8
	for i, c := range p {
		k, d := closest(c, colours[:])
		near[i] = int8(k)
		if distance(c, background) <= d {
			near[i] = -1
		}
	}
	return &near
}

// components returns the sets of pixels that are not background and touch each other (4
// neighbours), from the top down.
func components(near *[Side * Side]int8) [][]int {
	var seen [Side * Side]bool
	var parts [][]int
	for start := range near {
		if near[start] < 0 || seen[start] {
			continue
		}
		seen[start] = true
		part := []int{start}
		visit := func(i int) {
			if near[i] >= 0 && !seen[i] {
				seen[i] = true
				part = append(part, i)
			}
		}
		for at := 0; at < len(part); at++ {
			i := part[at]
			if i%Side > 0 {
				visit(i - 1)
			}
			if i%Side < Side-1 {
				visit(i + 1)
			}
			if i >= Side {
				visit(i - Side)
			}
			if i < Side*(Side-1) {
				visit(i + Side)
			}
		}
		parts = append(parts, part)
	}
	return parts
}

// found describes one component.
func found(part []int, near *[Side * Side]int8) Found {
	t := Found{Area: float64(len(part))}
	var votes [len(colours)]float64
	for _, i := range part {
		votes[near[i]]++
		t.X += (float64(i%Side) + 0.5) / t.Area
		t.Y += (float64(i/Side) + 0.5) / t.Area
	}
	k := best(votes[:])
	t.Colour, t.Purity = grammar.Colours[k], votes[k]/t.Area
	t.fits = fit(part, t)
	k = best(t.fits[:])
	t.Kind, t.Fit = grammar.Objects[k].Name, t.fits[k]
	return t
}

// fit returns for every kind the intersection over union of a component and the kind's outline,
// which is given the same centre and area, at the best of three angles.
func fit(part []int, t Found) (fits [len(outlines)]float64) {
	for k, outline := range outlines {
		area, cx, cy := moments(outline)
		scale := math.Sqrt(t.Area / area)
		for _, angle := range []float64{-0.1, 0, 0.1} {
			s, c := math.Sincos(angle)
			x, y := t.X-scale*(c*cx-s*cy), t.Y-scale*(s*cx+c*cy)
			var mask [Side * Side]float32
			cover(mask[:], place(outline, x, y, scale, angle), 2)
			var inside float64
			for _, i := range part {
				inside += float64(mask[i])
			}
			fits[k] = max(fits[k], inside/(2*t.Area-inside))
		}
	}
	return fits
}

// moments returns a polygon's area and centroid.
func moments(ps []point) (area, x, y float64) {
	for i, p := range ps {
		q := ps[(i+1)%len(ps)]
		w := p.x*q.y - q.x*p.y
		area += w / 2
		x += w * (p.x + q.x) / 6
		y += w * (p.y + q.y) / 6
	}
	return math.Abs(area), x / area, y / area
}
