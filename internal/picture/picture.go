// Package picture reads, resizes and writes pictures as the makers of the models did. Resizing is
// Pillow's to the bit. Tensors are [H,W,3] float32, -1 to 1.
package picture

import (
	"fmt"
	"image"
	"image/color"
	"math"

	"gorgonia.org/tensor"
)

// An RGB is a picture of 8-bit red, green and blue, row by row: Pix[(y*W+x)*3+c].
type RGB struct {
	W, H int
	Pix  []uint8
}

// NewRGB is a black picture.
func NewRGB(w, h int) *RGB { return &RGB{w, h, make([]uint8, w*h*3)} }

// FromImage converts any image to what a model is to see of it, as transformers' convert_to_rgb
// does: behind what is transparent there is white. So colours under an alpha of 0 reach no model.
// All that makes tensors, features or keys of pictures begins here. Of 16 bits a channel the upper
// 8 are kept. Colour profiles and gamma are not applied, as Pillow does not apply them.
func FromImage(src image.Image) *RGB {
	p := withoutAlpha(src)
	for i, a := range alphas(src) {
		for c := range 3 {
			p.Pix[i*3+c] = overWhite(p.Pix[i*3+c], a)
		}
	}
	return p
}

// withoutAlpha converts any image as Pillow's convert("RGB") does: alpha is dropped.
func withoutAlpha(src image.Image) *RGB {
	b := src.Bounds()
	p := NewRGB(b.Dx(), b.Dy())
	switch src := src.(type) {
	case *image.NRGBA:
		p.fill(src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, 4, first3)
	case *image.RGBA:
		if !src.Opaque() {
			p.fromAny(src)
			break
		}
		p.fill(src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, 4, first3)
	case *image.Gray:
		p.fill(src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, 1, grey)
	case *image.Gray16:
		p.fill(src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, 2, grey)
	case *image.NRGBA64:
		p.fill(src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, 8, upper3)
	case *image.RGBA64:
		if !src.Opaque() {
			p.fromAny(src)
			break
		}
		p.fill(src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, 8, upper3)
	case *image.Paletted:
		table := make([]color.NRGBA, len(src.Palette))
		for i, c := range src.Palette {
			table[i] = color.NRGBAModel.Convert(c).(color.NRGBA)
		}
		p.fill(src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, 1,
			func(rgb, pixel []uint8) {
				c := table[pixel[0]]
				rgb[0], rgb[1], rgb[2] = c.R, c.G, c.B
			})
	case *image.CMYK:
		p.fill(src.Pix[src.PixOffset(b.Min.X, b.Min.Y):], src.Stride, 4, inks)
	case *image.YCbCr:
		p.fromYCbCr(src, jfif)
	default:
		p.fromAny(src)
	}
	return p
}

// overWhite is Pillow's alpha_composite on a white background (AlphaComposite.c).
func overWhite(v, alpha uint8) uint8 {
	const precision = 7 // bits
	sum := (uint32(v)*uint32(alpha) + 255*(255-uint32(alpha)) + 0x80) << precision
	return uint8((sum>>8 + sum) >> (8 + precision))
}

// alphas returns the alpha of every pixel, row by row. It is nil if all pixels are opaque.
func alphas(src image.Image) []uint8 {
	if o, ok := src.(interface{ Opaque() bool }); ok && o.Opaque() {
		return nil
	}
	b := src.Bounds()
	all := make([]uint8, 0, b.Dx()*b.Dy())
	for y := b.Min.Y; y < b.Max.Y; y++ {
		switch src := src.(type) { // the usual ones, without a call for each pixel
		case *image.NRGBA:
			for i := src.PixOffset(b.Min.X, y); i < src.PixOffset(b.Max.X, y); i += 4 {
				all = append(all, src.Pix[i+3])
			}
		case *image.NRGBA64:
			for i := src.PixOffset(b.Min.X, y); i < src.PixOffset(b.Max.X, y); i += 8 {
				all = append(all, src.Pix[i+6])
			}
		default:
			for x := b.Min.X; x < b.Max.X; x++ {
				_, _, _, a := src.At(x, y).RGBA()
				all = append(all, uint8(a>>8))
			}
		}
	}
	return all
}

// fill sets p from pixels of so many bytes, which set converts. stride is the bytes from one row to
// the next.
func (p *RGB) fill(pix []uint8, stride, size int, set func(rgb, pixel []uint8)) {
	for y := range p.H {
		row, out := pix[y*stride:], p.Pix[y*p.W*3:(y+1)*p.W*3]
		for x := range p.W {
			set(out[x*3:x*3+3], row[x*size:x*size+size])
		}
	}
}

