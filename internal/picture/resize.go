package picture

import "math"

// A Filter is a resampling kernel: zero beyond Support.
type Filter struct {
	Support float64
	At      func(x float64) float64
}

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

// Lanczos is Pillow's LANCZOS.
var Lanczos = Filter{3, func(x float64) float64 {
	if x < -3 || x >= 3 {
		return 0
	}
	return sinc(x) * sinc(x/3)
}}

// Box is Pillow's BOX: the mean of what a pixel covers.
var Box = Filter{0.5, func(x float64) float64 {
	if -0.5 < x && x <= 0.5 {
		return 1
	}
	return 0
}}

// Hamming is Pillow's HAMMING, whose constants are in single precision.
var Hamming = Filter{1, func(x float64) float64 {
	x = math.Abs(x)
	if x >= 1 {
		return 0
	}
	return sinc(x) * (float64(float32(0.54)) + float64(float32(0.46))*math.Cos(math.Pi*x))
}}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// Resize is the resize of Pillow 13 to the bit (Resample.c): two passes, 8 bits between them, weights of 22 fraction bits; a
// picture that shrinks is averaged over all of its pixels. The horizontal pass is first unless the height loses more than twice
// what the width loses; before version 13 it always was. w and h are at least 1.
func (p *RGB) Resize(w, h int, f Filter) *RGB {
	if h < p.H && p.H-h > 2*(p.W-w) {
		return p.resizeColumns(h, f).resizeRows(w, f)
	}
	return p.resizeRows(w, f).resizeColumns(h, f)
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
	if w == p.W {
		return p
	}
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
	if h == p.H {
		return p
	}
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
