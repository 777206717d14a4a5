package unet

import (
	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A resnet is a residual block: two convolutions behind group norms and SiLU, the time added
// between them.
type resnet struct {
	Norm1        *nn.GroupNorm `weight:"norm1"`
	Conv1        *nn.Conv2D    `weight:"conv1"`
	TimeEmbProj  *nn.Linear    `weight:"time_emb_proj"`
	Norm2        *nn.GroupNorm `weight:"norm2"`
	Conv2        *nn.Conv2D    `weight:"conv2"`
	ConvShortcut *nn.Conv2D    `weight:"conv_shortcut"` // where the channels change
}

func newResnet(c Config, in, out, time int) *resnet {
	r := &resnet{
		Norm1:       nn.NewGroupNorm(in, c.NormNumGroups, c.NormEps),
		Conv1:       nn.NewConv2D(in, out, 3, 1, true),
		TimeEmbProj: nn.NewLinear(time, out, true),
		Norm2:       nn.NewGroupNorm(out, c.NormNumGroups, c.NormEps),
		Conv2:       nn.NewConv2D(out, out, 3, 1, true),
	}
	if in != out {
		r.ConvShortcut = nn.NewConv2D(in, out, 1, 1, true)
	}
	return r
}

// Forward maps x [N,H,W,C] and time [N,T] (behind its SiLU) to [N,H,W,Cout].
func (r *resnet) Forward(b *nn.Builder, x, time *gorgonia.Node) *gorgonia.Node {
	h := r.Conv1.Forward(b, r.Norm1.ForwardSiLU(b, x))
	h = b.Do(kernels.AddTime(h, r.TimeEmbProj.Forward(b, time)))
	h = r.Conv2.Forward(b, r.Norm2.ForwardSiLU(b, h))
	if r.ConvShortcut != nil {
		x = r.ConvShortcut.Forward(b, x)
	}
	return b.Add(x, h)
}

// A layer maps the last axis.
type layer interface {
	Forward(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node
}

// A transformer lets positions attend to each other and to the text (diffusers'
// Transformer2DModel). Channels-last latents are tokens already, so nothing is moved.
type transformer struct {
	Norm    *nn.GroupNorm       `weight:"norm"`
	ProjIn  layer               `weight:"proj_in"` // a 1×1 convolution in SD 1, linear in SD 2
	Blocks  []*transformerBlock `weight:"transformer_blocks"`
	ProjOut layer               `weight:"proj_out"`
}

type transformerBlock struct {
	Norm1 *nn.LayerNorm `weight:"norm1"`
	Attn1 *attention    `weight:"attn1"` // to itself
	Norm2 *nn.LayerNorm `weight:"norm2"`
	Attn2 *attention    `weight:"attn2"` // to the text
	Norm3 *nn.LayerNorm `weight:"norm3"`
	FFIn  *nn.Linear    `weight:"ff.net.0.proj"`
	FFOut *nn.Linear    `weight:"ff.net.2"`
}

type attention struct {
	ToQ   *nn.Linear `weight:"to_q"`
	ToK   *nn.Linear `weight:"to_k"`
	ToV   *nn.Linear `weight:"to_v"`
	ToOut *nn.Linear `weight:"to_out.0"`

	heads int
}

func newTransformer(c Config, level, layers int) *transformer {
	channels, text := c.BlockOutChannels[level], c.CrossAttentionDim.At(level)
	heads := c.AttentionHeadDim.At(level)
	t := &transformer{Norm: nn.NewGroupNorm(channels, c.NormNumGroups, 1e-6)}
	if c.UseLinearProjection {
		t.ProjIn = nn.NewLinear(channels, channels, true)
		t.ProjOut = nn.NewLinear(channels, channels, true)
	} else {
		t.ProjIn = nn.NewConv2D(channels, channels, 1, 1, true)
		t.ProjOut = nn.NewConv2D(channels, channels, 1, 1, true)
	}
	for range layers {
		t.Blocks = append(t.Blocks, &transformerBlock{
			Norm1: nn.NewLayerNorm(channels, 1e-5), Attn1: newAttention(channels, channels, heads),
			Norm2: nn.NewLayerNorm(channels, 1e-5), Attn2: newAttention(channels, text, heads),
			Norm3: nn.NewLayerNorm(channels, 1e-5),
			FFIn:  nn.NewLinear(channels, 8*channels, true),
			FFOut: nn.NewLinear(4*channels, channels, true),
		})
	}
	return t
}

func newAttention(channels, context, heads int) *attention {
	return &attention{
		ToQ: nn.NewLinear(channels, channels, false), ToK: nn.NewLinear(context, channels, false),
		ToV: nn.NewLinear(context, channels, false), ToOut: nn.NewLinear(channels, channels, true),
		heads: heads,
	}
}

// Forward maps x [N,H,W,C] under conditions c [N,L,D] to [N,H,W,C].
func (t *transformer) Forward(b *nn.Builder, x, c *gorgonia.Node) *gorgonia.Node {
	s := b.Shape(x, 4)
	h := t.ProjIn.Forward(b, t.Norm.Forward(b, x))
	h = b.Reshape(h, s[0], s[1]*s[2], s[3])
	for _, block := range t.Blocks {
		y := block.Norm1.Forward(b, h)
		h = b.Add(h, block.Attn1.Forward(b, y, y))
		h = b.Add(h, block.Attn2.Forward(b, block.Norm2.Forward(b, h), c))
		h = b.Add(h, block.feedForward(b, block.Norm3.Forward(b, h)))
	}
	h = b.Reshape(h, s...)
	return b.Add(x, t.ProjOut.Forward(b, h))
}

// Forward lets x [N,L,C] attend to c [N,L',D].
func (a *attention) Forward(b *nn.Builder, x, c *gorgonia.Node) *gorgonia.Node {
	q, k, v := a.ToQ.Forward(b, x), a.ToK.Forward(b, c), a.ToV.Forward(b, c)
	h := b.Do(kernels.Attention(q, k, v, kernels.AttentionOptions{Heads: a.heads}))
	return a.ToOut.Forward(b, h)
}

// feedForward is linear, GEGLU, linear.
func (t *transformerBlock) feedForward(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	return t.FFOut.Forward(b, b.Do(kernels.GEGLU(t.FFIn.Forward(b, x))))
}
