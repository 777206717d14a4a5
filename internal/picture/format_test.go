package picture

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What is no PNG, JPEG or WebP is called what it is, whatever its name says.
func TestForeignFiles(t *testing.T) {
	for data, want := range map[string]string{
		"GIF89a":                                 "a GIF picture",
		"\x00\x00\x00\x1cftypavif":               "an AVIF picture",
		"\x00\x00\x00\x1cftypheic":               "a HEIC picture",
		"\x00\x00\x00\x1cftypmif1":               "a HEIF picture",
		"\x00\x00\x00\x1cftypisom":               "a video",
		"\xff\x0a\xfa":                           "a JPEG XL picture",
		"\x00\x00\x00\x0cJXL \r\n\x87\n":         "a JPEG XL picture",
		"\x00\x00\x00\x0cjP  \r\n\x87\n":         "a JPEG 2000 picture",
		"BM\x3a\x00\x00\x00\x00\x00":             "a BMP picture",
		"BMW, a red car":                         "text",
		"II*\x00":                                "a TIFF picture",
		"MM\x00*":                                "a TIFF picture",
		"8BPS\x00\x01":                           "a Photoshop picture",
		"gimp xcf v011":                          "a GIMP picture",
		"qoif":                                   "a QOI picture",
		"P6\n2 2\n255\n\x80":                     "a Netpbm picture",
		"\x00\x00\x01\x00\x01":                   "an icon",
		"\x89PNG\n\x1a\n":                        "a PNG whose first bytes were changed",
		"%PDF-1.7":                               "a PDF document",
		"PK\x03\x04":                             "a ZIP archive",
		"icns\x00\x00\x10\x00":                   "an icon (ICNS)",
		"\x0a\x05\x01\x08\x00\x00":               "a PCX picture",
		"\x01\xda\x01\x01":                       "an SGI picture",
		"\x00\x05\x16\x07\x00\x02":               "a file that macOS leaves beside others",
		"RIFF\x10\x00\x00\x00AVI LIST":           "a video (AVI)",
		"<!DOCTYPE html><html><body>404</body>":  "a web page",
		"\ufeff \n<HTML>":                        "a web page",
		"<?xml version='1.0'?><svg></svg>":       "an SVG drawing",
		"<svg xmlns='http://www.w3.org/2000/sv'": "an SVG drawing",
		"<?xml version='1.0'?><Error><Code>":     "an XML document",
		`{"error":"Repository not found"}`:       "JSON text",
		"version https://git-lfs.github.com/spec/v1\noid sha256:00\n": "a Git LFS pointer",
		"Zwei grüne Hunde":                   "text",
		strings.Repeat("ü", 600)[:1024]:      "text",
		"":                                   "an empty file",
		strings.Repeat("\x00", 5000):         "nothing but zero bytes",
		"\x00\x01\x02\x03":                   "not a PNG, JPEG or WebP picture",
		strings.Repeat("\x00", 128) + "DICM": "a DICOM picture",
		"\x1f\x8b\x08":                       "a gzip archive",
		"AppleDouble":                        "text",
		"RIFF\x10\x00\x00\x00WAVEfmt \x00\x00\x01": "not a PNG, JPEG or WebP picture",
	} {
		_, err := Decode(strings.NewReader(data), "a.png")
		require.ErrorIs(t, err, ErrFormat, "%q", data)
		require.ErrorContains(t, err, "a.png")
		require.ErrorContains(t, err, want, "%q", data)
	}
}

// A file's name does not decide what it is.
func TestNameDoesNotMatter(t *testing.T) {
	for _, name := range []string{"444.jpg", "alpha.png", "lossy.webp"} {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		for _, other := range []string{"a.png", "a.jpg", "a.webp", "a"} {
			file := filepath.Join(t.TempDir(), other)
			require.NoError(t, os.WriteFile(file, data, 0o644))
			img, err := Read(file)
			require.NoError(t, err)
			require.Equal(t, read(t, name), FromImage(img))
		}
	}
}

// JPEGs of kinds that are not read are called by their name, with what to do, and not broken.
func TestRareJPEGs(t *testing.T) {
	whole, err := os.ReadFile("testdata/420.jpg")
	require.NoError(t, err)
	frame := bytes.Index(whole, []byte("\xff\xc0"))
	changed := func(at int, b byte) []byte {
		data := bytes.Clone(whole)
		data[frame+at] = b
		return data
	}
	from := bytes.Index(whole, []byte("\xff\xc4"))
	untabled := slices.Concat(whole[:from], whole[bytes.Index(whole, []byte("\xff\xda")):])
	restarting := slices.Insert(changed(1, 0xc2), frame, []byte("\xff\xdd\x00\x04\x00\x02")...)
	for want, data := range map[string][]byte{
		"a lossless JPEG":                         changed(1, 0xc3),
		"a hierarchical JPEG":                     changed(1, 0xc5),
		"a JPEG with arithmetic coding":           changed(1, 0xc9),
		"a JPEG-LS picture":                       changed(1, 0xf7),
		"a JPEG of 12 bits a colour":              changed(4, 12),
		"a JPEG of a rare kind":                   changed(11, 0x31),
		"luma/chroma subsampling ratio":           changed(14, 0x22),
		"a progressive JPEG with restart markers": restarting,
		"a frame of a film (Motion JPEG)":         untabled,
	} {
		_, err := Decode(bytes.NewReader(data), "a.jpg")
		require.ErrorContains(t, err, want)
		require.ErrorContains(t, err, "save it again as PNG or as baseline JPEG")
		require.NotContains(t, err.Error(), "broken")
	}
}

