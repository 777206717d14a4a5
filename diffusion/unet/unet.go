package unet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/diffusion"
	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// A UNet2DCondition is the network. Its parameters carry diffusers' names.
type UNet2DCondition struct {
	ConvIn        *nn.Conv2D    `weight:"conv_in"`
	TimeEmbedding timeEmbedding `weight:"time_embedding"`
	// AddEmbedding is that of pooled vectors and sizes. It is nil where they are not read.
	AddEmbedding *timeEmbedding `weight:"add_embedding"`
	DownBlocks   []*block       `weight:"down_blocks"`
	MidBlock     *block         `weight:"mid_block"`
	UpBlocks     []*block       `weight:"up_blocks"`
	ConvNormOut  *nn.GroupNorm  `weight:"conv_norm_out"`
	ConvOut      *nn.Conv2D     `weight:"conv_out"`

	Config Config
}

// A block is one level on the way down or up, or the middle. Attentions are nil where it does not
// attend.
type block struct {
	Resnets      []*resnet      `weight:"resnets"`
	Attentions   []*transformer `weight:"attentions"`
	Downsamplers []*resampler   `weight:"downsamplers"`
	Upsamplers   []*resampler   `weight:"upsamplers"`
}

type resampler struct {
	Conv *nn.Conv2D `weight:"conv"`
}

type timeEmbedding struct {
	Linear1 *nn.Linear `weight:"linear_1"`
	Linear2 *nn.Linear `weight:"linear_2"`
}

func newTimeEmbedding(in, time int) timeEmbedding {
	return timeEmbedding{nn.NewLinear(in, time, true), nn.NewLinear(time, time, true)}
}

// Forward maps vectors [N,in] to [N,T].
func (e *timeEmbedding) Forward(b *nn.Builder, x *gorgonia.Node) *gorgonia.Node {
	return e.Linear2.Forward(b, b.Do(kernels.SiLU(e.Linear1.Forward(b, x))))
}

// New returns a network of zeros.
func New(c Config) (*UNet2DCondition, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	first, levels, time := c.BlockOutChannels[0], len(c.BlockOutChannels), c.timeChannels()
	u := &UNet2DCondition{
		ConvIn:        nn.NewConv2D(c.InChannels, first, 3, 1, true),
		TimeEmbedding: newTimeEmbedding(first, time),
		ConvNormOut:   nn.NewGroupNorm(first, c.NormNumGroups, c.NormEps),
		ConvOut:       nn.NewConv2D(first, c.OutChannels, 3, 1, true),
		Config:        c,
	}
	if c.AdditionEmbedType == textTime {
		add := newTimeEmbedding(c.ProjectionClassEmbeddingsInputDim, time)
		u.AddEmbedding = &add
	}
	in := first
	for i, out := range c.BlockOutChannels {
		b := &block{}
		for j := range c.LayersPerBlock.At(i) {
			b.addResnet(c, in, out, time)
			if c.DownBlockTypes[i] == "CrossAttnDownBlock2D" {
				b.addAttention(c, i, c.TransformerLayersPerBlock.At(i))
			}
			if in = out; j == c.LayersPerBlock.At(i)-1 && i < levels-1 {
				down := nn.NewConv2D(out, out, 3, 2, true)
				if c.DownsamplePadding == 0 {
					down.Conv = kernels.Conv{Stride: 2, Bottom: 1, Right: 1}
				}
				b.Downsamplers = []*resampler{{down}}
			}
		}
		u.DownBlocks = append(u.DownBlocks, b)
	}
	u.MidBlock = &block{}
	u.MidBlock.addResnet(c, in, in, time)
	u.MidBlock.addAttention(c, levels-1, c.TransformerLayersPerBlock.At(levels-1))
	u.MidBlock.addResnet(c, in, in, time)
	for i := range levels {
		level := levels - 1 - i
		out, next := c.BlockOutChannels[level], c.BlockOutChannels[max(level-1, 0)]
		b := &block{}
		for j := range c.LayersPerBlock.At(level) + 1 {
			skip := out
			if j == c.LayersPerBlock.At(level) {
				skip = next
			}
			b.addResnet(c, in+skip, out, time)
			if c.UpBlockTypes[i] == "CrossAttnUpBlock2D" {
				b.addAttention(c, level, c.upLayers(level))
			}
			in = out
		}
		if i < levels-1 {
			b.Upsamplers = []*resampler{{nn.NewConv2D(out, out, 3, 1, true)}}
		}
		u.UpBlocks = append(u.UpBlocks, b)
	}
	return u, nil
}

