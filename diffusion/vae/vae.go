// Package vae is the autoencoder of Stable Diffusion: diffusers' AutoencoderKL, which turns
// pictures into latents an eighth as wide and high, and back (Rombach et al. 2022, §3.1).
//
// Everything is configured by the checkpoint's config.json. Latents and pictures are channels-last;
// pictures are in [-1,1]. No scaling factor is applied here.
package vae

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"gorgonia.org/gorgonia"

	"github.com/kudos-ml/kudos/internal/file"
	"github.com/kudos-ml/kudos/internal/text"
	"github.com/kudos-ml/kudos/internal/weights"
	"github.com/kudos-ml/kudos/kernels"
	"github.com/kudos-ml/kudos/kernels/nn"
)

// An AutoencoderKL is the network. Its parameters carry diffusers' names.
type AutoencoderKL struct {
	Encoder       *coder     `weight:"encoder"`
	QuantConv     *nn.Conv2D `weight:"quant_conv"` // nil where the config has none
	PostQuantConv *nn.Conv2D `weight:"post_quant_conv"`
	Decoder       *coder     `weight:"decoder"`

	Config Config
}

// New returns a network of zeros.
func New(c Config) (*AutoencoderKL, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	v := &AutoencoderKL{Encoder: newEncoder(c), Decoder: newDecoder(c), Config: c}
	if c.UseQuantConv {
		v.QuantConv = nn.NewConv2D(2*c.LatentChannels, 2*c.LatentChannels, 1, 1, true)
	}
	if c.UsePostQuantConv {
		v.PostQuantConv = nn.NewConv2D(c.LatentChannels, c.LatentChannels, 1, 1, true)
	}
	return v, nil
}

// Trainable lists the network's parameters under diffusers' names.
func (v *AutoencoderKL) Trainable() []kernels.Parameter { return nn.Parameters(v) }

// Factor is the number of pixels in a row, and in a column, that one position of a latent stands
// for.
func (v *AutoencoderKL) Factor() int { return 1 << (len(v.Config.BlockOutChannels) - 1) }

// Encode adds to x's graph the mean and the log variance [N,h,w,C] of the latents of pictures x
// [N,H,W,3]. The latter is kept in [-30,20], as diffusers does.
func (v *AutoencoderKL) Encode(x *gorgonia.Node) (mean, logvar *gorgonia.Node, err error) {
	if s := x.Shape(); s.Dims() != 4 || s[3] != v.Config.InChannels {
		return nil, nil, fmt.Errorf("vae: pictures %v are not [N,H,W,%d]", s, v.Config.InChannels)
	}
	b := nn.On(x)
	h := v.Encoder.encode(b, x)
	if v.QuantConv != nil {
		h = v.QuantConv.Forward(b, h)
	}
	channels := v.Config.LatentChannels
	mean = b.Do(kernels.Slice(h, 3, 0, channels))
	logvar = b.Do(kernels.Slice(h, 3, channels, 2*channels))
	logvar = b.Do(kernels.Apply(clamp{-30, 20}, logvar))
	if b.Err() != nil {
		return nil, nil, fmt.Errorf("vae: encode: %w", b.Err())
	}
	return mean, logvar, nil
}

// Decode adds to z's graph the pictures [N,H,W,3] of latents z [N,h,w,C].
func (v *AutoencoderKL) Decode(z *gorgonia.Node) (*gorgonia.Node, error) {
	if s := z.Shape(); s.Dims() != 4 || s[3] != v.Config.LatentChannels {
		return nil, fmt.Errorf("vae: latents %v are not [N,H,W,%d]", s, v.Config.LatentChannels)
	}
	b := nn.On(z)
	if v.PostQuantConv != nil {
		z = v.PostQuantConv.Forward(b, z)
	}
	h := v.Decoder.decode(b, z)
	if b.Err() != nil {
		return nil, fmt.Errorf("vae: decode: %w", b.Err())
	}
	return h, nil
}

const base = "diffusion_pytorch_model"

// Load reads a folder that diffusers wrote: config.json and diffusion_pytorch_model.safetensors.
func Load(dir string) (*AutoencoderKL, error) {
	v, err := LoadFS(os.DirFS(dir))
	if err != nil {
		return nil, fmt.Errorf("%w (in %s)", err, dir)
	}
	return v, nil
}

// ReadConfig reads and parses the config.json of a folder.
func ReadConfig(fsys fs.FS) (Config, error) {
	config, err := text.ReadFS(fsys, "config.json")
	if err != nil {
		return Config{}, fmt.Errorf("vae: %w", err)
	}
	return ParseConfig(config)
}

// NewWithin is New of a network whose file holds so many numbers. A config that asks for more is an
// error, and no memory is taken for it.
func NewWithin(c Config, numbers int) (*AutoencoderKL, error) {
	if least := c.least(); least > float64(numbers) {
		return nil, fmt.Errorf("vae: config.json describes a network of at least %.0f weights, "+
			"the file holds %d", least, numbers)
	}
	return New(c)
}

// LoadFS is Load of the folder that is fsys.
func LoadFS(fsys fs.FS) (*AutoencoderKL, error) {
	c, err := ReadConfig(fsys)
	if err != nil {
		return nil, err
	}
	f, err := weights.OpenFolder(fsys, base)
	if err != nil {
		return nil, fmt.Errorf("vae: %w", err)
	}
	defer f.Close()
	v, err := NewWithin(c, f.Size())
	if err != nil {
		return nil, err
	}
	if err := weights.Load(v, f, weights.Names{Rename: modern, Kind: "a VAE"}); err != nil {
		return nil, fmt.Errorf("vae: %w", err)
	}
	return v, nil
}

// today are the attention's names by those in older files.
var today = map[string]string{
	"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0",
}

// modern turns the names in files into today's, of the attention in older ones too.
func modern(name string) string {
	name = weights.Unwrapped(name)
	const attention = ".attentions.0."
	i := strings.Index(name, attention)
	if i < 0 {
		return name
	}
	part, rest, _ := strings.Cut(name[i+len(attention):], ".")
	if now, ok := today[part]; ok {
		return name[:i+len(attention)] + now + "." + rest
	}
	return name
}

// Save writes the folder that Load and diffusers read.
func (v *AutoencoderKL) Save(dir string, as kernels.Precision) error {
	text, err := json.MarshalIndent(struct {
		Class string `json:"_class_name"`
		Config
	}{"AutoencoderKL", v.Config}, "", "  ")
	if err != nil {
		return fmt.Errorf("vae: %w", err)
	}
	metadata := map[string]string{"format": "pt"}
	err = errors.Join(
		os.MkdirAll(dir, 0o777),
		weights.Save(filepath.Join(dir, base+".safetensors"), v, as, metadata),
		file.WriteBytes(filepath.Join(dir, "config.json"), append(text, '\n')),
	)
	if err != nil {
		return fmt.Errorf("vae: %w", err)
	}
	return nil
}
