package main

import (
	"math"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/clip/tokenizer"
	"github.com/kudos-ml/kudos/internal/rng"
	"github.com/kudos-ml/kudos/kernels"
)

// textLength is the number of tokens of a prompt. The longest prompt of the grammar has 12.
const textLength = 16

// clipConfig describes a CLIP with a vision transformer of 8×8 patches. Its text encoder also
// conditions the UNet, as CLIP's does in Stable Diffusion 1.
func clipConfig(t *tokenizer.Tokenizer) clip.Config {
	return clip.Config{
		Text: clip.TextConfig{
			Vocabulary:   t.Size(),
			Width:        64,
			Intermediate: 256,
			Layers:       3,
			Heads:        4,
			Positions:    textLength,
			Activation:   "quick_gelu",
			Epsilon:      1e-5,
			Start:        t.Start(),
			End:          t.End(),
			Pad:          t.Pad(),
		},
		Vision: clip.VisionConfig{
			Width:        96,
			Intermediate: 384,
			Layers:       4,
			Heads:        4,
			Channels:     3,
			Side:         side,
			Patch:        8,
			Activation:   "quick_gelu",
			Epsilon:      1e-5,
		},
		Projection: 64,
		LogitScale: 2.6592,
	}
}

// sines sets the positions of a vision transformer's patches to waves: along y in the first half of
// the channels, and along x in the other. CLIP's own positions are noise. Beside the patches, noise
// of its scale is too small to say where a patch is, and shapes are learned later.
func sines(m *clip.VisionModel) {
	table, width := m.Positions.Weight.Float32s(), m.Config.Width
	side := m.Config.Side / m.Config.Patch
	for i := range side * side {
		row := table[(1+i)*width : (2+i)*width] // row 0 is the class token's
		for k := range row {
			at, wave := float64(i%side), k%(width/2)/2
			if k < width/2 {
				at = float64(i / side)
			}
			angle := at * math.Pi / 4 * math.Pow(2, 3.5*float64(wave)/float64(width/4-1))
			row[k] = float32(0.3 * math.Sin(angle+math.Pi/2*float64(k%2)))
		}
	}
}

// speak makes the token embeddings as large as what the layers add to them. CLIP's own scale is
// 0.02. At that scale a word that comes to matter late in training, as a kind does, drowns in those
// that matter early. The hidden states of "circle" and "square" then differ by a fifth of their
// length, those of "red" and "green" by more than all of it. The UNet reads these states, and
// hardly learns kinds.
func speak(m *clip.TextModel) {
	for i := range m.Tokens.Weight.Float32s() {
		m.Tokens.Weight.Float32s()[i] *= 25
	}
}

// A matching is CLIP's training, in which pictures and their true captions are to find each other.
// In the first half of the steps captions are whole: kinds and counts are learned late, and only
// where pairs differ in nothing else.
type matching struct {
	seed     uint64
	steps    int
	drawings []drawing
	model    *clip.Model
	tokens   *tokenizer.Tokenizer
	pre      *clip.Preprocessor

	pixels *tensor.Dense
	texts  *clip.Texts
}

func newMatching(
	seed uint64, steps int, drawings []drawing,
	m *clip.Model, t *tokenizer.Tokenizer, batch int,
) *matching {
	return &matching{
		seed:     seed,
		steps:    steps,
		drawings: drawings,
		model:    m,
		tokens:   t,
		pre:      clip.NewPreprocessor(side),
		pixels:   tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(batch, side, side, 3)),
		texts:    clip.NewTexts(batch, textLength),
	}
}

func (m *matching) loss(g *gorgonia.ExprGraph) (*gorgonia.Node, error) {
	pictures, err := m.model.ImageFeatures(kernels.Input(g, "pixels", m.pixels))
	if err != nil {
		return nil, err
	}
	ids, pool := kernels.Input(g, "ids", m.texts.IDs), kernels.Input(g, "pool", m.texts.Pool)
	texts, err := m.model.TextFeatures(ids, pool)
	if err != nil {
		return nil, err
	}
	return m.model.ContrastiveLoss(pictures, texts)
}

func (m *matching) fill(step int) error {
	batch := m.pixels.Shape()[0]
	size := side * side * 3
	for i, row := range order(m.seed, "clip order", step, batch, len(m.drawings)) {
		d := m.drawings[row]
		dst := m.pixels.Float32s()[i*size : (i+1)*size]
		for k, v := range d.pixels {
			dst[k] = float32((float64(v)*m.pre.Scale - m.pre.Mean[k%3]) / m.pre.Std[k%3])
		}
		leave := 0.0
		if step >= m.steps/2 {
			leave = 0.2
		}
		text, err := describe(d.truth, leave, rng.New(m.seed, "leave out", uint64(step), uint64(i)))
		if err != nil {
			return err
		}
		if err := m.model.Text.Set(m.texts, i, m.tokens.Encode(text)); err != nil {
			return err
		}
	}
	return nil
}
