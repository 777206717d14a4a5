package clip

import (
	"fmt"
	"math"
	"math/rand/v2"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// An attention is multi-head self-attention with projections.
type attention struct {
	Q   *nn.Linear `weight:"q_proj"`
	K   *nn.Linear `weight:"k_proj"`
	V   *nn.Linear `weight:"v_proj"`
	Out *nn.Linear `weight:"out_proj"`

	options kernels.AttentionOptions
}

func (a *attention) forward(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	q, k, v := a.Q.Forward(b, x), a.K.Forward(b, x), a.V.Forward(b, x)
	return a.Out.Forward(b, b.Do(kernels.Attention(q, k, v, a.options)))
}

// A layer is one block of a transformer, with the norms first: x + attention(norm(x)), and then
// x + mlp(norm(x)).
type layer struct {
	Norm1     *nn.LayerNorm `weight:"layer_norm1"`
	Attention *attention    `weight:"self_attn"`
	Norm2     *nn.LayerNorm `weight:"layer_norm2"`
	Up        *nn.Linear    `weight:"mlp.fc1"`
	Down      *nn.Linear    `weight:"mlp.fc2"`

	activation string
}

// newLayers returns the layers of an encoder, of zeros. In a causal one a token sees only itself
// and those before it.
func newLayers(c encoderConfig, causal bool) (layers []*layer) {
	square := func() *nn.Linear { return nn.NewLinear(c.width, c.width, true) }
	options := kernels.AttentionOptions{Heads: c.heads, Causal: causal}
	for range c.layers {
		layers = append(layers, &layer{
			Norm1:      nn.NewLayerNorm(c.width, c.epsilon),
			Attention:  &attention{square(), square(), square(), square(), options},
			Norm2:      nn.NewLayerNorm(c.width, c.epsilon),
			Up:         nn.NewLinear(c.width, c.intermediate, true),
			Down:       nn.NewLinear(c.intermediate, c.width, true),
			activation: c.activation,
		})
	}
	return layers
}

// tableDeviation is the standard deviation of the fresh weights of tables, and of what maps a
// patch.
const tableDeviation = 0.02

// root is 1/√n.
func root(n int) float64 { return 1 / math.Sqrt(float64(n)) }

// initLayers draws fresh layers as transformers does: with biases of 0, and weights of a standard
// deviation of 1/√width, less where many of them add to one sum.
func initLayers(layers []*layer, width int, rand func(name string) *rand.Rand) {
	out := root(width)
	in := out * root(2*len(layers))
	for i, l := range layers {
		for _, d := range []struct {
			name      string
			linear    *nn.Linear
			deviation float64
		}{
			{"q", l.Attention.Q, in}, {"k", l.Attention.K, in}, {"v", l.Attention.V, in},
			{"out", l.Attention.Out, out}, {"up", l.Up, root(2 * width)}, {"down", l.Down, in},
		} {
			nn.Normal(d.linear.Weight, d.deviation, rand(fmt.Sprintf("%d.%s", i, d.name)))
			clear(d.linear.Bias.Float32s())
		}
	}
}

func (l *layer) forward(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	x = b.Add(x, l.Attention.forward(b, l.Norm1.Forward(b, x)))
	return b.Add(x, l.Down.Forward(b, l.activate(b, l.Up.Forward(b, l.Norm2.Forward(b, x)))))
}

func (l *layer) activate(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	if l.activation == quickGELU {
		return b.Do(kernels.QuickGELU(x))
	}
	return b.Do(kernels.GELU(x))
}

// addPositions returns x [N,L,D] plus the first L rows of a table.
func addPositions(b *nn.Builder, x *gorgonia.Node, table *nn.Embedding) *gorgonia.Node {
	p := b.Param(table.Weight)
	if n := b.Shape(x, 3)[1]; n < table.Weight.Shape()[0] {
		p = b.Do(kernels.Slice(p, 0, 0, n))
	}
	return b.Do(kernels.AddPositions(x, p))
}
