package picture

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"encoding/hex"
	"image"
	"io"
	"iter"
	"regexp"
)

// orientation returns how a file's picture is to be turned: 1 to 8 as EXIF 2.3 has it (tag 0x0112),
// a whole number of 2 or 4 bytes in either byte order. Where no EXIF has the tag, it is what XMP
// has (tiff:Orientation). It is 1 if neither says. EXIF and XMP may come before the pixels or
// behind them. In a PNG, EXIF may also be a text, as ImageMagick writes it, and XMP compressed. In
// a WebP, what its flags do not announce does not count.
func orientation(data []byte) int {
	var tiff, profile, xmp []byte
	flags := byte(0xff) // of what a WebP has; the others have none
	if bytes.HasPrefix(data, []byte("RIFF")) {
		flags = 0
	}
	for kind, body := range sections(data) {
		begins := func(with string) bool { return bytes.HasPrefix(body, []byte(with)) }
		rest := body
		for marked := true; marked; { // some programs write the mark twice
			rest, marked = bytes.CutPrefix(rest, []byte("Exif\x00\x00"))
		}
		switch {
		case kind == "VP8X" && len(body) > 0:
			flags = body[0]
		case kind == "eXIf":
			tiff = rest // the last one, and before any text
		case kind == "EXIF" && flags&(1<<3) != 0, kind == jpegApp1 && len(rest) < len(body):
			if tiff == nil {
				tiff = rest
			}
		case (kind == "tEXt" || kind == "zTXt") && begins(rawProfile):
			profile = fromRawProfile(kind, body[len(rawProfile):])
		case kind == "XMP " && flags&(1<<2) != 0:
			xmp = body
		case kind == "iTXt" && begins(xmpInPNG):
			xmp = textOf(body[len(xmpInPNG):])
		case kind == jpegApp1 && begins("http://ns.adobe.com/xap/1.0/\x00"):
			xmp = body
		}
	}
	if tiff == nil {
		tiff = profile
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

const (
	xmpInPNG   = "XML:com.adobe.xmp\x00"
	rawProfile = "Raw profile type exif\x00"
	mostText   = 1 << 20 // bytes of a note that is inflated
)

var xmpOrientation = regexp.MustCompile(`tiff:Orientation(?:="|>)([0-9])`)

// inflate returns what zlib has made smaller, or nothing.
func inflate(data []byte) []byte {
	r, err := zlib.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil
	}
	text, err := io.ReadAll(io.LimitReader(r, mostText))
	if err != nil {
		return nil
	}
	return text
}

// textOf is the text of an iTXt chunk behind its keyword: a flag and a method of compression, the
// language and the keyword in it, each ended by a zero byte, and the text.
func textOf(body []byte) []byte {
	if len(body) < 2 {
		return nil
	}
	parts := bytes.SplitN(body[2:], []byte{0}, 3)
	text := parts[len(parts)-1]
	if body[0] == 1 {
		return inflate(text)
	}
	return text
}

// fromRawProfile is the EXIF in a text of ImageMagick: a newline, what it is, its size, and the
// bytes in hexadecimal digits.
func fromRawProfile(kind string, text []byte) []byte {
	if kind == "zTXt" && len(text) > 0 {
		text = inflate(text[1:])
	}
	lines := bytes.Split(text, []byte("\n"))
	if len(lines) < 4 {
		return nil
	}
	tiff, err := hex.DecodeString(string(bytes.Join(lines[3:], nil)))
	if err != nil {
		return nil
	}
	for marked := true; marked; {
		tiff, marked = bytes.CutPrefix(tiff, []byte("Exif\x00\x00"))
	}
	return tiff
}

// exifOrientation returns the tag's value, and false if the TIFF within EXIF has no such tag.
func exifOrientation(tiff []byte) (int, bool) {
	var order binary.ByteOrder = binary.LittleEndian
	if bytes.HasPrefix(tiff, []byte("MM")) {
		order = binary.BigEndian
	} else if !bytes.HasPrefix(tiff, []byte("II")) {
		return 0, false
	}
	const entry = 12 // bytes: tag, type, count, value
	if len(tiff) < 8 || uint64(order.Uint32(tiff[4:]))+2 > uint64(len(tiff)) {
		return 0, false
	}
	directory := tiff[order.Uint32(tiff[4:]):]
	entries := directory[2:]
	for range order.Uint16(directory) {
		if len(entries) < entry {
			break
		}
		if order.Uint16(entries) == 0x0112 {
			return whole(tiff, entries, order)
		}
		entries = entries[entry:]
	}
	return 0, false
}

// whole returns the first whole number that an entry of a TIFF's directory has.
func whole(tiff, entry []byte, order binary.ByteOrder) (int, bool) {
	sizes := map[uint16]uint64{3: 2, 4: 4, 5: 8, 8: 2, 9: 4} // SHORT, LONG, RATIONAL, signed ones
	size, count, value := sizes[order.Uint16(entry[2:])], order.Uint32(entry[4:]), entry[8:]
	if size*uint64(count) > 4 {
		value = tiff[min(uint64(order.Uint32(value)), uint64(len(tiff))):]
	}
	switch {
	case size == 0 || count == 0 || uint64(len(value)) < size*uint64(count):
		return 0, false
	case size == 2:
		return int(order.Uint16(value)), true
	case size == 4:
		return int(order.Uint32(value)), true
	}
	n, of := order.Uint32(value), order.Uint32(value[4:])
	if of == 0 || n%of != 0 {
		return 0, true
	}
	return int(n / of), true
}

// jpegApp1 is the marker of the segments in which a JPEG has EXIF and XMP.
const jpegApp1 = "\xe1"

// sections yields the parts of a file: a JPEG's segments with their markers, up to that which its
// pixels follow, and the chunks of a PNG or a WebP with their names.
func sections(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		switch {
		case bytes.HasPrefix(data, []byte("\xff\xd8")):
			for data = data[2:]; len(data) >= 4; {
				// Bytes that are no marker's are passed over, as libjpeg does it.
				if data[0] != 0xff || data[1] == 0xff {
					data = data[1:]
					continue
				}
				if data[1] == 0 || 0xd0 <= data[1] && data[1] <= 0xd7 { // alone, without a size
					data = data[2:]
					continue
				}
				size := 2 + int(binary.BigEndian.Uint16(data[2:]))
				if size < 4 || size > len(data) || !yield(string(data[1:2]), data[4:size]) ||
					data[1] == startOfScan {
					return
				}
				data = data[size:]
			}
		case bytes.HasPrefix(data, []byte(signature)):
			for data = data[len(signature):]; len(data) >= 12; {
				size := uint64(binary.BigEndian.Uint32(data))
				kind := string(data[4:8])
				if size+12 > uint64(len(data)) || !yield(kind, data[8:8+size]) || kind == "IEND" {
					return
				}
				data = data[12+size:]
			}
		case bytes.HasPrefix(data, []byte("RIFF")) && len(data) > 12:
			chunks(data[12:])(yield)
		}
	}
}

// chunks yields the chunks of a RIFF file, or of a chunk that consists of chunks.
func chunks(data []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for len(data) >= 8 {
			size := uint64(binary.LittleEndian.Uint32(data[4:]))
			if size+8 > uint64(len(data)) || !yield(string(data[:4]), data[8:8+size]) {
				return
			}
			data = data[min(8+size+size%2, uint64(len(data))):]
		}
	}
}

// section returns the first part of a kind, or nil.
func section(data []byte, kind string) []byte {
	for name, body := range sections(data) {
		if name == kind {
			return body
		}
	}
	return nil
}

// offset is the place in a file where one of its sections begins.
func offset(data, body []byte) int { return cap(data) - cap(body) }

// upright turns a picture by its orientation, as Pillow's exif_transpose does.
func upright(src image.Image, orientation int) image.Image {
	if orientation == 1 {
		return src
	}
	p, ok := src.(*image.NRGBA)
	if !ok || p.Rect.Min != (image.Point{}) {
		p = withoutAlpha(src).withAlpha(alphas(src))
	}
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
