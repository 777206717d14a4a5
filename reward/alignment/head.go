package alignment

import (
	"math"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A head is the perceptron on CLIP's embeddings: Linear, ReLU, Linear, sigmoid.
type head struct {
	Linear1 *nn.Linear `weight:"linear_1"`
	Linear2 *nn.Linear `weight:"linear_2"`

	config headConfig
}

// A headConfig decides a head's shape.
type headConfig struct {
	Embedding int  `json:"embedding"` // width of CLIP's embeddings
	Hidden    int  `json:"hidden"`    // hidden units
	Product   bool `json:"product"`   // Training.Product
}

// width is how many numbers the perceptron reads.
func (c headConfig) width() int {
	if c.Product {
		return 3 * c.Embedding
	}
	return 2 * c.Embedding
}

// join writes what the perceptron reads of an image's and a text's normalized embedding. They are
// scaled by the root of their width, so that an element's mean square is 1.
func (c headConfig) join(dst, image, text []float32) {
	scale := float32(math.Sqrt(float64(c.Embedding)))
	for i := range c.Embedding {
		dst[i], dst[c.Embedding+i] = scale*image[i], scale*text[i]
		if c.Product {
			dst[2*c.Embedding+i] = scale * scale * image[i] * text[i]
		}
	}
}

// emptyHead returns a head whose weights are yet to be read.
func emptyHead(c headConfig) *head {
	return &head{
		Linear1: nn.NewLinear(c.width(), c.Hidden, true),
		Linear2: nn.NewLinear(c.Hidden, 1, true),
		config:  c,
	}
}

// newHead returns a head for training from scratch, with biases of 0.
func newHead(c headConfig, seed uint64) *head {
	h := emptyHead(c)
	nn.Init(h, seed)
	clear(h.Linear1.Bias.Float32s())
	clear(h.Linear2.Bias.Float32s())
	return h
}

// logits adds the score before the sigmoid [M,1] of M rows x [M,Width] to x's graph.
func (h *head) logits(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	return h.Linear2.Forward(b, b.Do(kernels.ReLU(h.Linear1.Forward(b, x))))
}

// score is the reward of one row, in float64.
func (h *head) score(row []float32) float64 { return sigmoid(h.logit(row)) }

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// logit is the score of one row before the sigmoid.
func (h *head) logit(row []float32) float64 {
	w1, b1 := h.Linear1.Weight.Float32s(), h.Linear1.Bias.Float32s()
	w2 := h.Linear2.Weight.Float32s()
	sum := float64(h.Linear2.Bias.Float32s()[0])
	for j, bias := range b1 {
		unit := float64(bias)
		for i, w := range w1[j*len(row) : (j+1)*len(row)] {
			unit += float64(w) * float64(row[i])
		}
		sum += float64(w2[j]) * max(unit, 0)
	}
	return sum
}

// snapshot and restore copy a head's weights.
func (h *head) snapshot() [][]float32 {
	var out [][]float32
	for _, p := range nn.Parameters(h) {
		out = append(out, append([]float32{}, p.Value.Float32s()...))
	}
	return out
}

func (h *head) restore(from [][]float32) {
	for i, p := range nn.Parameters(h) {
		copy(p.Value.Float32s(), from[i])
	}
}