func (b *block) addResnet(c Config, in, out, time int) {
	b.Resnets = append(b.Resnets, newResnet(c, in, out, time))
}

func (b *block) addAttention(c Config, level, layers int) {
	b.Attentions = append(b.Attentions, newTransformer(c, level, layers))
}

// Predict adds to x's graph what the network says of noisy latents x [N,H,W,C] at timesteps t [N]
// under conditions c: [N,H,W,Cout] of what it was trained to predict. It reads the tokens [N,L,D],
// and with Config.AdditionEmbedType the pooled vectors [N,P] and the sizes [N,6]; it is an error
// that names the part if one is not there.
func (u *UNet2DCondition) Predict(
	x, t *gorgonia.Node, c diffusion.Condition,
) (*gorgonia.Node, error) {
	if s := x.Shape(); s.Dims() != 4 || s[3] != u.Config.InChannels {
		return nil, fmt.Errorf("unet: latents %v are not [N,H,W,%d]", s, u.Config.InChannels)
	}
	if err := u.reads(c); err != nil {
		return nil, err
	}
	b := nn.On(x)
	time := u.embedTime(b, t, c)

	h := u.ConvIn.Forward(b, x)
	skips := gorgonia.Nodes{h}
	for _, level := range u.DownBlocks {
		for i := range level.Resnets {
			h = level.layer(b, i, h, time, c.Tokens)
			skips = append(skips, h)
		}
		for _, down := range level.Downsamplers {
			h = down.Conv.Forward(b, h)
			skips = append(skips, h)
		}
	}
	h = u.MidBlock.layer(b, 0, h, time, c.Tokens)
	h = u.MidBlock.Resnets[1].Forward(b, h, time)
	for _, level := range u.UpBlocks {
		for i := range level.Resnets {
			skip := skips[len(skips)-1]
			skips = skips[:len(skips)-1]
			h = b.Do(kernels.Concat(h, skip))
			h = level.layer(b, i, h, time, c.Tokens)
		}
		for _, up := range level.Upsamplers {
			// To the next skip's size: the double, or one less where a side was odd.
			size := b.Shape(skips[len(skips)-1], 4)
			h = b.Do(kernels.UpsampleNearest(h, size[1], size[2]))
			h = up.Conv.Forward(b, h)
		}
	}
	h = u.ConvOut.Forward(b, u.ConvNormOut.ForwardSiLU(b, h))
	if b.Err() != nil {
		return nil, fmt.Errorf("unet: %w", b.Err())
	}
	return h, nil
}

// layer is residual block i and, where there is one, the attention behind it.
func (l *block) layer(b *nn.Builder, i int, h, time, c *gorgonia.Node) *gorgonia.Node {
	h = l.Resnets[i].Forward(b, h, time)
	if i < len(l.Attentions) {
		h = l.Attentions[i].Forward(b, h, c)
	}
	return h
}

// reads says by an error which part of a condition is missing or has a shape that does not fit.
func (u *UNet2DCondition) reads(c diffusion.Condition) error {
	if c.Tokens == nil {
		return errors.New("unet: the condition has no tokens")
	}
	if u.AddEmbedding == nil {
		return nil
	}
	each, all := u.Config.AdditionTimeEmbedDim, u.Config.ProjectionClassEmbeddingsInputDim
	switch {
	case c.Pooled == nil:
		return errors.New(
			"unet: the condition has no pooled vector, which addition_embed_type asks for")
	case c.Sizes == nil:
		return errors.New("unet: the condition has no sizes, which addition_embed_type asks for")
	case c.Pooled.Dims() != 2 || c.Sizes.Dims() != 2 ||
		c.Pooled.Shape()[1]+each*c.Sizes.Shape()[1] != all:
		return fmt.Errorf("unet: the condition has pooled %v and sizes %v; with %d numbers a size "+
			"they are not the %d of projection_class_embeddings_input_dim",
			c.Pooled.Shape(), c.Sizes.Shape(), each, all)
	}
	return nil
}