// A file that is cut off is called so, wherever it is cut. What follows a picture does not matter.
func TestCutOffAndLonger(t *testing.T) {
	for _, name := range []string{
		"444.jpg", "cmyk.jpg", "grey.jpg", "alpha.png", "palette.png", "lossy.webp",
		"alpha_lossy.webp", "lossless.webp",
	} {
		whole, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		for cut := len(whole) - 1; cut > 64; cut -= 1 + len(whole)/50 {
			_, err := Decode(bytes.NewReader(whole[:cut]), name)
			require.ErrorContains(t, err, "the file ends before the picture does", name, cut)
			require.ErrorContains(t, err, name+": broken ")
		}
		img, err := Decode(bytes.NewReader(append(whole, "and more"...)), name)
		require.NoError(t, err)
		require.Equal(t, read(t, name), FromImage(img))
	}
}

// A PNG of shades of grey may have a palette, which says nothing.
func TestGreyWithPalette(t *testing.T) {
	whole, err := os.ReadFile("testdata/grey.png")
	require.NoError(t, err)
	var palette bytes.Buffer
	writeChunk(&palette, "PLTE", "abcdef")
	const header = 8 + 25
	img, err := Decode(bytes.NewReader(slices.Insert(whole, header, palette.Bytes()...)), "a.png")
	require.NoError(t, err)
	require.Equal(t, read(t, "grey.png"), FromImage(img))
}

// tiff is a TIFF of one entry: the orientation, as a value of a type.
func tiff(order binary.AppendByteOrder, kind uint16, count uint32, value []byte) []byte {
	b := []byte("II*\x00")
	if order.String() == "BigEndian" {
		b = []byte("MM\x00*")
	}
	b = order.AppendUint16(order.AppendUint32(b, 8), 1)
	b = order.AppendUint32(order.AppendUint16(order.AppendUint16(b, 0x0112), kind), count)
	const after = 8 + 2 + 12 + 4 // where what is longer than four bytes is
	if len(value) > 4 {
		b = order.AppendUint32(b, after)
		return append(order.AppendUint32(b, 0), value...)
	}
	return order.AppendUint32(append(b, append(value, 0, 0, 0, 0)[:4]...), 0)
}

// An orientation is a whole number of any width, in either byte order, before the pixels or behind
// them, in a PNG also as ImageMagick writes it.
func TestOrientationInEXIF(t *testing.T) {
	png, err := os.ReadFile("testdata/grey.png")
	require.NoError(t, err)
	const header, end = 8 + 25, 12
	with := func(at int, kind, data string) []byte {
		var b bytes.Buffer
		writeChunk(&b, kind, data)
		return slices.Insert(bytes.Clone(png), at, b.Bytes()...)
	}
	for _, order := range []binary.AppendByteOrder{binary.LittleEndian, binary.BigEndian} {
		short := func(v uint16) []byte { return order.AppendUint16(nil, v) }
		long := func(v uint32) []byte { return order.AppendUint32(nil, v) }
		for _, c := range []struct {
			kind  uint16
			count uint32
			value []byte
			want  int
		}{
			{3, 1, short(6), 6},
			{4, 1, long(6), 6},
			{8, 1, short(8), 8},
			{9, 1, long(3), 3},
			{3, 2, append(short(6), short(1)...), 6},
			{4, 2, append(long(7), long(1)...), 7},
			{5, 1, append(long(12), long(2)...), 6},
			{5, 1, append(long(11), long(2)...), 1},
			{5, 1, append(long(11), long(0)...), 1},
			{3, 0, short(6), 1},
			{1, 1, []byte{6}, 1}, // as in Pillow
			{2, 2, []byte("6\x00"), 1},
			{3, 1, short(9), 1},
			{4, 1, long(6 << 16), 1},
			{4, 2, make([]byte, 5), 1}, // behind the end
		} {
			exif := tiff(order, c.kind, c.count, c.value)
			says := fmt.Sprintf("%v, type %d, %d", order, c.kind, c.count)
			require.Equal(t, c.want, orientation(with(header, "eXIf", string(exif))), says)
			require.Equal(t, c.want, orientation(with(len(png)-end, "eXIf", string(exif))), says)
			marked := "Exif\x00\x00" + string(exif)
			require.Equal(t, c.want, orientation(with(header, "eXIf", marked)), says)
			text := fmt.Sprintf("Raw profile type exif\x00\nexif\n%8d\n%x\n", len(marked), marked)
			require.Equal(t, c.want, orientation(with(header, "tEXt", text)), says)
			segment := []byte("\xff\xd8\xff\xe1")
			segment = binary.BigEndian.AppendUint16(segment, uint16(2+len(marked)))
			require.Equal(t, c.want, orientation(append(segment, marked...)), says)
		}
	}
}

