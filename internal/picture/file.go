package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"image"
	_ "image/jpeg" // a format Decode knows
	"image/png"
	"io"
	"io/fs"
	"os"

	_ "golang.org/x/image/webp" // a format Decode knows

	"github.com/kudos-ml/kudos/internal/file"
)

// ErrFormat means that a file is no PNG, JPEG or WebP picture.
var ErrFormat = errors.New("not a PNG, JPEG or WebP picture")

// MostPixels is the largest number of pixels that is decoded, and Pillow's limit too: a small file
// can claim to be a huge picture.
const MostPixels = 178_956_970

// Read decodes a file and turns the picture upright by its orientation in EXIF or XMP, as
// diffusers' load_image does. Errors name the file. The error of a file that is no picture wraps
// ErrFormat. A picture of more than MostPixels is refused before memory is taken for it.
//
// In two cases Pillow reads something else. What a PNG of 2, 4 or 16 bits names as its transparent
// colour (tRNS) is transparent here; Pillow 13 compares it with values of 8 bits. A progressive
// JPEG with restart markers and subsampled chroma is an error of the standard library.
func Read(name string) (image.Image, error) {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	return decode(name, data)
}

// ReadFS is Read of a file of fsys.
func ReadFS(fsys fs.FS, name string) (image.Image, error) {
	data, err := fs.ReadFile(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	return decode(name, data)
}

// Decode is Read of what r gives. Errors call it by the name given.
func Decode(r io.Reader, name string) (image.Image, error) {
	data, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("picture: %s: %w", name, err)
	}
	return decode(name, data)
}

func decode(name string, data []byte) (image.Image, error) {
	size, format, err := image.DecodeConfig(bytes.NewReader(data))
	if errors.Is(err, image.ErrFormat) {
		return nil, fmt.Errorf("picture: %s: %w", name, ErrFormat)
	}
	if err != nil {
		return nil, fmt.Errorf("picture: %s: broken picture: %w", name, err)
	}
	if size.Width <= 0 || size.Height <= 0 || size.Width > MostPixels/size.Height {
		return nil, fmt.Errorf("picture: %s: %d×%d pixels are not between 1 and %d",
			name, size.Width, size.Height, MostPixels)
	}
	img, _, err := image.Decode(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("picture: %s: broken %s: %w", name, format, err)
	}
	if format == "webp" {
		img = fromWebP(img)
	}
	return upright(img, orientation(data)), nil
}

// fromWebP converts the planes of a lossy WebP, which are in video range. The standard library
// would take them for those of a JPEG. A lossless WebP stays as it is.
func fromWebP(img image.Image) image.Image {
	var planes *image.YCbCr
	switch img := img.(type) {
	case *image.YCbCr:
		planes = img
	case *image.NYCbCrA:
		planes = &img.YCbCr
	default:
		return img
	}
	p := NewRGB(planes.Rect.Dx(), planes.Rect.Dy())
	p.fromYCbCr(planes, video)
	return p.withAlpha(alphas(img))
}

// A Text is a note in a PNG file, such as the prompt that the picture was made from.
type Text struct{ Key, Value string }

// EncodePNG writes img as PNG with notes. A note's key has 1 to 79 bytes. What is written depends
// on img and the notes alone.
func EncodePNG(w io.Writer, img image.Image, notes ...Text) error {
	var b bytes.Buffer
	if err := png.Encode(&b, img); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	const header = 8 + 4 + 4 + 13 + 4 // signature and IHDR
	out := bytes.NewBuffer(bytes.Clone(b.Bytes()[:header]))
	for _, n := range notes {
		if len(n.Key) < 1 || len(n.Key) > 79 {
			return fmt.Errorf("picture: PNG note %q: a key has 1 to 79 characters", n.Key)
		}
		// Keyword, no compression, no language, no translation (PNG specification, 11.3.3.4).
		writeChunk(out, "iTXt", n.Key+"\x00\x00\x00\x00\x00"+n.Value)
	}
	out.Write(b.Bytes()[header:])
	if _, err := w.Write(out.Bytes()); err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	return nil
}

func writeChunk(b *bytes.Buffer, kind, data string) {
	b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(data))))
	b.WriteString(kind + data)
	b.Write(binary.BigEndian.AppendUint32(nil, crc32.ChecksumIEEE([]byte(kind+data))))
}

// WritePNG is EncodePNG to a file. After an error the file is as it was before.
func WritePNG(name string, img image.Image, notes ...Text) error {
	err := file.Write(name, func(w io.Writer) error { return EncodePNG(w, img, notes...) })
	if err != nil {
		return fmt.Errorf("picture: %w", err)
	}
	return nil
}
