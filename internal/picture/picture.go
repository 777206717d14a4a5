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

// FromImage converts any image as Pillow's convert("RGB") does. Alpha is dropped. Of 16 bits a
// channel the upper 8 are kept. But values of a grey picture of 16 bits are cut off at 255, as in
// Pillow, which makes most such pictures white.
func FromImage(src image.Image) *RGB {
	b := src.Bounds()
	dst := NewRGB(b.Dx(), b.Dy())
	switch src := src.(type) {
	case *image.NRGBA:
		dst.fromFour(src.Pix, src.Stride, src.PixOffset(b.Min.X, b.Min.Y))
	case *image.RGBA:
		if src.Opaque() {
			dst.fromFour(src.Pix, src.Stride, src.PixOffset(b.Min.X, b.Min.Y))
			break
		}
		dst.fromAny(src)
	case *image.YCbCr:
		dst.fromYCbCr(src, jfif)
	default:
		dst.fromAny(src)
	}
	return dst
}

// OnWhite converts any image as transformers' convert_to_rgb does: what is transparent shows white
// behind it.
func OnWhite(src image.Image) *RGB {
	p, alpha := FromImage(src), alphas(src)
	for i, v := range p.Pix {
		if alpha != nil {
			p.Pix[i] = overWhite(v, alpha[i/3])
		}
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
		for x := b.Min.X; x < b.Max.X; x++ {
			_, _, _, a := src.At(x, y).RGBA()
			all = append(all, uint8(a>>8))
		}
	}
	return all
}

// fromFour copies pixels of four bytes, of which it drops the fourth.
func (p *RGB) fromFour(pix []uint8, stride, offset int) {
	for y := range p.H {
		row, out := pix[offset+y*stride:], p.Pix[y*p.W*3:]
		for x := range p.W {
			copy(out[x*3:x*3+3], row[x*4:x*4+3])
		}
	}
}

func (p *RGB) fromAny(src image.Image) {
	b := src.Bounds()
	for y := range p.H {
		for x := range p.W {
			i := (y*p.W + x) * 3
			p.Pix[i], p.Pix[i+1], p.Pix[i+2] = eightBits(src.At(b.Min.X+x, b.Min.Y+y))
		}
	}
}

// eightBits returns a colour in 8 bits a channel, as Pillow makes it RGB.
func eightBits(c color.Color) (r, g, b uint8) {
	switch c := c.(type) {
	case color.NRGBA64: // colours survive where alpha is 0
		return uint8(c.R >> 8), uint8(c.G >> 8), uint8(c.B >> 8)
	case color.Gray16:
		v := uint8(min(c.Y, 255))
		return v, v, v
	case color.CMYK:
		return inked(c.C, c.K), inked(c.M, c.K), inked(c.Y, c.K)
	}
	n := color.NRGBAModel.Convert(c).(color.NRGBA)
	return n.R, n.G, n.B
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
