package picture

import (
	"bytes"
	"encoding/binary"
	"image"
)

// orientation is how a file's picture is to be turned: 1 to 8 as EXIF 2.3 has it (tag 0x0112), 1 if the file does not say.
func orientation(data []byte) int {
	tiff := exif(data)
	var order binary.ByteOrder = binary.LittleEndian
	if bytes.HasPrefix(tiff, []byte("MM")) {
		order = binary.BigEndian
	} else if !bytes.HasPrefix(tiff, []byte("II")) {
		return 1
	}
	const entry, short = 12, 3
	if len(tiff) < 8 || uint64(order.Uint32(tiff[4:]))+2 > uint64(len(tiff)) {
		return 1
	}
	directory := tiff[order.Uint32(tiff[4:]):]
	entries := directory[2:]
	for range order.Uint16(directory) {
		if len(entries) < entry {
			break
		}
		if order.Uint16(entries) == 0x0112 && order.Uint16(entries[2:]) == short {
			if o := int(order.Uint16(entries[8:])); 1 <= o && o <= 8 {
				return o
			}
		}
		entries = entries[entry:]
	}
	return 1
}

// exif is the TIFF in a JPEG's segment, a PNG's or a WebP's chunk; nil if there is none.
func exif(data []byte) []byte {
	mark := []byte("Exif\x00\x00")
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xd8")):
		for data = data[2:]; len(data) >= 4 && data[0] == 0xff && data[1] != 0xda; {
			if data[1] == 0xff { // a fill byte
				data = data[1:]
				continue
			}
			size := 2 + int(binary.BigEndian.Uint16(data[2:]))
			if size < 4 || size > len(data) {
				return nil
			}
			if tiff, ok := bytes.CutPrefix(data[4:size], mark); ok && data[1] == 0xe1 {
				return tiff
			}
			data = data[size:]
		}
	case bytes.HasPrefix(data, []byte("\x89PNG")) && len(data) > 8:
		for data = data[8:]; len(data) >= 12; {
			size := uint64(binary.BigEndian.Uint32(data))
			if size+12 > uint64(len(data)) {
				return nil
			}
			if string(data[4:8]) == "eXIf" {
				return data[8 : 8+size]
			}
			data = data[12+size:]
		}
	case bytes.HasPrefix(data, []byte("RIFF")) && len(data) > 12:
		for data = data[12:]; len(data) >= 8; {
			size := uint64(binary.LittleEndian.Uint32(data[4:]))
			if size+8 > uint64(len(data)) {
				return nil
			}
			if string(data[:4]) == "EXIF" {
				return bytes.TrimPrefix(data[8:8+size], mark)
			}
			data = data[min(8+size+size%2, uint64(len(data))):]
		}
	}
	return nil
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
