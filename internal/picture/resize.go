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
func (p *RGB) Resize(w, h int, f Filter) *RGB { return p.ResizeCrop(w, h, f, w, h) }

// ResizeCrop is Resize to w × h pixels and Crop of that to cw × ch. It computes the pixels that
// Crop keeps, and no others. So its time and memory are those of the source and of the result,
// however large w and h are.
func (p *RGB) ResizeCrop(w, h int, f Filter, cw, ch int) *RGB {
	return p.resized(w, h, f, keptOf(w, cw), keptOf(h, ch)).Crop(cw, ch)
}

// A span is the places from its first to the one before its end.
type span struct{ from, end int }

// keptOf is what Crop keeps of n places where it makes them m.
func keptOf(n, m int) span {
	from := (n - m) >> 1
	return span{max(from, 0), min(from+m, n)}
}

// resized is the part of p in w × h pixels that has the columns xs and the rows ys.
func (p *RGB) resized(w, h int, f Filter, xs, ys span) *RGB {
	if f == Nearest || w == p.W && h == p.H {
		return p.nearest(w, h, xs, ys)
	}
	columns, rows := windows(p.W, w, f, xs), windows(p.H, h, f, ys)
	columnsFirst := h < p.H && 2*(p.W-w) < p.H-h
	switch {
	case w == p.W:
		return p.resizeColumns(rows, xs)
	case h == p.H:
		return p.resizeRows(columns, ys)
	case columnsFirst:
		under := extent(columns)
		return p.resizeColumns(rows, under).resizeRows(from(under, columns), span{0, len(rows)})
	}
	under := extent(rows)
	return p.resizeRows(columns, under).resizeColumns(from(under, rows), span{0, len(columns)})
}

// nearest resizes to the pixels under the new pixels' centres.
func (p *RGB) nearest(w, h int, xs, ys span) *RGB {
	dst := NewRGB(xs.end-xs.from, ys.end-ys.from)
	columns := centres(p.W, w, xs)
	for y, from := range centres(p.H, h, ys) {
		for x, column := range columns {
			copy(dst.Pix[(y*dst.W+x)*3:][:3], p.Pix[(from*p.W+column)*3:])
		}
	}
	return dst
}

// centres returns for some of out new pixels the one of in pixels that its centre lies in. Centres
// are summed up as in Pillow (Geometry.c), so that they are rounded as there.
func centres(in, out int, some span) []int {
	scale := float64(in) / float64(out)
	at := make([]int, some.end-some.from)
	sum := scale * 0.5
	for i := range some.end {
		if i >= some.from {
			at[i-some.from] = min(int(sum), in-1)
		}
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

// extent is the span of the input pixels that windows have weights for.
func extent(all []window) span {
	last := all[len(all)-1]
	return span{all[0].start, last.start + len(last.weights)}
}

// from are windows over the pixels of a span, of which the first becomes pixel 0.
func from(s span, all []window) []window {
	for i := range all {
		all[i].start -= s.from
	}
	return all
}

// windows computes the weights of some of the output pixels.
func windows(in, out int, f Filter, some span) []window {
	scale := float64(in) / float64(out)
	stretch := max(scale, 1)
	support, at := f.kernel()
	support *= stretch
	all := make([]window, some.end-some.from)
	for i := range all {
		center := (float64(some.from+i) + 0.5) * scale
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

// resizeRows resizes the rows ys to the columns that all are the windows of.
func (p *RGB) resizeRows(all []window, ys span) *RGB {
	dst := NewRGB(len(all), ys.end-ys.from)
	for y := range dst.H {
		row := p.Pix[(ys.from+y)*p.W*3:]
		for x, win := range all {
			for c := range 3 {
				dst.Pix[(y*dst.W+x)*3+c] = win.apply(row[win.start*3+c:], 3)
			}
		}
	}
	return dst
}

// resizeColumns resizes the columns xs to the rows that all are the windows of.
func (p *RGB) resizeColumns(all []window, xs span) *RGB {
	dst, stride := NewRGB(xs.end-xs.from, len(all)), p.W*3
	for y, win := range all {
		for i := range dst.W * 3 {
			dst.Pix[y*dst.W*3+i] = win.apply(p.Pix[win.start*stride+xs.from*3+i:], stride)
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
