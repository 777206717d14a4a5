package picture

import (
	"bytes"
	"fmt"
)

// Markers of a JPEG's segments (ITU-T T.81, table B.1).
const (
	startOfScan     = 0xda
	restartInterval = 0xdd
	adobe           = 0xee
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
	restart bool
	adobe   bool
}

func headerOf(data []byte) (h jpegHeader) {
	for name, body := range sections(data) {
		switch marker := name[0]; {
		case marker == restartInterval && len(body) >= 2:
			h.restart = body[0]|body[1] != 0
		case marker == adobe && bytes.HasPrefix(body, []byte("Adobe")):
			h.adobe = true
		case marker == startOfScan:
			h.scan = body
		case rare[marker] != "", 0xc0 <= marker && marker <= progressive:
			h.kind, h.frame = marker, body
		}
	}
	return h
}

// mendJPEG names JPEGs that the standard library cannot read, or would read wrongly. To one of four
// inks without Adobe's mark it adds that mark, because Pillow reads those inks as Adobe's too.
func mendJPEG(data []byte) ([]byte, error) {
	h := headerOf(data)
	if len(h.frame) < 6 || len(h.frame) != 6+3*int(h.frame[5]) || len(h.scan) < 1 {
		return data, nil // the decoder says what is wrong
	}
	fail := func(format string, args ...any) ([]byte, error) {
		return nil, fmt.Errorf("it is "+format+", which is not read; "+again, args...)
	}
	channels, sampling := int(h.frame[5]), func(channel int) byte { return h.frame[7+3*channel] }
	apart := channels > 1 && (h.kind == progressive || int(h.scan[0]) < channels)
	subsampled := false
	for i := 1; i < channels; i++ {
		subsampled = subsampled || sampling(i) != sampling(0)
	}
	switch {
	case rare[h.kind] != "":
		return fail("%s", rare[h.kind])
	case h.frame[0] != 8:
		return fail("a JPEG of %d bits a colour", h.frame[0])
	case apart && h.restart && sampling(0) != 0x11:
		return fail("a progressive JPEG with restart markers")
	case apart && subsampled && sampling(1) != 0x11:
		return fail("a progressive JPEG of rare sampling factors")
	case channels == 4 && !h.adobe:
		const mark = "\xff\xee\x00\x0eAdobe\x00\x64\x00\x00\x00\x00\x00"
		return append([]byte("\xff\xd8"+mark), data[2:]...), nil
	}
	return data, nil
}

// pixelsOf is the part of a JPEG behind the header of its first scan.
func pixelsOf(data []byte) []byte {
	for name, body := range sections(data) {
		if name[0] == startOfScan {
			return data[offset(data, body)+len(body):]
		}
	}
	return nil
}
