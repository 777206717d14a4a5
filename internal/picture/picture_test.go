package picture

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"image"
	"image/color"
	"image/png"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"
)

func read(t *testing.T, name string) *RGB {
	img, err := Read(filepath.Join("testdata", name))
	require.NoError(t, err)
	return FromImage(img)
}

// The pictures in testdata are Pillow's (internal/golden/picture.py).
func TestResizeIsPillowsGolden(t *testing.T) {
	source := read(t, "source.png")
	filters := []string{"nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"}
	sizes := [][2]int{
		{16, 11}, {53, 20}, {90, 101}, {1, 1}, {48, 9}, {41, 30}, {45, 21}, {60, 20},
	}
	for number, name := range filters {
		f := Filter(number)
		require.True(t, f.Valid())
		for _, size := range sizes {
			want := read(t, fmt.Sprintf("%s_%dx%d.png", name, size[0], size[1]))
			require.Equal(t, want, source.Resize(size[0], size[1], f), "%s to %v", name, size)
		}
	}
	require.False(t, Filter(-1).Valid())
	require.False(t, Filter(len(filters)).Valid())
	require.Equal(t, source, source.Resize(53, 37, Bicubic))
	require.Equal(t, source, source.Resize(53, 37, Nearest))
}

// farthest is the largest difference of two pictures.
func farthest(t *testing.T, a, b *RGB) (most int) {
	require.Equal(t, [2]int{a.W, a.H}, [2]int{b.W, b.H})
	for i := range a.Pix {
		most = max(most, int(math.Abs(float64(a.Pix[i])-float64(b.Pix[i]))))
	}
	return most
}

func TestDecodesAsPillowGolden(t *testing.T) {
	for name, tolerance := range map[string]int{
		// Go's inverse cosine transform is not libjpeg's.
		"444.jpg": 3, "422.jpg": 3, "420.jpg": 3, "440.jpg": 3, "narrow.jpg": 3,
		"narrow_rgb.jpg": 3,
		"cmyk.jpg":       3, "grey.jpg": 3,
		// The chroma of a lossy WebP is rounded otherwise than in libwebp.
		"lossy.webp": 3, "alpha_lossy.webp": 3,
		"lossless.webp": 0, "alpha.webp": 0,
		"alpha.png": 0, "grey.png": 0, "grey_alpha.png": 0, "bits.png": 0,
		"palette.png": 0, "palette_alpha.png": 0,
		"deep.png": 0, "deep_grey_alpha.png": 0, "deep_alpha.png": 0,
	} {
		img, err := Read(filepath.Join("testdata", name))
		require.NoError(t, err)
		reference := strings.ReplaceAll(name, ".", "_")
		want := read(t, reference+".png")
		require.LessOrEqual(t, farthest(t, want, withoutAlpha(img)), tolerance, name)

		// Where something is transparent there is a second reference, with white behind it.
		if white, err := Read("testdata/" + reference + "_white.png"); err == nil {
			require.Greater(t, farthest(t, want, FromImage(white)), tolerance, name)
			want = FromImage(white)
		}
		require.LessOrEqual(t, farthest(t, want, FromImage(img)), tolerance, "%s on white", name)
	}
}

func TestUprightAsPillowGolden(t *testing.T) {
	for o := 1; o <= 8; o++ {
		want := read(t, fmt.Sprintf("turned%d_upright.png", o))
		require.Equal(t, want, read(t, fmt.Sprintf("turned%d.png", o)), "orientation %d", o)
		require.Equal(t, want, read(t, fmt.Sprintf("turned%d.webp", o)), "orientation %d", o)
		lossy := read(t, fmt.Sprintf("turned%d.jpg", o))
		require.LessOrEqual(t, farthest(t, want, lossy), 20, "orientation %d, lossy", o)
	}
	pixel := color.NRGBA{9, 8, 7, 6}
	clear := image.NewNRGBA(image.Rect(0, 0, 2, 1))
	clear.SetNRGBA(0, 0, pixel)
	require.Equal(t, pixel, upright(clear, 6).At(0, 0), "a quarter to the right, with alpha")
	require.Equal(t, pixel, upright(clear, 8).At(0, 1))
}