// Where the segments and chunks are that say how to turn: in each case it is as in Pillow.
func TestOrientationIsWherePillowReadsIt(t *testing.T) {
	six := "Exif\x00\x00" + string(tiff(binary.LittleEndian, 3, 1, []byte{6, 0}))
	eight := "Exif\x00\x00" + string(tiff(binary.BigEndian, 3, 1, []byte{0, 8}))
	segment := func(body string) string {
		return string(binary.BigEndian.AppendUint16([]byte("\xff\xe1"), uint16(2+len(body)))) + body
	}
	for between, want := range map[string]int{
		"": 6, "\x00": 6, "junk": 6, "\xff\xff": 6, "\xff\x00": 6, "\xff\xd0": 6,
		segment(eight): 8, segment("http://ns.adobe.com/xap/1.0/\x00"): 6,
		"\xff\xda\x00\x02": 1, // pixels follow, and no more segments
	} {
		jpeg := "\xff\xd8" + between + segment(six)
		require.Equal(t, want, orientation([]byte(jpeg)), "%q", between)
	}
	png := func(chunks ...string) []byte {
		b := bytes.NewBufferString(signature)
		for i := 0; i < len(chunks); i += 2 {
			writeChunk(b, chunks[i], chunks[i+1])
		}
		return b.Bytes()
	}
	text := fmt.Sprintf("Raw profile type exif\x00\nexif\n%8d\n%x\n", len(eight), eight)
	require.Equal(t, 6, orientation(png("eXIf", six, "IEND", "")))
	require.Equal(t, 1, orientation(png("IEND", "", "eXIf", six)))
	require.Equal(t, 8, orientation(png("eXIf", six, "eXIf", eight)))
	require.Equal(t, 6, orientation(png("eXIf", six, "tEXt", text)))
	require.Equal(t, 6, orientation(png("tEXt", text, "eXIf", six)))
	webp := func(flags string) []byte {
		exif := string(binary.LittleEndian.AppendUint32([]byte("EXIF"), uint32(len(six)))) + six
		return []byte("RIFF\x00\x00\x00\x00WEBP" + flags + exif)
	}
	require.Equal(t, 6, orientation(webp("VP8X\x0a\x00\x00\x00\x08"+strings.Repeat("\x00", 9))))
	require.Equal(t, 1, orientation(webp("VP8X\x0a\x00\x00\x00\x04"+strings.Repeat("\x00", 9))))
	require.Equal(t, 1, orientation(webp("")))
}

// ResizeCrop is Crop of Resize, whatever the sizes.
func TestResizeCrop(t *testing.T) {
	p := read(t, "source.png") // 53×37
	for f := Nearest; f.Valid(); f++ {
		for _, c := range [][4]int{
			{16, 11, 11, 11}, {90, 101, 50, 50}, {48, 9, 9, 9}, {53, 20, 20, 20}, {30, 37, 30, 30},
			{53, 37, 37, 37}, {53, 37, 60, 41}, {20, 14, 33, 8}, {400, 20, 16, 16}, {9, 300, 7, 4},
		} {
			want := p.Resize(c[0], c[1], f).Crop(c[2], c[3])
			require.Equal(t, want, p.ResizeCrop(c[0], c[1], f, c[2], c[3]), "filter %d, %v", f, c)
		}
	}
	// A thread of 1×600 becomes 512×307200, of which 512×512 are kept: no more memory is taken.
	thread := NewRGB(1, 600)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	thread.ResizeCrop(512, 512*600, Bicubic, 512, 512)
	runtime.ReadMemStats(&after)
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(4<<20))
}

func TestSlender(t *testing.T) {
	for _, size := range [][2]int{{1, 1}, {1, 32}, {320, 10}, {333, 16}, {512, 512}} {
		require.NoError(t, Slender(size[0], size[1]))
	}
	for _, size := range [][2]int{{1, 33}, {20000, 1}, {321, 10}} {
		require.ErrorContains(t, Slender(size[0], size[1]),
			fmt.Sprintf("%d×%d pixels: one side is more than 32 times", size[0], size[1]))
	}
}
