package picture

import (
	"bytes"
	"encoding/binary"
	"image"
	"iter"
	"regexp"
)

// orientation returns how a file's picture is to be turned: 1 to 8 as EXIF 2.3 has it (tag 0x0112).
// Where no EXIF has the tag, it is what XMP has (tiff:Orientation). It is 1 if neither says.
func orientation(data []byte) int {
	var tiff, xmp []byte
	for kind, body := range sections(data) {
		begins := func(with string) bool { return bytes.HasPrefix(body, []byte(with)) }
		rest, marked := bytes.CutPrefix(body, []byte("Exif\x00\x00"))
		switch {
		case tiff == nil && (kind == "eXIf" || kind == "EXIF" || kind == jpegApp1 && marked):
			tiff = rest
		case kind == "XMP ",
			kind == "iTXt" && begins("XML:com.adobe.xmp\x00"),
			kind == jpegApp1 && begins("http://ns.adobe.com/xap/1.0/\x00"):
			xmp = body
		}
	}
	o, ok := exifOrientation(tiff)
	if m := xmpOrientation.FindSubmatch(xmp); !ok && m != nil {
		o = int(m[1][0] - '0')
	}
	if 1 <= o && o <= 8 {
		return o
	}
	return 1
}

var xmpOrientation = regexp.MustCompile(`tiff:Orientation(?:="|>)([0-9])`)

// exifOrientation returns the tag's value, and false if the TIFF within EXIF has no such tag.
func exifOrientation(tiff []byte) (int, bool) {
	var order binary.ByteOrder = binary.LittleEndian
	if bytes.HasPrefix(tiff, []byte("MM")) {
		order = binary.BigEndian
	} else if !bytes.HasPrefix(tiff, []byte("II")) {
		return 0, false
	}
	const entry, short = 12, 3
	if len(tiff) < 8 || uint64(order.Uint32(tiff[4:]))+2 > uint64(len(tiff)) {
		return 0, false
	}
	directory := tiff[order.Uint32(tiff[4:]):]
	entries := directory[2:]
	for range order.Uint16(directory) {
		if len(entries) < entry {
			break
		}
		if order.Uint16(entries) == 0x0112 && order.Uint16(entries[2:]) == short {
			return int(order.Uint16(entries[8:])), true
		}
		entries = entries[entry:]
	}
	return 0, false
}

// jpegApp1 is the marker of the segments in which a JPEG has EXIF and XMP.
const jpegApp1 = "\xe1"

// sections yields the parts of a file that are not pixels, and maybe the pixels too: a JPEG's
// segments before its pixels with their markers, and the chunks of a PNG or a WebP with their
// names.
func sections(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		switch {
		case bytes.HasPrefix(data, []byte("\xff\xd8")):
			for data = data[2:]; len(data) >= 4 && data[0] == 0xff && data[1] != 0xda; {
				if data[1] == 0xff { // a fill byte
					data = data[1:]
					continue
				}
				size := 2 + int(binary.BigEndian.Uint16(data[2:]))
				if size < 4 || size > len(data) || !yield(string(data[1:2]), data[4:size]) {
					return
				}
				data = data[size:]
			}
		case bytes.HasPrefix(data, []byte("\x89PNG")) && len(data) > 8:
			for data = data[8:]; len(data) >= 12; {
				size := uint64(binary.BigEndian.Uint32(data))
				if size+12 > uint64(len(data)) || !yield(string(data[4:8]), data[8:8+size]) {
					return
				}
				data = data[12+size:]
			}
		case bytes.HasPrefix(data, []byte("RIFF")) && len(data) > 12:
			for data = data[12:]; len(data) >= 8; {
				size := uint64(binary.LittleEndian.Uint32(data[4:]))
				if size+8 > uint64(len(data)) || !yield(string(data[:4]), data[8:8+size]) {
					return
				}
				data = data[min(8+size+size%2, uint64(len(data))):]
			}
		}
	}
}

// upright turns a picture by its orientation, as Pillow's exif_transpose does.
func upright(src image.Image, orientation int) image.Image {
	if orientation == 1 {
		return src
	}
	p := FromImage(src).withAlpha(alphas(src))
	w, h := p.Rect.Dx(), p.Rect.Dy()
	sideways := orientation >= 5
	dst := image.NewNRGBA(p.Rect)
	if sideways {
		dst = image.NewNRGBA(image.Rect(0, 0, h, w))
	}
	for y := range dst.Rect.Dy() {
		for x := range dst.Rect.Dx() {
			sx, sy := x, y
			if sideways {
				sx, sy = y, x
			}
			switch orientation {
			case 2, 7, 3, 8:
				sx = w - 1 - sx
			}
			switch orientation {
			case 3, 4, 6, 7:
				sy = h - 1 - sy
			}
			copy(dst.Pix[dst.PixOffset(x, y):][:4], p.Pix[p.PixOffset(sx, sy):])
		}
	}
	return dst
}
