package picture

import "math"

// A Filter is a resampling kernel: zero beyond Support. Without At a pixel is the nearest of the source.
type Filter struct {
	Support float64
	At      func(x float64) float64
}

// Filters are Pillow's, by its numbers (PIL.Image.Resampling), which files of preprocessing hold.
var Filters = []Filter{Nearest, Lanczos, Bilinear, Bicubic, Box, Hamming}

// Nearest is Pillow's NEAREST.
var Nearest = Filter{}

// Bicubic is Pillow's BICUBIC (Keys' kernel with a = -0.5), what CLIP's preprocessing uses.
var Bicubic = Filter{2, func(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * a
	}
	return 0
}}

// Bilinear is Pillow's BILINEAR.
var Bilinear = Filter{1, func(x float64) float64 { return max(1-math.Abs(x), 0) }}

// Box is Pillow's BOX: the mean of the pixels under the new one.
var Box = Filter{0.5, func(x float64) float64 {
	if -0.5 < x && x <= 0.5 {
		return 1
	}
	return 0
}}

// Hamming is Pillow's HAMMING, whose two constants are rounded to float32.
var Hamming = Filter{1, func(x float64) float64 {
	const constant, cosine = float32(0.54), float32(0.46)
	if math.Abs(x) >= 1 {
		return 0
	}
	return sinc(x) * (float64(constant) + float64(cosine)*math.Cos(math.Pi*x))
}}

// Lanczos is Pillow's LANCZOS.
var Lanczos = Filter{3, func(x float64) float64 {
	if x < -3 || x >= 3 {
		return 0
	}
	return sinc(x) * sinc(x/3)
}}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// Resize is Pillow 13's resize to the bit (Resample.c): a pass over rows and one over columns, 8 bits between them, weights
// of 22 fraction bits; a picture that shrinks is averaged over all of its pixels. Columns are first where the height shrinks by more
// than twice what the width does. (Pillow before 13 always began with rows, which changes some values by 1.) w and h are at least 1.
func (p *RGB) Resize(w, h int, f Filter) *RGB {
	if f.At == nil {
		return p.nearest(w, h)
	}
	columnsFirst := h < p.H && 2*(p.W-w) < p.H-h
	if columnsFirst {
		p = p.resizeColumns(h, f)
	}
	if w != p.W {
		p = p.resizeRows(w, f)
	}
	if h != p.H {
		p = p.resizeColumns(h, f)
	}
	return p
}

// nearest takes the pixel under each new pixel's centre.
func (p *RGB) nearest(w, h int) *RGB {
	dst, columns := NewRGB(w, h), centres(p.W, w)
	for y, from := range centres(p.H, h) {
		for x, column := range columns {
			copy(dst.Pix[(y*w+x)*3:][:3], p.Pix[(from*p.W+column)*3:])
		}
	}
	return dst
}

// centres are the source's pixels under the new ones' centres; the sum is Pillow's, rounding and all (Geometry.c).
func centres(in, out int) []int {
	scale := float64(in) / float64(out)
	at := make([]int, out)
	sum := scale * 0.5
	for i := range at {
		at[i] = min(int(sum), in-1)
		sum += scale
	}
	return at
}

// fraction is the number of bits behind the point in a weight.
const fraction = 32 - 8 - 2

// A window is the weights of one output pixel, the first for the input pixel at start.
type window struct {
	start   int
	weights []int32
}

// windows computes the weights of every output pixel.
func windows(in, out int, f Filter) []window {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support := f.Support * stretch
	all := make([]window, out)
	for i := range all {
		center := (float64(i) + 0.5) * scale
		start := max(int(center-support+0.5), 0)
		end := min(int(center+support+0.5), in)
		weights, sum := make([]float64, end-start), 0.0
		for j := range weights {
			weights[j] = f.At((float64(j+start) - center + 0.5) * (1 / stretch))
			sum += weights[j]
		}
		all[i] = window{start, fixed(weights, sum)}
	}
	return all
}

// fixed rounds weights/sum to fixed point, halves away from zero.
func fixed(weights []float64, sum float64) []int32 {
	out := make([]int32, len(weights))
	for i, w := range weights {
		if sum != 0 {
			w /= sum
		}
		out[i] = int32(math.Copysign(0.5, w) + w*(1<<fraction))
	}
	return out
}

func (p *RGB) resizeRows(w int, f Filter) *RGB {
	dst, all := NewRGB(w, p.H), windows(p.W, w, f)
	for y := range p.H {
		row := p.Pix[y*p.W*3:]
		for x, win := range all {
			for c := range 3 {
				dst.Pix[(y*w+x)*3+c] = win.apply(row[win.start*3+c:], 3)
			}
		}
	}
	return dst
}

func (p *RGB) resizeColumns(h int, f Filter) *RGB {
	dst, stride := NewRGB(p.W, h), p.W*3
	for y, win := range windows(p.H, h, f) {
		for i := range stride {
			dst.Pix[y*stride+i] = win.apply(p.Pix[win.start*stride+i:], stride)
		}
	}
	return dst
}

// apply is the weighted sum of every step-th value, rounded and clamped to 8 bits.
func (w window) apply(values []uint8, step int) uint8 {
	sum := int32(1) << (fraction - 1)
	for i, weight := range w.weights {
		sum += int32(values[i*step]) * weight
	}
	return uint8(min(max(sum>>fraction, 0), 255))
}
