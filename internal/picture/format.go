package picture

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"
)

// A magic is what files of a format have at a place near their beginning.
type magic struct {
	at    int
	bytes string
	what  string
}

// magics are formats that are not read, most of them of pictures.
var magics = []magic{
	{0, "GIF8", "a GIF picture"},
	{4, "ftypavif", "an AVIF picture"},
	{4, "ftypavis", "an AVIF animation"},
	{4, "ftyphei", "a HEIC picture"},
	{4, "ftyphev", "a HEIC animation"},
	{4, "ftypmif1", "a HEIF picture (HEIC or AVIF)"},
	{4, "ftypmsf1", "a HEIF animation (HEIC or AVIF)"},
	{4, "ftypcrx", "a raw photograph (CR3)"},
	{4, "ftyp", "a video (MP4 or MOV)"},
	{0, "\x00\x00\x00\x0cJXL \r\n\x87\n", "a JPEG XL picture"},
	{0, "\xff\x0a", "a JPEG XL picture"},
	{0, "\x00\x00\x00\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"},
	{0, "\xff\x4f\xff\x51", "a JPEG 2000 picture"},
	{0, "II\xbc", "a JPEG XR picture"},
	{0, "II*\x00", "a TIFF picture or a raw photograph"},
	{0, "MM\x00*", "a TIFF picture or a raw photograph"},
	{0, "II+\x00", "a TIFF picture"},
	{0, "MM\x00+", "a TIFF picture"},
	{0, "FUJIFILMCCD-RAW", "a raw photograph (RAF)"},
	{0, "8BPS", "a Photoshop picture (PSD)"},
	{0, "gimp xcf", "a GIMP picture (XCF)"},
	{0, "BM", "a BMP picture"},
	{0, "\x00\x00\x01\x00", "an icon (ICO)"},
	{0, "icns", "an icon (ICNS)"},
	{0, "\x0a\x05\x01", "a PCX picture"},
	{0, "\x01\xda\x00", "an SGI picture"},
	{0, "\x01\xda\x01", "an SGI picture"},
	{0, "\x8aMNG", "an MNG animation"},
	{0, "\x8bJNG", "a JNG picture"},
	{0, "\x89PNG", "a PNG whose first bytes were changed, as by a transfer as text"},
	{0, "qoif", "a QOI picture"},
	{0, "DDS ", "a DDS picture"},
	{0, "v/1\x01", "an OpenEXR picture"},
	{0, "#?R", "a Radiance HDR picture"},
	{0, "FLIF", "a FLIF picture"},
	{0, "SIMPLE  =", "a FITS picture"},
	{128, "DICM", "a DICOM picture"},
	{0, "%PDF", "a PDF document"},
	{0, "%!PS", "a PostScript document"},
	{8, "AVI ", "a video (AVI)"},
	{0, "\x1aE\xdf\xa3", "a video (WebM or Matroska)"},
	{0, "PK\x03\x04", "a ZIP archive"},
	{0, "\x1f\x8b", "a gzip archive"},
	{0, "7z\xbc\xaf", "a 7z archive"},
	{0, "Rar!", "a RAR archive"},
	{0, "(\xb5/\xfd", "a Zstandard archive"},
	{0, "\x00\x05\x16\x07", "a file that macOS leaves beside others (AppleDouble)"},
	{0, "\x93NUMPY", "a NumPy array"},
	{0, "SQLite format 3", "an SQLite database"},
}

// Looks reports whether a file's first 16 bytes are those of a picture, whether it is read or not.
func Looks(head []byte) bool {
	for _, own := range []magic{{0, "\x89PNG", ""}, {0, "\xff\xd8\xff", ""}, {8, "WEBP", ""}} {
		if own.begins(head) {
			return true
		}
	}
	return slices.ContainsFunc(magics, func(m magic) bool {
		return strings.Contains(m.what, "picture") && m.begins(head) && !readable(head)
	})
}

// begins says whether a file's first bytes have the magic.
func (m magic) begins(head []byte) bool {
	return len(head) >= m.at && bytes.HasPrefix(head[m.at:], []byte(m.bytes))
}

// foreign is the error of a file that does not begin as a picture that is read. It says what the
// file is, as far as its beginning tells.
func foreign(head []byte) error {
	if what, do := identify(head); what != "" {
		return fmt.Errorf("%w: it is %s; %s", ErrFormat, what, do)
	}
	return ErrFormat
}

func identify(head []byte) (what, do string) {
	const save, fetch = "save it again as one of these", "copy or download it again"
	if len(head) == 0 {
		return "an empty file", fetch
	}
	if len(bytes.Trim(head, "\x00")) == 0 {
		return "nothing but zero bytes, as a download that did not end", fetch
	}
	for _, m := range magics {
		if m.bytes == "BM" && readable(head) {
			continue
		}
		if m.begins(head) {
			return m.what, save
		}
	}
	if head[0] == 'P' && len(head) > 2 && strings.ContainsRune("1234567fF", rune(head[1])) &&
		strings.ContainsRune(" \t\r\n", rune(head[2])) {
		return "a Netpbm picture (PBM, PGM, PPM or PAM)", save
	}
	return identifyText(head, save, fetch)
}

func identifyText(head []byte, save, fetch string) (what, do string) {
	text := strings.ToLower(strings.TrimSpace(strings.TrimPrefix(string(head), "\ufeff")))
	begins := func(with ...string) bool {
		for _, w := range with {
			if strings.HasPrefix(text, w) {
				return true
			}
		}
		return false
	}
	markup := begins("<?xml", "<!--", "<!doctype svg", "<svg")
	switch {
	case begins("version https://git-lfs"):
		return "a Git LFS pointer, not the picture that it stands for", "git lfs pull gets that"
	case markup && strings.Contains(text, "<svg"):
		return "an SVG drawing", save
	case begins("<!doctype html", "<html", "<head", "<body", "<script", "<!--"):
		return "a web page", fetch
	case markup:
		return "an XML document", fetch
	case !readable(head):
		return "", ""
	case begins("{", "["):
		return "JSON text", fetch
	}
	return "text", fetch
}

// readable reports whether a file's first bytes are text in UTF-8. The last rune may be cut.
func readable(head []byte) bool {
	for len(head) > 0 {
		r, n := utf8.DecodeRune(head)
		if r == utf8.RuneError && n == 1 && (len(head) >= utf8.UTFMax || utf8.FullRune(head)) ||
			r < ' ' && !strings.ContainsRune("\t\r\n\f", r) {
			return false
		}
		head = head[n:]
	}
	return true
}
