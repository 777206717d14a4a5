package clip

import (
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"math"
	"slices"

	"github.com/kudos-ml/kudos/internal/picture"
	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
)

// A Preprocessor makes of any picture the pixels that an image encoder reads, as transformers'
// CLIPImageProcessor does with Pillow. What is transparent becomes white. The picture is resized,
// and its centre is cut out. Values are scaled and normalized. A picture is not turned by its EXIF
// orientation.
type Preprocessor struct {
	Side   int  // pictures come out with Side × Side pixels
	Resize Size // the zero Size leaves pictures as they are
	// Resample is Pillow's number of the filter: 0 nearest, 1 Lanczos, 2 bilinear, 3 bicubic, 4
	// box, 5 Hamming.
	Resample int
	// Crop says that Side × Side pixels around the centre are cut out, black where the picture
	// ends. Without it pictures must be Side × Side when they are resized.
	Crop      bool
	Scale     float64    // the factor of the 8-bit values, 0 to 255
	Mean, Std [3]float64 // of red, green and blue, after scaling
}

// A Size is what pictures are resized to, in pixels. With an Edge, that is the shorter edge, and
// the longer one follows in proportion, rounded down. Without it pictures come out Width × Height.
type Size struct {
	Edge   int `json:"shortest_edge,omitempty"`
	Height int `json:"height,omitempty"`
	Width  int `json:"width,omitempty"`
}

// NewPreprocessor returns the preprocessor of OpenAI's CLIPs, for pictures of side × side pixels.
func NewPreprocessor(side int) *Preprocessor {
	return &Preprocessor{
		Side:     side,
		Resize:   Size{Edge: side},
		Resample: int(picture.Bicubic),
		Crop:     true,
		Scale:    1. / 255,
		Mean:     [3]float64{0.48145466, 0.4578275, 0.40821073},
		Std:      [3]float64{0.26862954, 0.26130258, 0.27577711},
	}
}

const (
	preprocessorFile = "preprocessor_config.json"
	// processorFile is written by transformers 5. Its key image_processor holds what is otherwise
	// in preprocessorFile.
	processorFile = "processor_config.json"
)

// A preprocessorConfig is what the file holds. Keys that the file lacks are as in
// CLIPImageProcessor.
type preprocessorConfig struct {
	Resize     bool            `json:"do_resize"`
	Size       json.RawMessage `json:"size,omitempty"`
	Resample   int             `json:"resample"`
	Crop       bool            `json:"do_center_crop"`
	CropSize   json.RawMessage `json:"crop_size,omitempty"`
	Rescale    bool            `json:"do_rescale"`
	Factor     float64         `json:"rescale_factor"`
	Normalize  bool            `json:"do_normalize"`
	Mean       []float64       `json:"image_mean"`
	Std        []float64       `json:"image_std"`
	ConvertRGB bool            `json:"do_convert_rgb"` // false: transformers takes RGB alone
	Pad        bool            `json:"do_pad,omitempty"`
	Square     bool            `json:"use_square_size,omitempty"`
	Kind       string          `json:"image_processor_type"`
}

// kinds are the names that this processor has had in transformers. The first is today's.
var kinds = []string{"CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPFeatureExtractor"}

// loadPreprocessor reads processor_config.json, as a CLIPProcessor of transformers 5 writes it, or
// else preprocessor_config.json. Without either, pictures are prepared as for OpenAI's CLIPs. side
// is that of the pictures that the model reads.
func loadPreprocessor(fsys fs.FS, side int) (*Preprocessor, error) {
	name, text, err := readPreprocessor(fsys)
	if err != nil {
		return nil, fmt.Errorf("clip: %s: %w", name, err)
	}
	if text == nil {
		return NewPreprocessor(side), nil
	}
	p, err := parsePreprocessor(text, side)
	if err != nil {
		return nil, fmt.Errorf("clip: %s: %w", name, err)
	}
	return p, nil
}

