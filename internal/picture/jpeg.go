package picture

import (
	"bytes"
	"fmt"
	"image"
)

// Markers of a JPEG's segments (ITU-T T.81, table B.1).
const (
	huffmanTables   = 0xc4
	startOfScan     = 0xda
	restartInterval = 0xdd
	jfifMark        = 0xe0
	adobeMark       = 0xee
	progressive     = 0xc2
)

// again is what to do about a picture of a kind that is not read.
const again = "save it again as PNG or as baseline JPEG"

// rare are the kinds of JPEGs that are not read, by the marker of their frame.
var rare = map[byte]string{
	0xc3: "a lossless JPEG",
	0xc5: "a hierarchical JPEG", 0xc6: "a hierarchical JPEG", 0xc7: "a hierarchical JPEG",
	0xc9: "a JPEG with arithmetic coding", 0xca: "a JPEG with arithmetic coding",
	0xcb: "a lossless JPEG with arithmetic coding",
	0xcd: "a hierarchical JPEG", 0xce: "a hierarchical JPEG", 0xcf: "a hierarchical JPEG",
	0xf7: "a JPEG-LS picture",
}

// A jpegHeader is what the segments before a JPEG's pixels say.
type jpegHeader struct {
	kind    byte   // the frame's marker
	frame   []byte // precision, height, width, channels and three bytes for each channel
	scan    []byte // the number of channels, and more
	tables  bool   // for Huffman's codes
	restart bool
	jfif    bool
	adobe   []byte // Adobe's mark, of which the byte 11 says how colours are stored
}

func headerOf(data []byte) (h jpegHeader) {
	for name, body := range sections(data) {
		switch marker := name[0]; {
		case marker == restartInterval && len(body) >= 2:
			h.restart = body[0]|body[1] != 0
		case marker == huffmanTables:
			h.tables = true
		case marker == jfifMark && len(body) >= 14 && bytes.HasPrefix(body, []byte("JFIF\x00")):
			h.jfif = true
		case marker == adobeMark && len(body) >= 12 && bytes.HasPrefix(body, []byte("Adobe")):
			h.adobe = body
		case marker == startOfScan:
			h.scan = body
		case rare[marker] != "", 0xc0 <= marker && marker <= progressive:
			h.kind, h.frame = marker, body
		}
	}
	if len(h.frame) < 6 || len(h.frame) != 6+3*int(h.frame[5]) || len(h.scan) < 1 {
		h.frame = nil
	}
	return h
}

func (h jpegHeader) channels() int { return int(h.frame[5]) }

// sampling has the factors of a channel, the horizontal one in its upper half.
func (h jpegHeader) sampling(channel int) byte { return h.frame[7+3*channel] }

// plain reports whether channels are colours or inks themselves, as libjpeg decides it (jdapimin.c,
// default_decompress_parms). Otherwise they are luma and chroma.
func (h jpegHeader) plain() bool {
	ids := []byte{h.frame[6], h.frame[9], h.frame[12]}
	switch {
	case h.channels() == 4:
		return h.adobe == nil || h.adobe[11] == 0
	case h.jfif:
		return false
	case h.adobe != nil:
		return h.adobe[11] == 0
	}
	return string(ids) == "RGB"
}

// mendJPEG names JPEGs that the standard library cannot read, or would read wrongly. It changes the
// marks of others so that the library leaves channels as they are stored, for finishJPEG: three
// channels are as if luma and chroma, and four as if inks.
func mendJPEG(data []byte) ([]byte, error) {
	h := headerOf(data)
	if h.frame == nil {
		return data, nil // the decoder says what is wrong
	}
	fail := func(format string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("it is "+format+", which is not read; "+again, args...)
	}
	apart := h.channels() > 1 && (h.kind == progressive || int(h.scan[0]) < h.channels())
	subsampled := false
	for i := 1; i < h.channels(); i++ {
		subsampled = subsampled || h.sampling(i) != h.sampling(0)
	}
	switch {
	case rare[h.kind] != "":
		return fail("%s", rare[h.kind])
	case h.frame[0] != 8:
		return fail("a JPEG of %d bits a colour", h.frame[0])
	case !h.tables && h.kind != progressive:
		return fail("a frame of a film (Motion JPEG), which lacks tables")
	case apart && h.restart && h.sampling(0) != 0x11:
		return fail("a progressive JPEG with restart markers")
	case apart && subsampled && h.sampling(1) != 0x11:
		return fail("a progressive JPEG of rare sampling factors")
	case h.channels() == 3 && !h.jfif:
		const mark = "\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00"
		return append([]byte("\xff\xd8"+mark), data[2:]...), nil
	case h.channels() == 4 && h.adobe == nil:
		const mark = "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
		return append([]byte("\xff\xd8"+mark), data[2:]...), nil
	case h.channels() == 4 && h.adobe[11] != 0:
		mended := bytes.Clone(data)
		mended[offset(data, h.adobe)+11] = 0
		return mended, nil
	}
	return data, nil
}

// finishJPEG makes colours of channels, interpolated where they are stored at a lower resolution.
// Four inks are Adobe's, which stores what they leave of the light, with or without its mark, as
// Pillow reads them.
func finishJPEG(data []byte, img image.Image) (image.Image, error) {
	h := headerOf(data)
	if h.frame == nil || h.channels() < 3 {
		return img, nil
	}
	by := jfif
	if h.plain() {
		by = plain
	}
	switch img := img.(type) {
	case *image.YCbCr:
		if by == jfif {
			return img, nil // FromImage does it
		}
		p := NewRGB(img.Rect.Dx(), img.Rect.Dy())
		p.fromYCbCr(img, by)
		return p.Image(), nil
	case *image.CMYK:
		p := NewRGB(img.Rect.Dx(), img.Rect.Dy())
		p.fromYCbCr(storedInks(img, h.sampling(1) != h.sampling(0)), by)
		for i := range p.W * p.H {
			for c, v := range p.Pix[i*3 : i*3+3] {
				if img.Pix[i*4+c] = v; by == plain {
					img.Pix[i*4+c] = 255 - v
				}
			}
		}
	}
	return img, nil
}

// storedInks are the first three channels of an image of inks as the file has them. The library
// turned their values around, and repeated those of half the resolution.
func storedInks(img *image.CMYK, halved bool) *image.YCbCr {
	ratio, step := image.YCbCrSubsampleRatio444, 1
	if halved {
		ratio, step = image.YCbCrSubsampleRatio420, 2
	}
	planes := image.NewYCbCr(img.Rect, ratio)
	for y := range img.Rect.Dy() {
		for x := range img.Rect.Dx() {
			pixel := img.Pix[y*img.Stride+4*x:]
			planes.Y[y*planes.YStride+x] = 255 - pixel[0]
			if x%step == 0 && y%step == 0 {
				at := y/step*planes.CStride + x/step
				planes.Cb[at], planes.Cr[at] = 255-pixel[1], 255-pixel[2]
			}
		}
	}
	return planes
}

// endsJPEG reports whether there is a mark of the end behind the header of the first scan.
func endsJPEG(data []byte) bool {
	scan := section(data, "\xda")
	return scan != nil && bytes.Contains(data[offset(data, scan):], []byte("\xff\xd9"))
}
