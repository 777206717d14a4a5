package picture

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"image"
	"image/jpeg"
	_ "image/png" // formats decode knows
	"io"
	"io/fs"
	"os"
	"runtime/debug"

	_ "golang.org/x/image/webp"
	"golang.org/x/sync/semaphore"

	"github.com/kudos-ml/kudos/internal/file"
)

// ErrFormat means that a file is no PNG, JPEG or WebP picture.
var ErrFormat = errors.New("not a PNG, JPEG or WebP picture")

const (
	// MostPixels is the largest number of pixels that is decoded, and Pillow's limit too: a small
	// file can claim to be a huge picture.
	MostPixels = 178_956_970
	// mostBytes is the largest file that is read: what MostPixels of three bytes take that nothing
	// compresses.
	mostBytes = 3 * MostPixels
	// mostTogether is how many pixels are decoded at once in the whole process, at most, but for a
	// picture that has more by itself, and is decoded alone.
	mostTogether = 1 << 26
	// large pictures take so much memory that what is left of others is freed before.
	large = 1 << 24
)

var decoding = semaphore.NewWeighted(mostTogether)

// Read decodes a file and turns the picture upright by its orientation in EXIF or XMP, as
// diffusers' load_image does. Errors name the file. The error of a file that is no picture wraps
// ErrFormat, and says what the file is instead where its first bytes tell. Its name's ending does
// not matter. A folder, a pipe or a device is an error, and is not opened: that may take forever. A
// picture of more than MostPixels is refused before memory is taken for it.
//
// Of an animated WebP the first frame counts, on its canvas. Of an animated PNG it is the picture
// that programs show which know no animation. What follows the end of a picture is passed over.
//
// Pixels are Pillow's, with these differences:
//
//   - Colours of a JPEG or of a lossy WebP may be off by 3 of 255. The standard library's inverse
//     cosine transform is not libjpeg's to the bit.
//   - A PNG of 16 bits of grey has the upper 8. Pillow cuts values off at 255, which makes most
//     such pictures white.
//   - What a PNG of 2, 4 or 16 bits names as its transparent colour (tRNS) is transparent. Pillow
//     compares it with values of 8 bits.
//   - A colour that a PNG's palette lacks is black, as in libpng. In Pillow it is a grey.
//   - A file that is cut off behind its last pixel, or has a wrong checksum of its pixels, is an
//     error. Pillow reads such a PNG.
//   - A PNG with more pixels than it says, or with chunks that are not in their order, is an error.
//     Pillow reads some of them.
//   - A JPEG that is lossless, of 12 bits, with arithmetic coding, without tables, progressive with
//     restart markers, or of rare sampling factors, such as 3, or more for chroma than for luma, is
//     an error that says so. Pillow reads some of them.
func Read(name string) (image.Image, error) {
	info, err := os.Stat(name)
	if to, e := os.Readlink(name); err != nil && e == nil {
		return nil, fmt.Errorf("picture: %s is a link to %s: %w", name, to, err)
	}
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	return readFile(name, info, func() (fs.File, error) { return os.Open(name) })
}

// ReadFS is Read of a file of fsys.
func ReadFS(fsys fs.FS, name string) (image.Image, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	return readFile(name, info, func() (fs.File, error) { return fsys.Open(name) })
}

func readFile(name string, info fs.FileInfo, open func() (fs.File, error)) (image.Image, error) {
	if err := Regular(info); err != nil {
		return nil, fmt.Errorf("picture: %s is %w", name, err)
	}
	f, err := open()
	if err != nil {
		return nil, fmt.Errorf("picture: %w", err)
	}
	defer f.Close()
	return Decode(f, name)
}

// Regular is an error that says what a file is, such as a folder or a named pipe, if that is
// nothing that a picture can be read from.
func Regular(info fs.FileInfo) error {
	if odd := file.Odd(info); odd != "" {
		return errors.New(odd + " and not a picture")
	}
	return nil
}

