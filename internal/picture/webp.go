package picture

import (
	"encoding/binary"
	"errors"
	"fmt"
	"image"
)

// A frame is a WebP's only picture, or the first one of an animation.
type frame struct {
	canvas image.Point // of an animation, in pixels
	at     image.Point // where the frame is on it
	size   image.Point // of the frame
	alpha  []byte      // the chunk ALPH, of a lossy picture
	kind   string      // "VP8 ", lossy, or "VP8L"
	bits   []byte      // the chunk of that name
	mixed  bool        // the file says that pixels may be transparent
}

// three is a number of three bytes.
func three(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }

// frameOf finds the first frame (RFC 9649, section 2.7). Its kind is "" if there is none.
func frameOf(data []byte) (f frame) {
	take := func(name string, body []byte) {
		switch {
		case f.kind != "":
		case name == "ALPH":
			f.alpha = body
		case name == "VP8 ", name == "VP8L":
			f.kind, f.bits = name, body
		}
	}
	for name, body := range sections(data) {
		take(name, body)
		switch {
		case name == "VP8X" && len(body) >= 10:
			f.mixed = body[0]&(1<<4) != 0
			f.size = image.Pt(three(body[4:])+1, three(body[7:])+1)
		case name == "ANMF" && len(body) >= 16 && f.kind == "":
			f.canvas, f.at = f.size, image.Pt(2*three(body), 2*three(body[3:]))
			f.size = image.Pt(three(body[6:])+1, three(body[9:])+1)
			for name, body := range chunks(body[16:]) {
				take(name, body)
			}
		}
	}
	if f.kind == "VP8L" && f.canvas == (image.Point{}) {
		f.mixed = len(f.bits) >= 5 && f.bits[4]&(1<<4) != 0 // alpha_is_used, RFC 9649, 3.4
	}
	return f
}

// mendWebP is the first frame as a file of its own, without all that says nothing of pixels. The
// decoder of the library reads no animation, and takes flags at their word.
func mendWebP(data []byte) ([]byte, error) {
	f := frameOf(data)
	canvas := image.Rectangle{Max: f.canvas}
	switch {
	case !endsWebP(data):
		return nil, errors.New("broken webp: the file ends before the picture does")
	case f.kind == "":
		return nil, errors.New("broken webp: there is no picture in it")
	case f.canvas.X > 0 && f.canvas.X > MostPixels/f.canvas.Y:
		return nil, fmt.Errorf("%d×%d pixels are not between 1 and %d", f.canvas.X, f.canvas.Y,
			MostPixels)
	case f.canvas.X > 0 && !image.Rectangle{f.at, f.at.Add(f.size)}.In(canvas):
		return nil, errors.New("broken webp: the first frame is not within the canvas")
	}
	out := []byte("RIFF\x00\x00\x00\x00WEBP")
	add := func(name string, body []byte) {
		out = binary.LittleEndian.AppendUint32(append(out, name...), uint32(len(body)))
		out = append(out, body...)
		out = append(out, make([]byte, len(body)%2)...)
	}
	if f.kind == "VP8 " && f.alpha != nil && len(f.bits) >= 10 {
		const alpha = 1 << 4
		w := uint32(binary.LittleEndian.Uint16(f.bits[6:])&0x3fff) - 1
		h := uint32(binary.LittleEndian.Uint16(f.bits[8:])&0x3fff) - 1
		size := binary.LittleEndian.AppendUint64([]byte{alpha, 0, 0, 0}, uint64(h)<<24|uint64(w))
		add("VP8X", size[:10])
		add("ALPH", f.alpha)
	}
	add(f.kind, f.bits)
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out, nil
}

// endsWebP reports whether a file is as long as it says.
func endsWebP(data []byte) bool {
	return len(data) >= 8 && uint64(binary.LittleEndian.Uint32(data[4:]))+8 <= uint64(len(data))
}

// finishWebP converts the planes of a lossy WebP, which are in video range. The standard library
// would take them for those of a JPEG. A lossless WebP stays as it is. Where the file says that
// nothing is transparent, nothing is. The first frame of an animation is put on its canvas, which
// is transparent, or black.
func finishWebP(data []byte, img image.Image) (image.Image, error) {
	f := frameOf(data)
	if f.size != (image.Point{}) && img.Bounds().Size() != f.size {
		return nil, fmt.Errorf("it has %v pixels, and says %v", img.Bounds().Size(), f.size)
	}
	var planes *image.YCbCr
	switch img := img.(type) {
	case *image.YCbCr:
		planes = img
	case *image.NYCbCrA:
		planes = &img.YCbCr
	}
	if planes != nil {
		p := NewRGB(planes.Rect.Dx(), planes.Rect.Dy())
		p.fromYCbCr(planes, video)
		img = p.withAlpha(alphas(img))
	}
	if !f.mixed && alphas(img) != nil {
		img = withoutAlpha(img).Image()
	}
	if f.canvas == (image.Point{}) || f.canvas == f.size {
		return img, nil
	}
	part := withoutAlpha(img).withAlpha(alphas(img))
	canvas := image.NewNRGBA(image.Rectangle{Max: f.canvas})
	for i := 3; i < len(canvas.Pix) && !f.mixed; i += 4 {
		canvas.Pix[i] = 0xff
	}
	for y := range f.size.Y {
		row := part.Pix[y*part.Stride:][:part.Stride]
		copy(canvas.Pix[canvas.PixOffset(f.at.X, f.at.Y+y):], row)
	}
	return canvas, nil
}
