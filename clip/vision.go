package clip

import (
	"fmt"
	"math/rand/v2"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A VisionModel is CLIP's image encoder (transformers' CLIPVisionModel): a vision transformer.
type VisionModel struct {
	Config VisionConfig

	Class     *tensor.Dense `weight:"embeddings.class_embedding"` // [D]
	Patch     *nn.Conv2D    `weight:"embeddings.patch_embedding"`
	Positions *nn.Embedding `weight:"embeddings.position_embedding"`
	PreNorm   *nn.LayerNorm `weight:"pre_layrnorm"` // spelled so in every file
	Layers    []*layer      `weight:"encoder.layers"`
	PostNorm  *nn.LayerNorm `weight:"post_layernorm"`
}

// NewVisionModel returns an image encoder of zeros. A config that describes none is an error.
func NewVisionModel(c VisionConfig) (*VisionModel, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	side := c.Side / c.Patch
	m := &VisionModel{
		Config:    c,
		Class:     tensor.New(tensor.WithShape(c.Width), tensor.Of(tensor.Float32)),
		Patch:     nn.NewConv2D(c.Channels, c.Width, c.Patch, c.Patch, false),
		Positions: nn.NewEmbedding(1+side*side, c.Width),
		PreNorm:   nn.NewLayerNorm(c.Width, c.Epsilon),
		Layers:    newLayers(c.encoder(), false),
		PostNorm:  nn.NewLayerNorm(c.Width, c.Epsilon),
	}
	m.Patch.Conv = kernels.Conv{Stride: c.Patch}
	return m, nil
}

// Trainable lists the network's parameters under transformers' names.
func (m *VisionModel) Trainable() []kernels.Parameter { return nn.Parameters(m) }

// InitWeights draws fresh weights as transformers does where initializer_factor is 1 and
// initializer_range is 0.02. It satisfies nn.Initializer.
func (m *VisionModel) InitWeights(rand func(name string) *rand.Rand) {
	nn.Normal(m.Class, root(m.Config.Width), rand("class"))
	nn.Normal(m.Patch.Weight, tableDeviation, rand("patches"))
	nn.Normal(m.Positions.Weight, tableDeviation, rand("positions"))
	initLayers(m.Layers, m.Config.Width, rand)
}

// Pooled adds the encoder to the graph of pixels [N,Side,Side,3], which a Preprocessor makes. It
// returns the last state of the class token, [N,Width].
func (m *VisionModel) Pooled(pixels *gorgonia.Node) (*gorgonia.Node, error) {
	s := pixels.Shape()
	if c := m.Config; s.Dims() != 4 || s[1] != c.Side || s[2] != c.Side || s[3] != c.Channels {
		return nil, fmt.Errorf("clip: pixels %v are not [N,%d,%d,%d]",
			s, c.Side, c.Side, c.Channels)
	}
	b := nn.On(pixels)
	n, d, patches := s[0], m.Config.Width, m.Positions.Weight.Shape()[0]-1
	class := m.class(b, pixels.Graph(), n)
	x := b.Reshape(m.Patch.Forward(b, pixels), n, patches*d)
	x = b.Reshape(b.Do(kernels.Concat(class, x)), n, 1+patches, d)
	x = m.PreNorm.Forward(b, addPositions(b, x, m.Positions))
	for _, l := range m.Layers {
		x = l.forward(b, x)
	}
	first := b.Reshape(b.Do(kernels.Slice(x, 1, 0, 1)), n, d)
	return b.Result(m.PostNorm.Forward(b, first))
}

// class returns the class token n times, [n,D].
func (m *VisionModel) class(b *nn.Builder, g *gorgonia.ExprGraph, n int) *gorgonia.Node {
	d := m.Config.Width
	row := b.Reshape(b.Param(m.Class), 1, d)
	rows := tensor.New(tensor.WithShape(n, 1), tensor.Of(tensor.Float32)) // all of them the first
	zeros := kernels.Input(g, fmt.Sprintf("class token of %d", n), rows)
	return b.Reshape(b.Do(kernels.Embedding(row, zeros)), n, d)
}