// XMP counts where EXIF does not say how to turn, as in Pillow's getexif.
func TestOrientationInXMP(t *testing.T) {
	file := func(name string) []byte {
		data, err := os.ReadFile(filepath.Join("testdata", name))
		require.NoError(t, err)
		return data
	}
	chunk := func(note string) []byte {
		var b bytes.Buffer
		writeChunk(&b, "iTXt", "XML:com.adobe.xmp\x00\x00\x00\x00\x00"+note)
		return b.Bytes()
	}
	const (
		attribute = `<Description tiff:Orientation="6"/>`
		element   = `<tiff:Orientation>6</tiff:Orientation>`
		signature = 8 // bytes of a PNG
		packet    = "http://ns.adobe.com/xap/1.0/\x00" + attribute
	)
	segment := binary.BigEndian.AppendUint16([]byte("\xff\xe1"), uint16(2+len(packet)))
	segment = append(segment, packet...)
	xmp := binary.LittleEndian.AppendUint32([]byte("XMP "), uint32(len(element)))
	xmp = append(xmp, element...)
	webp := func(flags byte) []byte {
		head := append([]byte("VP8X\x0a\x00\x00\x00"), flags, 0, 0, 0, 52, 0, 0, 36, 0, 0)
		return append(slices.Insert(file("lossless.webp"), 12, head...), xmp...)
	}
	for _, c := range []struct {
		data []byte
		want int
	}{
		{slices.Insert(file("grey.png"), signature, chunk(attribute)...), 6},
		{slices.Insert(file("grey.png"), signature, chunk(element)...), 6},
		{slices.Insert(file("grey.png"), signature, chunk("tiff:Orientation")...), 1},
		{slices.Insert(file("grey.png"), signature, chunk(`tiff:Orientation="9"`)...), 1},
		{slices.Insert(file("turned3.png"), signature, chunk(attribute)...), 3},
		{slices.Insert(file("444.jpg"), 2, segment...), 6},
		{slices.Insert(file("turned8.jpg"), 2, segment...), 8},
		{webp(1 << 2), 6},
		{webp(1 << 3), 1}, // says that there is EXIF, and none is
		{append(file("lossless.webp"), xmp...), 1},
	} {
		require.Equal(t, c.want, orientation(c.data))
	}
}

func TestTransparentIsWhite(t *testing.T) {
	img := image.NewNRGBA(image.Rect(0, 0, 3, 1))
	img.SetNRGBA(0, 0, color.NRGBA{10, 20, 30, 0})
	img.SetNRGBA(1, 0, color.NRGBA{10, 20, 30, 255})
	img.SetNRGBA(2, 0, color.NRGBA{0, 0, 0, 51}) // a fifth
	require.Equal(t, []uint8{255, 255, 255, 10, 20, 30, 204, 204, 204}, FromImage(img).Pix)
	require.Equal(t, []uint8{10, 20, 30, 10, 20, 30, 0, 0, 0}, withoutAlpha(img).Pix)
}

func TestDecodeErrorsNameTheFile(t *testing.T) {
	dir := t.TempDir()
	whole, err := os.ReadFile("testdata/source.png")
	require.NoError(t, err)
	for name, data := range map[string][]byte{"text.png": []byte("no picture"), "empty.jpg": nil} {
		file := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(file, data, 0o644))
		_, err := Read(file)
		require.ErrorIs(t, err, ErrFormat)
		require.ErrorContains(t, err, name)
	}
	file := filepath.Join(dir, "cut.png")
	require.NoError(t, os.WriteFile(file, whole[:len(whole)/2], 0o644))
	_, err = Read(file)
	require.ErrorContains(t, err, "cut.png: broken png")
	_, err = Read(filepath.Join(dir, "absent.png"))
	require.True(t, errors.Is(err, os.ErrNotExist))
	require.ErrorContains(t, err, "absent.png")

}

func TestBombsAreRefused(t *testing.T) {
	head := func(w, h uint32) []byte { // a PNG's signature and header
		b := bytes.NewBuffer([]byte("\x89PNG\r\n\x1a\n"))
		size := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, w), h)
		writeChunk(b, "IHDR", string(size)+"\x08\x02\x00\x00\x00")
		return b.Bytes()
	}
	for _, size := range [][2]uint32{
		{178956971, 1}, {1, 178956971}, {1 << 15, 1 << 15}, {13378, 13378},
	} {
		allocations := testing.AllocsPerRun(1, func() {
			_, err := Decode(bytes.NewReader(head(size[0], size[1])), "huge.png")
			require.ErrorContains(t, err, "huge.png: ")
			require.ErrorContains(t, err, "not between 1 and 178956970")
		})
		require.Less(t, allocations, 100.)
	}
	_, err := Decode(bytes.NewReader(head(12, 13)), "cut.png")
	require.ErrorContains(t, err, "cut.png: broken png", "a size that is fine is read on")
}

func TestInks(t *testing.T) {
	for black := range 256 {
		for ink := range 256 {
			light := 255 - black
			want := uint8(light - int(math.Round(float64(ink*light)/255)))
			got := inked(uint8(ink), uint8(black))
			require.Equal(t, want, got, "ink %d, black %d", ink, black)
		}
	}
}