func first3(rgb, pixel []uint8) { rgb[0], rgb[1], rgb[2] = pixel[0], pixel[1], pixel[2] }
func upper3(rgb, pixel []uint8) { rgb[0], rgb[1], rgb[2] = pixel[0], pixel[2], pixel[4] }
func grey(rgb, pixel []uint8)   { rgb[0], rgb[1], rgb[2] = pixel[0], pixel[0], pixel[0] }
func inks(rgb, pixel []uint8) {
	for c := range 3 {
		rgb[c] = inked(pixel[c], pixel[3])
	}
}

// fromAny sets p from the colours of any image, of 8 bits a channel, which are not multiplied with
// alpha.
func (p *RGB) fromAny(src image.Image) {
	b := src.Bounds()
	for y := range p.H {
		for x := range p.W {
			n := color.NRGBAModel.Convert(src.At(b.Min.X+x, b.Min.Y+y)).(color.NRGBA)
			copy(p.Pix[(y*p.W+x)*3:], []uint8{n.R, n.G, n.B})
		}
	}
}

// inked returns what an ink leaves of the light that black leaves (cmyk2rgb of Pillow's Convert.c).
func inked(ink, black uint8) uint8 {
	light := 255 - uint32(black)
	product := uint32(ink)*light + 128
	return uint8(light - (product>>8+product)>>8)
}

// Image returns p as an image of the standard library.
func (p *RGB) Image() *image.NRGBA { return p.withAlpha(nil) }

// withAlpha returns p with the alpha of every pixel. Nil is opaque.
func (p *RGB) withAlpha(alpha []uint8) *image.NRGBA {
	dst := image.NewNRGBA(image.Rect(0, 0, p.W, p.H))
	for i := range p.W * p.H {
		copy(dst.Pix[i*4:], p.Pix[i*3:i*3+3])
		dst.Pix[i*4+3] = 0xff
		if alpha != nil {
			dst.Pix[i*4+3] = alpha[i]
		}
	}
	return dst
}

// mostSlender is how many times the shorter side of a picture its longer one may be. A square that
// is cut out of a longer picture has less than a thirty-second of it, and says nothing of the rest.
const mostSlender = 32

// Slender is an error if a picture of w × h pixels is so long, or so high, that what is cut out of
// its middle is not the picture: where one side is more than 32 times the other.
func Slender(w, h int) error {
	if max(w, h) > mostSlender*min(w, h) {
		return fmt.Errorf("%d×%d pixels: one side is more than %d times the other, and what is "+
			"cut out of the middle would not be the picture; cut out the part that is meant",
			w, h, mostSlender)
	}
	return nil
}

// Crop returns the w × h pixels around the centre. What lies outside the picture is black. Of an
// odd margin the extra pixel is on the right and at the bottom, as in transformers' center_crop.
// Where black is added, the extra pixel of it is on the left and at the top.
func (p *RGB) Crop(w, h int) *RGB {
	dst := NewRGB(w, h)
	left, top := (p.W-w)>>1, (p.H-h)>>1 // rounded down, below zero too
	for y := range h {
		for x := range w {
			sx, sy := x+left, y+top
			if 0 <= sx && sx < p.W && 0 <= sy && sy < p.H {
				copy(dst.Pix[(y*w+x)*3:(y*w+x)*3+3], p.Pix[(sy*p.W+sx)*3:])
			}
		}
	}
	return dst
}

// Tensor returns p as [H,W,3] float32, -1 (black) to 1 (white): what a VAE reads.
func (p *RGB) Tensor() *tensor.Dense {
	data := make([]float32, len(p.Pix))
	for i, v := range p.Pix {
		data[i] = float32(v)/127.5 - 1
	}
	return tensor.New(tensor.WithShape(p.H, p.W, 3), tensor.WithBacking(data))
}

// FromTensor makes a picture of float32 values [H,W,3], -1 to 1, as diffusers does: values beyond
// are clamped, and halves are rounded to even. NaN is an error, and so is another type or shape.
func FromTensor(t *tensor.Dense) (*RGB, error) {
	s := t.Shape()
	if t.Dtype() != tensor.Float32 || len(s) != 3 || s[2] != 3 {
		return nil, fmt.Errorf("picture: tensor is %v %v, not float32 [H,W,3]", t.Dtype(), s)
	}
	return FromValues(t.Float32s(), s[1], s[0])
}

// FromValues is FromTensor of the h × w × 3 values of a tensor.
func FromValues(values []float32, w, h int) (*RGB, error) {
	if len(values) != w*h*3 {
		return nil, fmt.Errorf("picture: %d values are no %d×%d picture", len(values), w, h)
	}
	dst := NewRGB(w, h)
	for i, v := range values {
		if v != v {
			return nil, fmt.Errorf("picture: value %d is NaN", i)
		}
		dst.Pix[i] = uint8(math.RoundToEven(float64(min(max(v/2+0.5, 0), 1) * 255)))
	}
	return dst, nil
}
