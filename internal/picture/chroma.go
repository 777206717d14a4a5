package picture

import "image"

// A JPEG (and a lossy WebP) holds its chroma at half the resolution. The standard library repeats
// each chroma value. Here chroma is interpolated and converted as in libjpeg, so that a file gives
// the pixels that Pillow sees.

// colours converts luma and chroma (0 to 255) in 16-bit fixed point.
type colours struct {
	luma, offset                    int32 // of luma: scale and black
	redCr, greenCb, greenCr, blueCb int32
}

// The ranges of luma: jfif is the full range of JPEG files (jdcolor.c), and video the range 16 to
// 235 of VP8 (ITU-R BT.601). With plain, channels are not converted.
var (
	plain = colours{}
	jfif  = colours{65536, 0, 91881, 22554, 46802, 116130}
	video = colours{76309, 16, 104597, 25675, 53279, 132201}
)

func (c colours) set(rgb []uint8, y, cb, cr uint8) {
	if c.luma == 0 { // plain
		rgb[0], rgb[1], rgb[2] = y, cb, cr
		return
	}
	const half = 1 << 15
	l := c.luma*(int32(y)-c.offset) + half
	b, r := int32(cb)-128, int32(cr)-128
	rgb[0] = clamp8((l + c.redCr*r) >> 16)
	rgb[1] = clamp8((l - c.greenCb*b - c.greenCr*r) >> 16)
	rgb[2] = clamp8((l + c.blueCb*b) >> 16)
}

func clamp8(v int32) uint8 { return uint8(min(max(v, 0), 255)) }

// fromYCbCr fills p with the picture that planes of luma and chroma hold.
func (p *RGB) fromYCbCr(src *image.YCbCr, c colours) {
	columns, rows := halves(src.SubsampleRatio)
	cw, ch := p.W, p.H
	if columns {
		cw = (p.W + 1) / 2
	}
	if rows {
		ch = (p.H + 1) / 2
	}
	repeats := c != video && columns && cw <= 2 // libjpeg interpolates no less than three columns
	if src.Rect.Min != (image.Point{}) || !columns && !rows || repeats {
		p.fromPlanes(src, c)
		return
	}
	up := chroma{
		w: cw, h: ch, stride: src.CStride,
		columns: columns, rows: rows,
		sum:  make([]int32, cw),
		blue: make([]uint8, 2*cw),
		red:  make([]uint8, 2*cw),
	}
	for y := range p.H {
		up.row(up.blue, src.Cb, y)
		up.row(up.red, src.Cr, y)
		for x := range p.W {
			c.set(p.Pix[(y*p.W+x)*3:], src.Y[y*src.YStride+x], up.blue[x], up.red[x])
		}
	}
}

// fromPlanes is fromYCbCr without interpolation: each pixel gets the nearest chroma.
func (p *RGB) fromPlanes(src *image.YCbCr, c colours) {
	b := src.Bounds()
	for y := range p.H {
		for x := range p.W {
			i, j := src.YOffset(b.Min.X+x, b.Min.Y+y), src.COffset(b.Min.X+x, b.Min.Y+y)
			c.set(p.Pix[(y*p.W+x)*3:], src.Y[i], src.Cb[j], src.Cr[j])
		}
	}
}

// halves reports whether chroma has half the columns and half the rows.
func halves(r image.YCbCrSubsampleRatio) (columns, rows bool) {
	switch r {
	case image.YCbCrSubsampleRatio420:
		return true, true
	case image.YCbCrSubsampleRatio422:
		return true, false
	case image.YCbCrSubsampleRatio440:
		return false, true
	}
	return false, false
}

// A chroma doubles planes of w × h values. A new value is three parts of the nearest old one and
// one part of the next nearest (jdsample.c calls it "fancy upsampling").
type chroma struct {
	w, h, stride  int
	columns, rows bool // which are doubled
	sum           []int32
	blue, red     []uint8
}

// row writes row y of the doubled plane.
func (c *chroma) row(dst, plane []uint8, y int) {
	near, far := y, y
	if c.rows {
		near = y / 2
		far = min(max(near-1+y%2*2, 0), c.h-1)
	}
	for x := range c.w {
		c.sum[x] = int32(plane[near*c.stride+x])
		if c.rows {
			c.sum[x] = 3*c.sum[x] + int32(plane[far*c.stride+x])
		}
	}
	if !c.columns {
		for x, v := range c.sum {
			dst[x] = uint8((v + 1 + int32(y%2)) >> 2)
		}
		return
	}
	roundLeft, roundRight, shift := int32(8), int32(7), 4
	if !c.rows {
		roundLeft, roundRight, shift = 1, 2, 2
	}
	for x, v := range c.sum {
		left, right := c.sum[max(x-1, 0)], c.sum[min(x+1, c.w-1)]
		dst[2*x] = uint8((3*v + left + roundLeft) >> shift)
		dst[2*x+1] = uint8((3*v + right + roundRight) >> shift)
	}
}
