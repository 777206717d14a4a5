package clip

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"image"
	"io/fs"
	"slices"

	"github.com/kudos-ml/kudos/internal/picture"
)

// A Preprocessor makes the pixels that an image encoder reads from any picture, as transformers' CLIPImageProcessor
// does: transparency is laid on white, the shorter edge resized, the centre cut out, values scaled and normalized. It knows no EXIF
// orientation, as that one does not.
type Preprocessor struct {
	Edge      int // the shorter edge after resizing; 0 resizes both to Width and Height
	Width     int // of the cut
	Height    int
	Resize    bool
	Crop      bool
	Filter    picture.Filter
	Scale     float64 // of the 8-bit values
	Mean, Std [3]float64

	resample int // Pillow's number of Filter
}

// NewPreprocessor is CLIP's own, for pictures of side pixels.
func NewPreprocessor(side int) *Preprocessor {
	return &Preprocessor{
		Edge: side, Width: side, Height: side, Resize: true, Crop: true, Filter: picture.Bicubic, resample: bicubic, Scale: 1. / 255,
		Mean: [3]float64{0.48145466, 0.4578275, 0.40821073}, Std: [3]float64{0.26862954, 0.26130258, 0.27577711},
	}
}

const (
	preprocessorFile = "preprocessor_config.json"
	bicubic          = 3 // in Pillow
)

// filters are Pillow's, by its numbers. (0 is the nearest pixel, which is no filter.)
var filters = map[int]picture.Filter{1: picture.Lanczos, 2: picture.Bilinear, bicubic: picture.Bicubic, 4: picture.Box, 5: picture.Hamming}

// extent is {"shortest_edge": n}, {"height": h, "width": w} or n.
type extent struct {
	Edge   int `json:"shortest_edge,omitempty"`
	Height int `json:"height,omitempty"`
	Width  int `json:"width,omitempty"`
}

func (e *extent) UnmarshalJSON(data []byte) error {
	if json.Unmarshal(data, &e.Edge) == nil {
		return nil
	}
	type object extent
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode((*object)(e))
}

// preprocessorConfig is the file; keys that it lacks are as in CLIPImageProcessor.
type preprocessorConfig struct {
	Resize     bool       `json:"do_resize"`
	Size       *extent    `json:"size"`
	Resample   int        `json:"resample"`
	Crop       bool       `json:"do_center_crop"`
	CropSize   *extent    `json:"crop_size"`
	Rescale    bool       `json:"do_rescale"`
	Factor     float64    `json:"rescale_factor"`
	Normalize  bool       `json:"do_normalize"`
	Mean       [3]float64 `json:"image_mean"`
	Std        [3]float64 `json:"image_std"`
	ConvertRGB bool       `json:"do_convert_rgb"`
	Pad        bool       `json:"do_pad,omitempty"`
	Kind       string     `json:"image_processor_type"`
	OldKind    string     `json:"feature_extractor_type,omitempty"`
}