// readPreprocessor returns the configuration, which is nil if there is none, and the name of the
// file that has it.
func readPreprocessor(fsys fs.FS) (name string, config []byte, err error) {
	data, err := text.ReadFS(fsys, processorFile)
	if err == nil {
		var processor struct {
			Image json.RawMessage `json:"image_processor"`
		}
		if err := weights.ParseJSON(data, &processor); err != nil || processor.Image != nil {
			return processorFile, processor.Image, err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return processorFile, nil, err
	}
	data, err = text.ReadFS(fsys, preprocessorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return preprocessorFile, nil, nil
	}
	return preprocessorFile, data, err
}

func parsePreprocessor(text []byte, side int) (*Preprocessor, error) {
	p := NewPreprocessor(side)
	c := preprocessorConfig{
		Resize:     true,
		Resample:   p.Resample,
		Crop:       true,
		Rescale:    true,
		Factor:     p.Scale,
		Normalize:  true,
		Mean:       p.Mean[:],
		Std:        p.Std[:],
		ConvertRGB: true,
		Kind:       kinds[0],
	}
	if err := weights.ParseJSON(text, &c); err != nil {
		return nil, err
	}
	switch {
	case !slices.Contains(kinds, c.Kind):
		return nil, fmt.Errorf("image_processor_type %q is not %s", c.Kind, kinds[0])
	case c.Pad:
		return nil, errors.New("do_pad is true, which CLIP does not do")
	case c.Square:
		return nil, errors.New("use_square_size is true, which is not supported")
	case !picture.Filter(c.Resample).Valid():
		return nil, fmt.Errorf("resample %d is none of Pillow's 0 (nearest) to %d (Hamming)",
			c.Resample, picture.Hamming)
	case c.Normalize && (len(c.Mean) != 3 || len(c.Std) != 3 || slices.Contains(c.Std, 0)):
		return nil, fmt.Errorf(
			"image_mean %v and image_std %v are not three numbers each, the latter not 0",
			c.Mean, c.Std)
	}
	// Beyond these no number is that of pixels, and what comes out may be no number.
	const least, most = 1e-6, 1e6
	beyond := func(v float64) bool { return !(math.Abs(v) >= least && math.Abs(v) <= most) }
	tooLarge := func(v float64) bool { return !(math.Abs(v) <= most) }
	switch {
	case c.Rescale && beyond(c.Factor):
		return nil, fmt.Errorf("rescale_factor is %g, not between %g and %g", c.Factor, least, most)
	case c.Normalize &&
		(slices.ContainsFunc(c.Mean, tooLarge) || slices.ContainsFunc(c.Std, beyond)):
		return nil, fmt.Errorf("image_mean %v and image_std %v: the former is not below %g, or "+
			"the latter not between %g and that", c.Mean, c.Std, most, least)
	}
	p.Resample, p.Crop, p.Scale = c.Resample, c.Crop, 1
	if c.Rescale {
		p.Scale = c.Factor
	}
	if !c.Normalize {
		c.Mean, c.Std = []float64{0, 0, 0}, []float64{1, 1, 1}
	}
	p.Mean, p.Std = [3]float64(c.Mean), [3]float64(c.Std)
	return p, p.setSizes(c)
}

// setSizes sets Resize, and checks that pictures come out with the side that the model reads.
func (p *Preprocessor) setSizes(c preprocessorConfig) (err error) {
	const usual = 224 // CLIPImageProcessor's, where the file has none
	edge := func(n int) Size { return Size{Edge: n} }
	square := func(n int) Size { return Size{Height: n, Width: n} }
	crop := square(usual)
	p.Resize = edge(usual)
	if err := parseSize(c.Size, &p.Resize, edge); err != nil {
		return fmt.Errorf("size %w", err)
	}
	if err := parseSize(c.CropSize, &crop, square); err != nil {
		return fmt.Errorf("crop_size %w", err)
	}
	if !c.Resize {
		p.Resize = Size{}
	}
	out := p.Resize
	if p.Crop {
		out = crop
		if crop.Edge != 0 {
			return errors.New("crop_size has a shortest_edge; it needs height and width")
		}
	}
	if out.Edge == 0 && out != (Size{}) && (out.Width != p.Side || out.Height != p.Side) {
		return fmt.Errorf("pictures come out %d×%d, the model reads %d×%d",
			out.Width, out.Height, p.Side, p.Side)
	}
	return nil
}

// parseSize sets size from n, {"shortest_edge": n} or {"height": h, "width": w}. number makes the
// size of n alone. Where there is null, or nothing, size stays as it is.
func parseSize(raw json.RawMessage, size *Size, number func(int) Size) error {
	if len(raw) == 0 || string(raw) == "null" {
		return nil
	}
	var n int
	var keys map[string]int
	*size = Size{}
	switch {
	case json.Unmarshal(raw, &n) == nil:
		*size = number(n)
	case json.Unmarshal(raw, &keys) == nil:
		*size = Size{Edge: keys["shortest_edge"], Height: keys["height"], Width: keys["width"]}
		delete(keys, "shortest_edge")
		delete(keys, "height")
		delete(keys, "width")
	}
	edge := size.Edge > 0 && size.Height == 0 && size.Width == 0
	both := size.Edge == 0 && size.Height > 0 && size.Width > 0
	if len(keys) > 0 || !edge && !both {
		return fmt.Errorf(
			`is %.100s, not a number of pixels, {"shortest_edge"} or {"height", "width"}`, raw)
	}
	return nil
}

// config returns p as the file has it.
func (p *Preprocessor) config() preprocessorConfig {
	c := preprocessorConfig{
		Resize:     p.Resize != Size{},
		Resample:   p.Resample,
		Crop:       p.Crop,
		Rescale:    true,
		Factor:     p.Scale,
		Normalize:  true,
		Mean:       p.Mean[:],
		Std:        p.Std[:],
		ConvertRGB: true,
		Kind:       kinds[0],
	}
	marshal := func(s Size) json.RawMessage {
		text, err := json.Marshal(s)
		if err != nil {
			panic(err) // three numbers always encode
		}
		return text
	}
	if c.Resize {
		c.Size = marshal(p.Resize)
	}
	if p.Crop {
		c.CropSize = marshal(Size{Height: p.Side, Width: p.Side})
	}
	return c
}

// Pixels writes the values of a picture, [Side,Side,3], to dst, which has room for just these. It
// is an error if the picture is empty, if it does not come out with Side × Side pixels, or if one
// side of a picture that is resized on its shorter edge is more than 32 times the other.
func (p *Preprocessor) Pixels(dst []float32, img image.Image) error {
	if b := img.Bounds(); b.Empty() {
		return fmt.Errorf("clip: a picture of %d×%d pixels", b.Dx(), b.Dy())
	}
	filter := picture.Filter(p.Resample)
	if !filter.Valid() {
		return fmt.Errorf("clip: resample %d is none of Pillow's filters", p.Resample)
	}
	size := img.Bounds().Size()
	w, h := size.X, size.Y
	if p.Resize.Edge != 0 {
		if err := picture.Slender(w, h); err != nil {
			return fmt.Errorf("clip: %w", err)
		}
	}
	if p.Resize != (Size{}) {
		if w, h = p.Resize.of(w, h); w < 1 || h < 1 || w > picture.MostPixels/h {
			return fmt.Errorf("clip: a picture of %d×%d pixels cannot be resized to %d×%d",
				size.X, size.Y, w, h)
		}
	}
	cw, ch := w, h
	if p.Crop {
		cw, ch = p.Side, p.Side
	}
	rgb := picture.FromImage(img).ResizeCrop(w, h, filter, cw, ch)
	if rgb.W != p.Side || rgb.H != p.Side || len(dst) != len(rgb.Pix) {
		return fmt.Errorf("clip: %d×%d pixels do not fit the model's %d×%d (%d values)",
			rgb.W, rgb.H, p.Side, p.Side, len(dst))
	}
	values := p.values()
	for i, v := range rgb.Pix {
		dst[i] = values[i%3][v]
	}
	return nil
}

// values returns what every 8-bit value of a channel becomes. It is rounded where transformers
// rounds: after scaling, and in normalizing.
func (p *Preprocessor) values() (table [3][256]float32) {
	for c := range table {
		for v := range table[c] {
			scaled := float32(float64(v) * p.Scale)
			table[c][v] = (scaled - float32(p.Mean[c])) / float32(p.Std[c])
		}
	}
	return table
}

// of returns the width and the height of a w × h picture when it is resized.
func (s Size) of(w, h int) (width, height int) {
	switch {
	case s.Edge == 0:
		return s.Width, s.Height
	case w <= h:
		return s.Edge, s.Edge * h / w
	default:
		return s.Edge * w / h, s.Edge
	}
}
