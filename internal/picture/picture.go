// Package picture reads, resizes and writes pictures the way the models' makers did: resizing is Pillow's to
// the bit, and tensors are [H,W,3] float32 in -1 to 1.
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

// FromImage converts any image. Alpha is dropped, as Pillow's convert("RGB") drops it. Of 16 bits the high ones are kept; Pillow
// does so for colours, but cuts greys off at 255, which leaves little of a picture.
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
	case *image.CMYK:
		dst.fromCMYK(src)
	default:
		dst.fromAny(src)
	}
	return dst
}

// fromFour copies pixels of four bytes, the fourth dropped.
func (p *RGB) fromFour(pix []uint8, stride, offset int) {
	for y := range p.H {
		row, out := pix[offset+y*stride:], p.Pix[y*p.W*3:]
		for x := range p.W {
			copy(out[x*3:x*3+3], row[x*4:x*4+3])
		}
	}
}

// fromCMYK is Pillow's conversion (Convert.c).
func (p *RGB) fromCMYK(src *image.CMYK) {
	b := src.Bounds()
	for y := range p.H {
		row, out := src.Pix[src.PixOffset(b.Min.X, b.Min.Y+y):], p.Pix[y*p.W*3:]
		for x := range p.W {
			black := 255 - int(row[x*4+3])
			for c := range 3 {
				t := int(row[x*4+c])*black + 128
				out[x*3+c] = uint8(black - (t>>8+t)>>8)
			}
		}
	}
}

// OnWhite converts any image, what is transparent laid on white: what people see, and what transformers' CLIPImageProcessor
// has made of pictures since version 5.24. The arithmetic is Pillow's alpha_composite.
func OnWhite(src image.Image) *RGB {
	dst := FromImage(src)
	if o, ok := src.(interface{ Opaque() bool }); ok && o.Opaque() {
		return dst
	}
	b := src.Bounds()
	for y := range dst.H {
		for x := range dst.W {
			_, _, _, a := src.At(b.Min.X+x, b.Min.Y+y).RGBA()
			alpha := int(a >> 8)
			for c := range 3 {
				v := &dst.Pix[(y*dst.W+x)*3+c]
				t := (int(*v)*alpha+255*(255-alpha))*128 + 0x80*128
				*v = uint8(((t>>8 + t) >> 8) >> 7)
			}
		}
	}
	return dst
}

func (p *RGB) fromAny(src image.Image) {
	b := src.Bounds()
	for y := range p.H {
		for x := range p.W {
			at := src.At(b.Min.X+x, b.Min.Y+y)
			if deep, ok := at.(color.NRGBA64); ok { // the high bytes, as Pillow reads such a file
				at = color.NRGBA{uint8(deep.R >> 8), uint8(deep.G >> 8), uint8(deep.B >> 8), 255}
			}
			c := color.NRGBAModel.Convert(at).(color.NRGBA)
			i := (y*p.W + x) * 3
			p.Pix[i], p.Pix[i+1], p.Pix[i+2] = c.R, c.G, c.B
		}
	}
}

// Image is p as an image of the standard library.
func (p *RGB) Image() *image.NRGBA {
	dst := image.NewNRGBA(image.Rect(0, 0, p.W, p.H))
	for i := range p.W * p.H {
		copy(dst.Pix[i*4:], p.Pix[i*3:i*3+3])
		dst.Pix[i*4+3] = 0xff
	}
	return dst
}

// Crop is the w × h pixels around the centre; what lies outside the picture is black. An odd margin's extra
// pixel is on the right and at the bottom, as in transformers' center_crop.
func (p *RGB) Crop(w, h int) *RGB {
	dst := NewRGB(w, h)
	left, top := floorHalf(p.W-w), floorHalf(p.H-h)
	if w > p.W || h > p.H { // transformers pads first, and rounds the pad up
		left, top = -ceilHalf(max(w, p.W)-p.W)+(max(w, p.W)-w)/2, -ceilHalf(max(h, p.H)-p.H)+(max(h, p.H)-h)/2
	}
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

func floorHalf(n int) int { return n >> 1 }
func ceilHalf(n int) int  { return (n + 1) >> 1 }

// Tensor is p as [H,W,3] in -1 (black) to 1 (white), what a VAE reads.
func (p *RGB) Tensor() *tensor.Dense {
	data := make([]float32, len(p.Pix))
	for i, v := range p.Pix {
		data[i] = float32(v)/127.5 - 1
	}
	return tensor.New(tensor.WithShape(p.H, p.W, 3), tensor.WithBacking(data))
}

// FromTensor makes a picture of [H,W,3] values in -1 to 1, as diffusers does: clamped, rounded to even. NaN is
// an error.
func FromTensor(t *tensor.Dense) (*RGB, error) {
	s := t.Shape()
	if t.Dtype() != tensor.Float32 || len(s) != 3 || s[2] != 3 {
		return nil, fmt.Errorf("picture: tensor is %v %v, not float32 [H,W,3]", t.Dtype(), s)
	}
	return FromValues(t.Float32s(), s[1], s[0])
}

// FromValues is FromTensor of h × w × 3 values.
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
