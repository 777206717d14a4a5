package main

import (
	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/clip"
	"github.com/kudos-ml/kudos/clip/tokenizer"
	"github.com/kudos-ml/kudos/kernels"
)

// textLength is the number of tokens of a prompt. The longest of the grammar has 12.
const textLength = 16

// clipConfig is CLIP with a vision transformer of 8×8 patches. Its text encoder is also the one that conditions the UNet, as
// CLIP's is in Stable Diffusion 1.
func clipConfig(t *tokenizer.Tokenizer) clip.Config {
	return clip.Config{
		Text: clip.TextConfig{
			Vocabulary: t.Size(), Width: 64, Intermediate: 256, Layers: 3, Heads: 4, Positions: textLength, Activation: "quick_gelu",
			Epsilon: 1e-5, Start: t.Start(), End: t.End(), Pad: t.Pad(),
		},
		Vision: clip.VisionConfig{
			Width: 96, Intermediate: 384, Layers: 4, Heads: 4, Channels: 3, Side: side, Patch: 8, Activation: "quick_gelu", Epsilon: 1e-5,
		},
		Projection: 64, LogitScale: 2.6592,
	}
}

// A matching is CLIP's training: pictures and their true captions, of which each is to find the other.
type matching struct {
	seed     uint64
	drawings []drawing
	model    *clip.Model
	tokens   *tokenizer.Tokenizer
	pre      *clip.Preprocessor

	pixels *tensor.Dense
	texts  *clip.Texts
}

func newMatching(seed uint64, drawings []drawing, m *clip.Model, t *tokenizer.Tokenizer, batch int) *matching {
	return &matching{
		seed: seed, drawings: drawings, model: m, tokens: t, pre: clip.NewPreprocessor(side),
		pixels: tensor.New(tensor.Of(tensor.Float32), tensor.WithShape(batch, side, side, 3)),
		texts:  clip.NewTexts(batch, textLength),
	}
}

func (m *matching) loss(g *gorgonia.ExprGraph) (*gorgonia.Node, error) {
	pictures, err := m.model.ImageFeatures(kernels.Input(g, "pixels", m.pixels))
	if err != nil {
		return nil, err
	}
	texts, err := m.model.TextFeatures(kernels.Input(g, "ids", m.texts.IDs), kernels.Input(g, "pool", m.texts.Pool))
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
		if err := m.model.Text.Set(m.texts, i, m.tokens.Encode(d.truth)); err != nil {
			return err
		}
	}
	return nil
}