// Decode is Read of what r gives. Errors call it by the name given.
func Decode(r io.Reader, name string) (image.Image, error) {
	fail := func(err error) (image.Image, error) {
		return nil, fmt.Errorf("picture: %s: %w", name, err)
	}
	head := make([]byte, 1024)
	n, err := io.ReadFull(r, head)
	if err != nil && err != io.EOF && err != io.ErrUnexpectedEOF {
		return fail(err)
	}
	head = head[:n]
	c := codecOf(head)
	if c == nil {
		return fail(foreign(head))
	}
	rest, err := io.ReadAll(io.LimitReader(r, mostBytes+1))
	if err != nil {
		return fail(err)
	}
	if len(rest) > mostBytes {
		return fail(fmt.Errorf("it has more than %d bytes", mostBytes))
	}
	img, err := c.decode(append(head, rest...))
	if err != nil {
		return fail(err)
	}
	return img, nil
}

// A codec is a format that is read.
type codec struct {
	name  string
	begin func(head []byte) bool
	// mend returns what the decoder of a library reads of a file. It is an error if that cannot
	// read it though the file may be whole.
	mend func(data []byte) ([]byte, error)
	// ends reports whether a file has the mark that a picture ends with.
	ends func(data []byte) bool
	// finish, unless nil, makes the picture of what the library decoded.
	finish func(data []byte, img image.Image) (image.Image, error)
}

var codecs = []*codec{
	{
		name:  "png",
		begin: func(head []byte) bool { return bytes.HasPrefix(head, []byte(signature)) },
		mend:  mendPNG,
		ends:  func(data []byte) bool { return section(data, "IEND") != nil },
	},
	{
		name:   "jpeg",
		begin:  func(head []byte) bool { return bytes.HasPrefix(head, []byte("\xff\xd8\xff")) },
		mend:   mendJPEG,
		ends:   endsJPEG,
		finish: finishJPEG,
	},
	{
		name: "webp",
		begin: func(head []byte) bool {
			return len(head) >= 12 && string(head[:4])+string(head[8:12]) == "RIFFWEBP"
		},
		mend:   mendWebP,
		ends:   endsWebP,
		finish: finishWebP,
	},
}

func codecOf(head []byte) *codec {
	for _, c := range codecs {
		if c.begin(head) {
			return c
		}
	}
	return nil
}

// broken is the error of a file that is damaged.
func (c *codec) broken(data []byte, err error) error {
	var lacks jpeg.UnsupportedError
	switch {
	case errors.As(err, &lacks):
		return fmt.Errorf("it is a JPEG of a rare kind (%w), which is not read; %s", err, again)
	case !c.ends(data):
		return fmt.Errorf("broken %s: the file ends before the picture does, as one that was not "+
			"copied or downloaded to its end (%w)", c.name, err)
	}
	return fmt.Errorf("broken %s: %w", c.name, err)
}

func (c *codec) decode(data []byte) (image.Image, error) {
	mended, err := c.mend(data)
	if err != nil {
		return nil, err
	}
	size, _, err := image.DecodeConfig(bytes.NewReader(mended))
	if err != nil {
		return nil, c.broken(data, err)
	}
	if size.Width <= 0 || size.Height <= 0 || size.Width > MostPixels/size.Height {
		return nil, fmt.Errorf("%d×%d pixels are not between 1 and %d",
			size.Width, size.Height, MostPixels)
	}
	n := min(int64(size.Width*size.Height), mostTogether)
	if err := decoding.Acquire(context.Background(), n); err != nil {
		return nil, err
	}
	defer decoding.Release(n)
	if n > large {
		debug.FreeOSMemory() // of the picture before
	}
	img, _, err := image.Decode(bytes.NewReader(mended))
	if err == nil && c.finish != nil {
		img, err = c.finish(data, img)
	}
	if err != nil {
		return nil, c.broken(data, err)
	}
	return upright(img, orientation(data)), nil
}
