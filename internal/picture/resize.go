package picture

import "math"

// A Filter is one of Pillow's ways to resize (PIL.Image.Resampling). Its number is Pillow's, which
// files of preprocessing hold.
type Filter int

// The filters.
const (
	Nearest  Filter = iota // the nearest pixel of the source
	Lanczos                // sinc(x)·sinc(x/3)
	Bilinear               // 1 − |x|
	Bicubic                // Keys' kernel with a = −0.5: what CLIP's preprocessing uses
	Box                    // the mean of the pixels under the new one
	Hamming                // sinc under a Hamming window
)

// Valid reports whether f is one of the filters.
func (f Filter) Valid() bool { return Nearest <= f && f <= Hamming }

// kernel returns the filter as a function, which is 0 at distances beyond support. Nearest has
// none.
func (f Filter) kernel() (support float64, at func(x float64) float64) {
	switch f {
	case Lanczos:
		return 3, lanczos
	case Bilinear:
		return 1, bilinear
	case Bicubic:
		return 2, bicubic
	case Box:
		return 0.5, box
	case Hamming:
		return 1, hamming
	}
	panic("picture: a filter without a kernel")
}

func bicubic(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return ((a+2)*x-(a+3))*x*x + 1
	case x < 2:
		return (((x-5)*x+8)*x - 4) * a
	}
	return 0
}

func bilinear(x float64) float64 { return max(1-math.Abs(x), 0) }

func box(x float64) float64 {
	if -0.5 < x && x <= 0.5 {
		return 1
	}
	return 0
}

// hamming has Pillow's two constants, which are rounded to float32.
func hamming(x float64) float64 {
	const constant, cosine = float32(0.54), float32(0.46)
	if math.Abs(x) >= 1 {
		return 0
	}
	return sinc(x) * (float64(constant) + float64(cosine)*math.Cos(math.Pi*x))
}

func lanczos(x float64) float64 {
	if x < -3 || x >= 3 {
		return 0
	}
	return sinc(x) * sinc(x/3)
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// Resize returns the picture in w × h pixels, w and h at least 1, as Pillow 13 resizes it to the
// bit (Resample.c). There is a pass over the rows and one over the columns, with values of 8 bits
// between them. Weights have 22 bits behind the point. A picture that shrinks is averaged over all
// of its pixels. The columns come first where the height shrinks by more than twice what the width
// does. (Pillow before 13 always began with the rows, which changes some values by 1.)
func (p *RGB) Resize(w, h int, f Filter) *RGB {
	if f == Nearest {
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

// nearest resizes to the pixels under the new pixels' centres.
func (p *RGB) nearest(w, h int) *RGB {
	dst, columns := NewRGB(w, h), centres(p.W, w)
	for y, from := range centres(p.H, h) {
		for x, column := range columns {
			copy(dst.Pix[(y*w+x)*3:][:3], p.Pix[(from*p.W+column)*3:])
		}
	}
	return dst
}

// centres returns for each of out new pixels the one of in pixels that its centre lies in. Centres
// are summed up as in Pillow (Geometry.c), so that they are rounded as there.
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

// A window is the weights of one output pixel. The first is that of the input pixel at start.
type window struct {
	start   int
	weights []int32
}

// windows computes the weights of every output pixel.
func windows(in, out int, f Filter) []window {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support, at := f.kernel()
	support *= stretch
	all := make([]window, out)
	for i := range all {
		center := (float64(i) + 0.5) * scale
		start := max(int(center-support+0.5), 0)
		end := min(int(center+support+0.5), in)
		weights, sum := make([]float64, end-start), 0.0
		for j := range weights {
			weights[j] = at((float64(j+start) - center + 0.5) * (1 / stretch))
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

// apply returns the weighted sum of every step-th value, rounded and clamped to 8 bits.
func (w window) apply(values []uint8, step int) uint8 {
	sum := int32(1) << (fraction - 1)
	for i, weight := range w.weights {
		sum += int32(values[i*step]) * weight
	}
	return uint8(min(max(sum>>fraction, 0), 255))
}
