package picture

import (
	"bytes"
	"encoding/binary"
)

// orientation is the EXIF orientation of a JPEG file, 1 to 8 (CIPA DC-008, 4.6.4); 1, as it is stored, if it says nothing.
func orientation(jpeg []byte) int {
	for i := 2; i+4 <= len(jpeg) && jpeg[i] == 0xff; {
		marker, n := jpeg[i+1], int(binary.BigEndian.Uint16(jpeg[i+2:]))
		const scan, app1 = 0xda, 0xe1
		if marker == scan || n < 2 || i+2+n > len(jpeg) {
			return 1
		}
		if tiff, ok := bytes.CutPrefix(jpeg[i+4:i+2+n], []byte("Exif\x00\x00")); ok && marker == app1 {
			return tiffOrientation(tiff)
		}
		i += 2 + n
	}
	return 1
}

func tiffOrientation(tiff []byte) int {
	if len(tiff) < 8 {
		return 1
	}
	var order binary.ByteOrder = binary.BigEndian
	if tiff[0] == 'I' {
		order = binary.LittleEndian
	}
	at := uint64(order.Uint32(tiff[4:]))
	if at+2 > uint64(len(tiff)) {
		return 1
	}
	count, entries := int(order.Uint16(tiff[at:])), tiff[at+2:]
	const size, tag = 12, 0x112
	for ; count > 0 && len(entries) >= size; count, entries = count-1, entries[size:] {
		if order.Uint16(entries) == tag {
			if o := int(order.Uint16(entries[8:])); 1 <= o && o <= 8 {
				return o
			}
		}
	}
	return 1
}

// upright is p turned as an orientation says, as Pillow's exif_transpose turns it.
func (p *RGB) upright(orientation int) *RGB {
	dst := NewRGB(p.W, p.H)
	if orientation >= 5 {
		dst = NewRGB(p.H, p.W)
	}
	for y := range dst.H {
		for x := range dst.W {
			sx, sy := x, y
			if orientation >= 5 { // the stored rows are columns
				sx, sy = y, x
			}
			switch orientation {
			case 2, 3, 7, 8:
				sx = p.W - 1 - sx
			}
			switch orientation {
			case 3, 4, 6, 7:
				sy = p.H - 1 - sy
			}
			copy(dst.Pix[(y*dst.W+x)*3:(y*dst.W+x)*3+3], p.Pix[(sy*p.W+sx)*3:])
		}
	}
	return dst
}