func TestTensorRoundTrip(t *testing.T) {
	p := read(t, "source.png")
	x := p.Tensor()
	require.Equal(t, tensor.Shape{37, 53, 3}, x.Shape())
	again, err := FromTensor(x)
	require.NoError(t, err)
	require.Equal(t, p, again)

	values := []float32{-1, 1, 0, -2, 2, 0.5, 1. / 255, 3. / 255, -1. / 255}
	got, err := FromValues(values, 3, 1)
	require.NoError(t, err)
	require.Equal(t, []uint8{0, 255, 128, 0, 255, 191, 128, 129, 127}, got.Pix)
	green := &RGB{1, 1, []uint8{0, 255, 0}}
	require.Equal(t, []float32{-1, 1, -1}, green.Tensor().Float32s())

	_, err = FromValues([]float32{0, float32(math.NaN()), 0}, 1, 1)
	require.ErrorContains(t, err, "value 1 is NaN")
	_, err = FromTensor(tensor.New(tensor.WithShape(2, 2), tensor.Of(tensor.Float32)))
	require.ErrorContains(t, err, "(2, 2), not float32 [H,W,3]")
	_, err = FromValues(nil, 1, 1)
	require.ErrorContains(t, err, "0 values are no 1×1 picture")
}

func TestCrop(t *testing.T) {
	p := NewRGB(5, 3)
	for i := range p.Pix {
		p.Pix[i] = uint8(i/3 + 1)
	}
	row := func(p *RGB, y int) (v []uint8) {
		for x := range p.W {
			v = append(v, p.Pix[(y*p.W+x)*3])
		}
		return v
	}
	c := p.Crop(2, 1)
	require.Equal(t, []uint8{7, 8}, row(c, 0), "(5-2)/2 = 1, (3-1)/2 = 1")
	wide := p.Crop(6, 1)
	require.Equal(t, []uint8{0, 6, 7, 8, 9, 10}, row(wide, 0), "the pad is rounded up on the left")
	high := p.Crop(2, 6)
	var left []uint8
	for y := range high.H {
		left = append(left, row(high, y)[0])
	}
	require.Equal(t, []uint8{0, 0, 2, 7, 12, 0}, left)
}

func TestSubImage(t *testing.T) {
	whole := image.NewNRGBA(image.Rect(0, 0, 4, 4))
	whole.SetNRGBA(2, 3, color.NRGBA{9, 8, 7, 255})
	p := FromImage(whole.SubImage(image.Rect(2, 2, 4, 4)))
	require.Equal(t, []uint8{9, 8, 7}, p.Pix[2*3:3*3])
	half := image.NewRGBA(image.Rect(0, 0, 1, 1))
	half.Set(0, 0, color.NRGBA{200, 100, 0, 128})
	require.InDelta(t, 200, withoutAlpha(half).Pix[0], 1, "colours are not multiplied with alpha")
}

func TestWritePNG(t *testing.T) {
	file := filepath.Join(t.TempDir(), "a.png")
	p := read(t, "source.png")
	require.NoError(t, WritePNG(file, p.Image(), Text{"parameters", "zwei grüne Hunde"}))
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(data), "iTXtparameters\x00\x00\x00\x00\x00zwei grüne Hunde")
	img, err := png.Decode(bytes.NewReader(data))
	require.NoError(t, err, "the checksums are right")
	require.Equal(t, p, FromImage(img))

	err = WritePNG(file, p.Image(), Text{"", "x"})
	require.ErrorContains(t, err, "a key has 1 to 79 characters")
	require.ErrorContains(t, WritePNG(file, image.NewNRGBA(image.Rect(0, 0, 0, 0))), "a.png")
	require.Error(t, WritePNG(filepath.Join(file, "b.png"), p.Image()))
	again, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, data, again, "a failed write leaves the file as it was")
	left, err := os.ReadDir(filepath.Dir(file))
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Error(t, EncodePNG(fullDisk{}, p.Image()))
}

type fullDisk struct{}

func (fullDisk) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func FuzzDecode(f *testing.F) {
	for _, name := range []string{
		"grey.png", "deep_alpha.png", "turned7.png",
		"420.jpg", "cmyk.jpg", "turned6.jpg",
		"alpha_lossy.webp", "turned8.webp",
	} {
		data, err := os.ReadFile("testdata/" + name)
		require.NoError(f, err)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		img, err := Decode(bytes.NewReader(data), "fuzz")
		if err == nil && img.Bounds().Dx()*img.Bounds().Dy() < 1<<20 {
			FromImage(img)
		}
	})
}

// Of 16 bits the upper 8 are kept, of grey as of colours. Pillow would make these values white.
func TestDeepGrey(t *testing.T) {
	img, err := Read("testdata/deep_grey.png")
	require.NoError(t, err)
	deep, p := img.(*image.Gray16), FromImage(img)
	for y := range p.H {
		for x := range p.W {
			v := uint8(deep.Gray16At(x, y).Y >> 8)
			require.Equal(t, []uint8{v, v, v}, p.Pix[(y*p.W+x)*3:][:3])
		}
	}
	grey := image.NewGray16(image.Rect(0, 0, 3, 1))
	for x, v := range []uint16{200, 0x1234, 0xffff} {
		grey.SetGray16(x, 0, color.Gray16{Y: v})
	}
	require.Equal(t, []uint8{0, 0, 0, 0x12, 0x12, 0x12, 255, 255, 255}, FromImage(grey).Pix)
}
