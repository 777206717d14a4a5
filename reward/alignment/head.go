package alignment

import (
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A Head is the perceptron on CLIP's embeddings: Linear, ReLU, Linear, sigmoid.
type Head struct {
	Linear1 *nn.Linear `weight:"linear_1"`
	Linear2 *nn.Linear `weight:"linear_2"`

	config HeadConfig
}

// A HeadConfig decides a head's shape.
type HeadConfig struct {
	Embedding int `json:"embedding"` // width of CLIP's embeddings
	Hidden    int `json:"hidden"`    // hidden units
	// Product adds the elementwise product of the two embeddings to what the perceptron reads. The paper's reads only the
	// two side by side, and must learn from the labels alone that it is their agreement which counts.
	Product bool `json:"product"`
}

// Width is how many numbers the perceptron reads.
func (c HeadConfig) Width() int {
	if c.Product {
		return 3 * c.Embedding
	}
	return 2 * c.Embedding
}

// join writes what the perceptron reads of an image's and a text's normalized embedding. They are scaled by the root of
// their width, so that an element's mean square is 1.
func (c HeadConfig) join(dst, image, text []float32) {
	scale := float32(math.Sqrt(float64(c.Embedding)))
	for i := range c.Embedding {
		dst[i], dst[c.Embedding+i] = scale*image[i], scale*text[i]
		if c.Product {
			dst[2*c.Embedding+i] = scale * scale * image[i] * text[i]
		}
	}
}

// newHead returns a head for training from scratch, with biases of 0.
func newHead(c HeadConfig, seed uint64) *Head {
	h := &Head{nn.NewLinear(c.Width(), c.Hidden, true), nn.NewLinear(c.Hidden, 1, true), c}
	nn.Init(h, seed)
	clear(h.Linear1.Bias.Float32s())
	clear(h.Linear2.Bias.Float32s())
	return h
}

// logits adds the score before the sigmoid [M,1] of M rows x [M,Width] to x's graph.
func (h *Head) logits(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	return h.Linear2.Forward(b, b.Do(kernels.ReLU(h.Linear1.Forward(b, x))))
}

// score is the reward of one row, in float64.
func (h *Head) score(row []float32) float64 {
	w1, b1, w2 := h.Linear1.Weight.Float32s(), h.Linear1.Bias.Float32s(), h.Linear2.Weight.Float32s()
	sum := float64(h.Linear2.Bias.Float32s()[0])
	for j, bias := range b1 {
		unit := float64(bias)
		for i, w := range w1[j*len(row) : (j+1)*len(row)] {
			unit += float64(w) * float64(row[i])
		}
		sum += float64(w2[j]) * max(unit, 0)
	}
	return 1 / (1 + math.Exp(-sum))
}

// snapshot and restore copy a head's weights.
func (h *Head) snapshot() [][]float32 {
	var out [][]float32
	for _, p := range nn.Parameters(h) {
		out = append(out, append([]float32{}, p.Value.Float32s()...))
	}
	return out
}

func (h *Head) restore(from [][]float32) {
	for i, p := range nn.Parameters(h) {
		copy(p.Value.Float32s(), from[i])
	}
}
