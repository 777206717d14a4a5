package shapes

import "math"

type point struct{ x, y float64 }

// outlines are the shapes of the kinds, in Grammar's order, as polygons around the origin. y points
// down. The corner that is farthest from the origin is at a distance of about 1.
var outlines = [...][]point{
	circle(), square(), polygon(3, 1.12, 1.12), star(), cross(), heart(), diamond(), crescent(),
}

func circle() []point { return polygon(36, 0.95, 0.95) }

func square() []point {
	const a = 0.8
	return []point{{-a, -a}, {a, -a}, {a, a}, {-a, a}}
}

func star() []point { return polygon(10, 1.15, 0.5) }

func diamond() []point { return []point{{0, -1.15}, {0.72, 0}, {0, 1.15}, {-0.72, 0}} }

// polygon returns n corners, the first at the top, at distances from the origin that alternate
// between outer and inner.
func polygon(n int, outer, inner float64) []point {
	var ps []point
	for i := range n {
		s, c := math.Sincos(2 * math.Pi * float64(i) / float64(n))
		r := outer
		if i%2 == 1 {
			r = inner
		}
		ps = append(ps, point{r * s, -r * c})
	}
	return ps
}

func cross() []point {
	const a, b = 1.0, 0.36
	return []point{
		{-b, -a}, {b, -a}, {b, -b}, {a, -b}, {a, b}, {b, b},
		{b, a}, {-b, a}, {-b, b}, {-a, b}, {-a, -b}, {-b, -b},
	}
}

// heart is the curve x = 16 sin³ t, y = 13 cos t − 5 cos 2t − 2 cos 3t − cos 4t.
func heart() []point {
	const n = 32
	var ps []point
	for i := range n {
		t := 2 * math.Pi * float64(i) / n
		x := 16 * math.Pow(math.Sin(t), 3)
		y := 13*math.Cos(t) - 5*math.Cos(2*t) - 2*math.Cos(3*t) - math.Cos(4*t)
		ps = append(ps, point{x / 15.5, -y/15.5 - 0.1})
	}
	return ps
}

// crescent is the unit disc without a smaller disc to its right.
func crescent() []point {
	const (
		n      = 20
		inner  = 0.80 // the radius of the disc that is cut out
		offset = 0.76 // its centre
		shift  = 0.22 // moves the rest to the middle
	)
	// The circles meet at x = (1 + offset² − inner²) / (2 offset).
	x := (1 + offset*offset - inner*inner) / (2 * offset)
	outerEnd := math.Acos(x)
	innerEnd := math.Atan2(math.Sqrt(1-x*x), x-offset)
	var ps []point
	for i := range n { // the outer arc, the long way round from the upper tip to the lower
		a := outerEnd + (2*math.Pi-2*outerEnd)*float64(i)/n
		ps = append(ps, point{math.Cos(a) + shift, -math.Sin(a)})
	}
	for i := range n { // the inner arc back
		a := 2*math.Pi - innerEnd - (2*math.Pi-2*innerEnd)*float64(i)/n
		ps = append(ps, point{offset + inner*math.Cos(a) + shift, -inner * math.Sin(a)})
	}
	return ps
}

// place returns an outline turned by angle, in radians, scaled by r, and moved to (x, y).
func place(outline []point, x, y, r, angle float64) []point {
	s, c := math.Sincos(angle)
	ps := make([]point, len(outline))
	for i, p := range outline {
		ps[i] = point{x + r*(c*p.x-s*p.y), y + r*(s*p.x+c*p.y)}
	}
	return ps
}

// cover adds to mask [Side,Side] the share of every pixel that lies inside a polygon, by the
// even-odd rule. Every row of pixels is cut by so many lines as over says, and the share of a line
// is exact.
func cover(mask []float32, polygon []point, over int) {
	lo, hi := math.Inf(1), math.Inf(-1)
	for _, p := range polygon {
		lo, hi = min(lo, p.y), max(hi, p.y)
	}
	step := 1 / float64(over)
	weight := float32(step) // of one row of samples
	var cuts []float64
	for row := max(0, int(lo*float64(over))); row < min(Side*over, int(hi*float64(over))+1); row++ {
		y := (float64(row) + 0.5) * step
		cuts = crossings(cuts[:0], polygon, y)
		for i := 0; i+1 < len(cuts); i += 2 {
			span(mask[row/over*Side:][:Side], cuts[i], cuts[i+1], weight)
		}
	}
}

// crossings appends to cuts where the edges of a polygon meet the horizontal line at y, in order.
func crossings(cuts []float64, polygon []point, y float64) []float64 {
	for i, p := range polygon {
		q := polygon[(i+1)%len(polygon)]
		if (p.y <= y) == (q.y <= y) {
			continue
		}
		x := p.x + (y-p.y)/(q.y-p.y)*(q.x-p.x)
		cuts = append(cuts, x)
		for j := len(cuts) - 1; j > 0 && cuts[j-1] > cuts[j]; j-- {
			cuts[j-1], cuts[j] = cuts[j], cuts[j-1]
		}
	}
	return cuts
}

// span adds to a row of pixels the share of each that [from, to) covers, times weight.
func span(row []float32, from, to float64, weight float32) {
	from, to = max(from, 0), min(to, float64(len(row)))
	for x := int(from); x < len(row) && float64(x) < to; x++ {
		row[x] += weight * float32(min(to, float64(x+1))-max(from, float64(x)))
	}
}