// loadPreprocessor reads preprocessor_config.json; without one the pictures are prepared as for OpenAI's CLIP.
func loadPreprocessor(fsys fs.FS, side int) (*Preprocessor, error) {
	p := NewPreprocessor(side)
	c := preprocessorConfig{Resize: true, Resample: bicubic, Crop: true, Rescale: true, Factor: p.Scale, Normalize: true, Mean: p.Mean, Std: p.Std}
	text, err := fs.ReadFile(fsys, preprocessorFile)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return nil, fmt.Errorf("clip: %w", err)
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("clip: %s: %w", preprocessorFile, err)
	}
	p.Resize, p.Crop, p.Scale, p.resample = c.Resize, c.Crop, 1, c.Resample
	if c.Rescale {
		p.Scale = c.Factor
	}
	p.Mean, p.Std = [3]float64{}, [3]float64{1, 1, 1}
	if c.Normalize {
		p.Mean, p.Std = c.Mean, c.Std
	}
	var ok bool
	if p.Filter, ok = filters[c.Resample]; !ok {
		return nil, fmt.Errorf("clip: %s: resample is %d, not 1 (Lanczos), 2 (bilinear), 3 (bicubic), 4 (box) or 5 (Hamming)", preprocessorFile, c.Resample)
	}
	if c.Pad {
		return nil, fmt.Errorf("clip: %s: do_pad is true; CLIP cuts out the centre", preprocessorFile)
	}
	if !slices.Contains([]string{"", "CLIPImageProcessor", "CLIPImageProcessorFast", "CLIPImageProcessorPil", "CLIPFeatureExtractor"}, cmp.Or(c.Kind, c.OldKind)) {
		return nil, fmt.Errorf("clip: %s: %q is not CLIPImageProcessor", preprocessorFile, cmp.Or(c.Kind, c.OldKind))
	}
	if err := p.setSizes(c.Size, c.CropSize); err != nil {
		return nil, err
	}
	if p.Width != side || p.Height != side {
		return nil, fmt.Errorf("clip: %s makes %d×%d pixels, the model reads %d×%d", preprocessorFile, p.Width, p.Height, side, side)
	}
	return p, nil
}

func (p *Preprocessor) setSizes(size, crop *extent) error {
	if size != nil {
		p.Edge = size.Edge
		if size.Edge == 0 {
			p.Width, p.Height = size.Width, size.Height
		}
	}
	if crop == nil || !p.Crop {
		return nil
	}
	w, h := crop.Width, crop.Height
	if crop.Edge != 0 { // a number, which stands for a square here
		w, h = crop.Edge, crop.Edge
	}
	if p.Edge == 0 && (w != p.Width || h != p.Height) {
		return fmt.Errorf("clip: %s resizes to %d×%d and cuts out %d×%d; resize the shorter edge instead", preprocessorFile, p.Width, p.Height, w, h)
	}
	p.Width, p.Height = w, h
	return nil
}

// config is p as the file has it.
func (p *Preprocessor) config() preprocessorConfig {
	size := extent{Edge: p.Edge}
	if p.Edge == 0 {
		size = extent{Width: p.Width, Height: p.Height}
	}
	return preprocessorConfig{
		Resize: p.Resize, Size: &size, Resample: p.resample, Crop: p.Crop, CropSize: &extent{Width: p.Width, Height: p.Height},
		Rescale: true, Factor: p.Scale, Normalize: true, Mean: p.Mean, Std: p.Std, ConvertRGB: true, Kind: "CLIPImageProcessor",
	}
}

// Pixels writes a picture's [Height,Width,3] values to dst.
func (p *Preprocessor) Pixels(dst []float32, img image.Image) error {
	if b := img.Bounds(); b.Empty() {
		return fmt.Errorf("clip: a picture of %d×%d pixels", b.Dx(), b.Dy())
	}
	rgb := picture.OnWhite(img)
	if p.Resize {
		w, h := p.resized(rgb.W, rgb.H)
		rgb = rgb.Resize(w, h, p.Filter)
	}
	if p.Crop {
		rgb = rgb.Crop(p.Width, p.Height)
	}
	if rgb.W != p.Width || rgb.H != p.Height || len(dst) != len(rgb.Pix) {
		return fmt.Errorf("clip: %d×%d pixels do not fit the model's %d×%d (%d values)", rgb.W, rgb.H, p.Width, p.Height, len(dst))
	}
	for i, v := range rgb.Pix {
		c := i % 3
		dst[i] = float32((float64(v)*p.Scale - p.Mean[c]) / p.Std[c])
	}
	return nil
}

// resized is the size after resizing: the shorter edge is Edge, the longer follows, rounded down.
func (p *Preprocessor) resized(w, h int) (int, int) {
	switch {
	case p.Edge == 0:
		return p.Width, p.Height
	case w <= h:
		return p.Edge, max(p.Edge*h/w, 1)
	default:
		return max(p.Edge*w/h, 1), p.Edge
	}
}