// embedTime maps timesteps [N], and what the network reads of conditions beside the tokens, to the
// vectors [N,T] that every residual block adds, with the SiLU that comes before each block's own
// projection.
func (u *UNet2DCondition) embedTime(
	b *nn.Builder, t *gorgonia.Node, c diffusion.Condition,
) *gorgonia.Node {
	e := u.TimeEmbedding.Forward(b, u.sines(b, t, u.Config.BlockOutChannels[0]))
	if u.AddEmbedding != nil {
		n, sizes := c.Sizes.Shape()[0], c.Sizes.Shape()[1]
		each := u.sines(b, b.Reshape(c.Sizes, n*sizes), u.Config.AdditionTimeEmbedDim)
		each = b.Reshape(each, n, sizes*u.Config.AdditionTimeEmbedDim)
		e = b.Do(kernels.Add(e, u.AddEmbedding.Forward(b, b.Do(kernels.Concat(c.Pooled, each)))))
	}
	return b.Do(kernels.SiLU(e))
}

// sines are dim sines and cosines of each of some numbers [K]: [K,dim].
func (u *UNet2DCondition) sines(b *nn.Builder, x *gorgonia.Node, dim int) *gorgonia.Node {
	return b.Do(kernels.TimestepEmbedding(x, dim, u.Config.FlipSinToCos, u.Config.FreqShift))
}

// Trainable lists the network's parameters under diffusers' names.
func (u *UNet2DCondition) Trainable() []kernels.Parameter { return nn.Parameters(u) }

const base = "diffusion_pytorch_model"

// names say how those of files differ from the network's.
var names = weights.Names{Rename: weights.Unwrapped, Kind: "a UNet"}

// Load reads a folder that diffusers wrote: config.json and diffusion_pytorch_model.safetensors.
func Load(dir string) (*UNet2DCondition, error) {
	u, err := LoadFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	return u, nil
}

// ReadConfig reads and parses the config.json of a folder.
func ReadConfig(fsys fs.FS) (Config, error) {
	config, err := text.ReadFS(fsys, "config.json")
	if err != nil {
		return Config{}, fmt.Errorf("unet: %w", err)
	}
	return ParseConfig(config)
}

// NewWithin is New of a network whose file holds so many numbers. A config that asks for more is an
// error, and no memory is taken for it.
func NewWithin(c Config, numbers int) (*UNet2DCondition, error) {
	if least := c.least(); least > float64(numbers) {
		return nil, fmt.Errorf("unet: config.json describes a network of at least %.0f weights, "+
			"the file holds %d", least, numbers)
	}
	return New(c)
}

// LoadFS is Load of the folder that is fsys.
func LoadFS(fsys fs.FS) (*UNet2DCondition, error) {
	u, f, err := open(fsys)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := weights.Load(u, f, names); err != nil {
		return nil, fmt.Errorf("unet: %w", err)
	}
	return u, nil
}

// NewFS is New of the config.json in a folder. The folder must hold the network's weights too.
// Their names and shapes must fit, but their numbers are not read.
func NewFS(fsys fs.FS) (*UNet2DCondition, error) {
	u, f, err := open(fsys)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(weights.Check(u, f, names), f.Close()); err != nil {
		return nil, fmt.Errorf("unet: %w", err)
	}
	return u, nil
}

// open returns a folder's network, of zeros, and its open file.
func open(fsys fs.FS) (*UNet2DCondition, *weights.File, error) {
	c, err := ReadConfig(fsys)
	if err != nil {
		return nil, nil, err
	}
	f, err := weights.OpenFolder(fsys, base)
	if err != nil {
		return nil, nil, fmt.Errorf("unet: %w", err)
	}
	u, err := NewWithin(c, f.Size())
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return u, f, nil
}

// Latents are the side and the channels of the latents that the network was trained on, 0 where its
// config does not say the side.
func (u *UNet2DCondition) Latents() (side, channels int) {
	return u.Config.SampleSize, u.Config.OutChannels
}

// Save writes the folder that Load and diffusers read. A low-rank adapter that is attached is an
// error: the folder would lack it.
func (u *UNet2DCondition) Save(dir string, as kernels.Precision) error {
	if err := nn.Unadapted(u); err != nil {
		return fmt.Errorf("unet: %w", err)
	}
	text, err := json.MarshalIndent(struct {
		Class string `json:"_class_name"`
		Config
	}{"UNet2DConditionModel", u.Config}, "", "  ")
	if err != nil {
		return fmt.Errorf("unet: %w", err)
	}
	metadata := map[string]string{"format": "pt"}
	err = errors.Join(
		os.MkdirAll(dir, 0o777),
		weights.Save(filepath.Join(dir, base+".safetensors"), u, as, metadata),
		file.WriteBytes(filepath.Join(dir, "config.json"), append(text, '\n')),
	)
	if err != nil {
		return fmt.Errorf("unet: %w", err)
	}
	return nil
}
