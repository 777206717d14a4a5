package vae

import (
	"fmt"

	"gorgonia.org/gorgonia"
	"gorgonia.org/tensor"

	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

const eps = 1e-6 // of every group norm

// A coder is the encoder, whose blocks go down, or the decoder, whose blocks go up.
type coder struct {
	ConvIn      *nn.Conv2D    `weight:"conv_in"`
	DownBlocks  []*block      `weight:"down_blocks"`
	MidBlock    *block        `weight:"mid_block"`
	UpBlocks    []*block      `weight:"up_blocks"`
	ConvNormOut *nn.GroupNorm `weight:"conv_norm_out"`
	ConvOut     *nn.Conv2D    `weight:"conv_out"`
}

type block struct {
	Resnets      []*resnet    `weight:"resnets"`
	Attentions   []*attention `weight:"attentions"`
	Downsamplers []*resampler `weight:"downsamplers"`
	Upsamplers   []*resampler `weight:"upsamplers"`
}

type resampler struct {
	Conv *nn.Conv2D `weight:"conv"`
}

func newEncoder(c Config) *coder {
	levels := len(c.BlockOutChannels)
	in := c.BlockOutChannels[0]
	e := &coder{ConvIn: nn.NewConv2D(c.InChannels, in, 3, 1, true)}
	for i, out := range c.BlockOutChannels {
		b := newBlock(c, in, out, c.LayersPerBlock)
		if i < levels-1 {
			down := nn.NewConv2D(out, out, 3, 2, true)
			down.Conv = kernels.Conv{Stride: 2, Bottom: 1, Right: 1}
			b.Downsamplers = []*resampler{{down}}
		}
		e.DownBlocks = append(e.DownBlocks, b)
		in = out
	}
	e.MidBlock = newMid(c, in)
	e.ConvNormOut = nn.NewGroupNorm(in, c.NormNumGroups, eps)
	e.ConvOut = nn.NewConv2D(in, 2*c.LatentChannels, 3, 1, true)
	return e
}

func newDecoder(c Config) *coder {
	levels := len(c.BlockOutChannels)
	in := c.BlockOutChannels[levels-1]
	d := &coder{ConvIn: nn.NewConv2D(c.LatentChannels, in, 3, 1, true), MidBlock: newMid(c, in)}
	for i := range levels {
		out := c.BlockOutChannels[levels-1-i]
		b := newBlock(c, in, out, c.LayersPerBlock+1)
		if i < levels-1 {
			b.Upsamplers = []*resampler{{nn.NewConv2D(out, out, 3, 1, true)}}
		}
		d.UpBlocks = append(d.UpBlocks, b)
		in = out
	}
	d.ConvNormOut = nn.NewGroupNorm(in, c.NormNumGroups, eps)
	d.ConvOut = nn.NewConv2D(in, c.OutChannels, 3, 1, true)
	return d
}

func newBlock(c Config, in, out, layers int) *block {
	b := &block{}
	for range layers {
		b.Resnets = append(b.Resnets, newResnet(c, in, out))
		in = out
	}
	return b
}

func newMid(c Config, channels int) *block {
	b := newBlock(c, channels, channels, 2)
	if c.MidBlockAddAttention {
		b.Attentions = []*attention{newAttention(c, channels)}
	}
	return b
}

// encode maps pictures to the moments of their latents.
func (e *coder) encode(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	h := e.ConvIn.Forward(b, x)
	for _, level := range e.DownBlocks {
		h = level.residual(b, h)
		for _, down := range level.Downsamplers {
			h = down.Conv.Forward(b, h)
		}
	}
	h = e.MidBlock.mid(b, h)
	return e.ConvOut.Forward(b, e.ConvNormOut.ForwardSiLU(b, h))
}

// decode maps latents to pictures.
func (d *coder) decode(b *nn.Builder, z *gorgonia.Node) *gorgonia.Node {
	h := d.MidBlock.mid(b, d.ConvIn.Forward(b, z))
	for _, level := range d.UpBlocks {
		h = level.residual(b, h)
		for _, up := range level.Upsamplers {
			h = up.Conv.Forward(b, b.Do(kernels.UpsampleNearest2x(h)))
		}
	}
	return d.ConvOut.Forward(b, d.ConvNormOut.ForwardSiLU(b, h))
}

func (l *block) residual(b *nn.Builder, h *gorgonia.Node) *gorgonia.Node {
	for _, r := range l.Resnets {
		h = r.Forward(b, h)
	}
	return h
}

func (l *block) mid(b *nn.Builder, h *gorgonia.Node) *gorgonia.Node {
	h = l.Resnets[0].Forward(b, h)
	for _, a := range l.Attentions {
		h = a.Forward(b, h)
	}
	return l.Resnets[1].Forward(b, h)
}

// A resnet is a residual block: two convolutions behind group norms and SiLU.
type resnet struct {
	Norm1        *nn.GroupNorm `weight:"norm1"`
	Conv1        *nn.Conv2D    `weight:"conv1"`
	Norm2        *nn.GroupNorm `weight:"norm2"`
	Conv2        *nn.Conv2D    `weight:"conv2"`
	ConvShortcut *nn.Conv2D    `weight:"conv_shortcut"` // where the channels change
}

func newResnet(c Config, in, out int) *resnet {
	r := &resnet{
		Norm1: nn.NewGroupNorm(in, c.NormNumGroups, eps),
		Conv1: nn.NewConv2D(in, out, 3, 1, true),
		Norm2: nn.NewGroupNorm(out, c.NormNumGroups, eps),
		Conv2: nn.NewConv2D(out, out, 3, 1, true),
	}
	if in != out {
		r.ConvShortcut = nn.NewConv2D(in, out, 1, 1, true)
	}
	return r
}

func (r *resnet) Forward(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	h := r.Conv1.Forward(b, r.Norm1.ForwardSiLU(b, x))
	h = r.Conv2.Forward(b, r.Norm2.ForwardSiLU(b, h))
	if r.ConvShortcut != nil {
		x = r.ConvShortcut.Forward(b, x)
	}
	return b.Add(x, h)
}

// An attention lets positions attend to each other, with one head.
type attention struct {
	GroupNorm *nn.GroupNorm `weight:"group_norm"`
	ToQ       *nn.Linear    `weight:"to_q"`
	ToK       *nn.Linear    `weight:"to_k"`
	ToV       *nn.Linear    `weight:"to_v"`
	ToOut     *nn.Linear    `weight:"to_out.0"`
}

func newAttention(c Config, channels int) *attention {
	linear := func() *nn.Linear { return nn.NewLinear(channels, channels, true) }
	return &attention{
		GroupNorm: nn.NewGroupNorm(channels, c.NormNumGroups, eps),
		ToQ:       linear(),
		ToK:       linear(),
		ToV:       linear(),
		ToOut:     linear(),
	}
}

func (a *attention) Forward(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	s := b.Shape(x, 4)
	h := b.Reshape(a.GroupNorm.Forward(b, x), s[0], s[1]*s[2], s[3])
	q, k, v := a.ToQ.Forward(b, h), a.ToK.Forward(b, h), a.ToV.Forward(b, h)
	h = b.Do(kernels.Attention(q, k, v, kernels.AttentionOptions{Heads: 1}))
	return b.Add(x, b.Reshape(a.ToOut.Forward(b, h), s...))
}

// clamp keeps values in [Low,High]; its gradient is 0 outside.
type clamp struct{ Low, High float32 }

func (c clamp) Shape(in []tensor.Shape) (tensor.Shape, error) {
	if len(in) != 1 {
		return nil, fmt.Errorf("clamp takes one input, not %d", len(in))
	}
	return in[0].Clone(), nil
}

func (c clamp) Eval(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	for i, v := range in[0].Data {
		dst.Data[i] = min(max(v, c.Low), c.High)
	}
}

func (c clamp) Differentiable(int) []bool { return []bool{true} }

func (c clamp) Grad(in gorgonia.Nodes, _, dout *gorgonia.Node) (gorgonia.Nodes, error) {
	dx, err := kernels.Apply(clampGrad(c), in[0], dout)
	return gorgonia.Nodes{dx}, err
}

// clampGrad is clamp's gradient; its inputs are clamp's and the gradient of its result.
type clampGrad clamp

func (c clampGrad) Shape(in []tensor.Shape) (tensor.Shape, error) { return in[0].Clone(), nil }

func (c clampGrad) Eval(_ *kernels.Context, dst kernels.Tensor, in []kernels.Tensor) {
	for i, v := range in[0].Data {
		dst.Data[i] = 0
		if v >= c.Low && v <= c.High {
			dst.Data[i] = in[1].Data[i]
		}
	}
}

func (c clampGrad) Differentiable(int) []bool { return []bool{false, false} }

func (c clampGrad) Grad(gorgonia.Nodes, *gorgonia.Node, *gorgonia.Node) (gorgonia.Nodes, error) {
	return make(gorgonia.Nodes, 2), nil
}
